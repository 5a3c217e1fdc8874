"""The summary of a study: every table from its frames, read the same everywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.tables.study import Results, summarise, summary_tables
from tests.statistics.studies import METHODS, drawn

ORDER = [
    *("accuracy", "worst_case", "masking", "curves", "smallest", "queries", "transfer", "classes"),
    *("maps", "metrics", "metric_ranks", "maps_by_class", "similarity"),
    *("ranks", "tests", "failures"),
]


@pytest.fixture(scope="module")
def results():
    return drawn(150)


@pytest.fixture(scope="module")
def summary(results):
    return summarise(results)


def test_the_tables_stand_in_one_order(summary):
    assert list(summary_tables()) == ORDER
    assert list(summary.tables) == ORDER


def test_every_table_holds_what_its_columns_promise(summary):
    for name, table in summary_tables().items():
        frame = summary.tables[name]
        assert list(frame) == table.names
        for column in table.columns:
            if len(frame):
                finite = frame[column.name].replace([np.inf, -np.inf], np.nan)
                column.check(finite if column.numeric else frame[column.name])


def test_the_terminal_says_it_all(summary):
    text = str(summary)
    assert text.startswith("150 images, of which the model gets")
    assert "2 rows failed" in text
    for heading in ("ACCURACY, CLEAN AND UNDER ATTACK", "WORST CASE", "MEAN RANKS", "WHAT FAILED"):
        assert heading in text
    row = summary.accuracy.set_index(["method", "epsilon"]).loc[("many_steps", 8 / 255)]
    said = f"{row['accuracy']:.1%} [{row['accuracy_low']:.1%}, {row['accuracy_high']:.1%}]"
    assert said in text


def test_the_means_are_pandas_own(results, summary):
    found = summary.maps.set_index(["quantity", "method"])
    by_method = results.attributions.groupby("method")["gini"]
    for method in METHODS:
        row = found.loc[("gini", method)]
        assert row["mean"] == pytest.approx(by_method.mean()[method])
        assert row["median"] == pytest.approx(by_method.median()[method])
        assert row["mean_low"] < row["mean"] < row["mean_high"]
    by_class = summary.maps_by_class.set_index(["quantity", "label", "method"])
    labels = results.attributions["id"].map(results.labels)
    of_two = results.attributions[(labels == 2) & (results.attributions["method"] == "occlusion")]
    assert by_class.loc[("gini", 2, "occlusion"), "mean"] == pytest.approx(of_two["gini"].mean())
    pair = results.pairs[(results.pairs["a"] == METHODS[0]) & (results.pairs["b"] == METHODS[1])]
    similar = summary.similarity.set_index(["a", "b"]).loc[(METHODS[0], METHODS[1])]
    assert similar["mean"] == pytest.approx(pair["spearman"].mean())


def test_classes_add_up_to_the_whole(summary):
    classes, overall = summary.classes, summary.accuracy
    for row in overall.to_dict("records"):
        same = classes["epsilon"].eq(row["epsilon"]) | (
            classes["epsilon"].isna() & np.isnan(row["epsilon"])
        )
        if row["method"] == "clean":
            same = pd.Series(True, index=classes.index)
        of_it = classes[(classes["method"] == row["method"]) & same]
        assert of_it["images"].sum() == row["images"]
        assert of_it["right"].sum() == row["right"]
        assert of_it["fooled"].sum() == row["fooled"]


def test_the_order_of_the_rows_changes_nothing(results, summary):
    """But for the order of what is as large."""
    shuffled = Results(
        results.images.sample(frac=1, random_state=1),
        results.attributions.sample(frac=1, random_state=2),
        results.pairs.sample(frac=1, random_state=3),
        results.attacks.sample(frac=1, random_state=4),
        results.failures,
        class_names=results.class_names,
    )
    again = summarise(shuffled)
    for name in ("accuracy", "worst_case", "smallest", "queries"):
        keys = [c for c in ("method", "norm", "epsilon") if c in summary.tables[name]]
        one, other = (
            s.tables[name].sort_values(keys).reset_index(drop=True) for s in (summary, again)
        )
        pd.testing.assert_frame_equal(one, other)


def test_only_attacks_or_only_attributions_are_enough(results):
    attacked = summarise(Results(results.images, attacks=results.attacks))
    assert attacked.maps.empty
    assert len(attacked.worst_case) == 8
    explained = summarise(
        Results(results.images, attributions=results.attributions, pairs=results.pairs)
    )
    assert explained.worst_case.empty
    assert len(explained.accuracy) == 1
    assert len(explained.maps) == 12
    assert "clean" in str(explained)
    assert str(summarise(Results(results.images.iloc[:0]))).startswith("0 images")


def test_frames_that_lack_a_column_or_have_an_image_twice_are_refused(results):
    with pytest.raises(ValueError, match="attacks lacks the column 'norm'"):
        Results(results.images, attacks=results.attacks.drop(columns="norm"))
    with pytest.raises(ValueError, match="two rows of id 'image000000'"):
        Results(pd.concat([results.images, results.images.head(1)]))


def test_a_thousand_classes_show_the_lowest_and_the_highest(results):
    many = drawn(400, classes=100, failed=0)
    views = {table.name: view for table, view in summarise(many).views()}
    assert len(views["classes"].rows) == 20
    assert "The 10 lowest and the 10 highest of" in views["classes"].note
