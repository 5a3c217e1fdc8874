"""What attacks leave agrees with counting image by image."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bridge.statistics.budget import success_over_passes
from bridge.statistics.choosing import contrasts
from bridge.statistics.consensus import apart, by_image, by_method, most_and_least
from bridge.statistics.intervals import wilson
from bridge.statistics.robustness import WORST, accuracies, curves, least, smallest, worst_case
from bridge.statistics.transfer import transfers
from tests.statistics.studies import drawn


@pytest.fixture(scope="module")
def results():
    return drawn(120)


def test_accuracy_under_each_attack_is_counted(results):
    found = accuracies(results.images, results.attacks)
    assert len(found) == 17
    right = set(results.images.loc[results.images["right"], "id"])
    for row in found.to_dict("records"):
        attacks = results.attacks
        same = attacks["epsilon"].eq(row["epsilon"]) | (
            attacks["epsilon"].isna() & math.isnan(row["epsilon"])
        )
        rows = attacks[(attacks["method"] == row["method"]) & same]
        standing = len(right - set(rows.loc[rows["fooled"], "id"]))
        assert row["accuracy"] == standing / 120
        assert row["accuracy_low"] == wilson(standing, 120)[0]
        assert row["success_high"] == wilson(row["fooled"], len(right))[1]


def test_the_worst_case_is_what_brute_force_finds(results):
    """Image by image, row by row, whoever's image lies in the ball."""
    found = worst_case(results.images, results.attacks)
    right = set(results.images.loc[results.images["right"], "id"])
    assert len(found) == 8
    for row in found.to_dict("records"):
        norm, epsilon = row["norm"], row["epsilon"]
        fooled = set()
        for attack in results.attacks.to_dict("records"):
            bounded = attack["norm"] == norm and not math.isnan(attack["epsilon"])
            size = attack["epsilon"] if bounded else attack[norm]
            if attack["fooled"] and size <= epsilon:
                fooled.add(attack["id"])
        assert row["fooled"] == len(fooled)
        assert row["accuracy"] == pytest.approx((len(right) - len(fooled)) / 120)
        assert row["together"] >= 0
    l2 = found[found["norm"] == "l2"]
    assert (l2["together"] > 0).any()  # the smallest_l2 attack finds what many_steps_l2 does not


def test_images_on_which_an_attack_is_missing_are_left_out_and_counted(results):
    attacks = results.attacks
    gone = (attacks["id"] == "image000003") & (attacks["method"] == "one_step")
    found = worst_case(results.images, attacks[~gone])
    linf = found[found["norm"] == "linf"]
    assert linf["left_out"].tolist() == [1] * 4
    assert linf["images"].tolist() == [119] * 4
    assert found.loc[found["norm"] == "l2", "left_out"].tolist() == [0] * 4


def test_the_smallest_size_is_that_of_the_first_epsilon_that_fools(results):
    found = smallest(results.images, results.attacks, "linf")
    assert list(found) == ["noise", "one_step", "many_steps"]
    assert set(found.index) == set(results.images.loc[results.images["right"], "id"])
    for i in list(found.index)[:20]:
        rows = results.attacks[(results.attacks["id"] == i) & results.attacks["fooled"]]
        for method in found:
            sizes = rows.loc[rows["method"] == method, "epsilon"]
            assert found.loc[i, method] == (sizes.min() if len(sizes) else math.inf)
    own = smallest(results.images, results.attacks, "l2")["smallest_l2"]
    measured = results.attacks[results.attacks["method"] == "smallest_l2"].set_index("id")["l2"]
    assert own.equals(measured.reindex(own.index).rename("smallest_l2"))


def test_curves_start_clean_and_the_worst_case_lies_below_all(results):
    found = curves(results.images, results.attacks)
    clean = results.images["right"].mean()
    for (norm, method), curve in found.groupby(["norm", "method"]):
        assert curve["epsilon"].iloc[0] == 0
        assert curve["accuracy"].iloc[0] == clean
        assert curve["epsilon"].is_monotonic_increasing
        worst = found[(found["norm"] == norm) & (found["method"] == WORST)]
        if len(worst) and method != WORST:
            both = curve.merge(worst, on="epsilon")
            assert (both["accuracy_x"] >= both["accuracy_y"]).all()


def test_a_smallest_attack_alone_has_a_curve_at_its_own_sizes(results):
    alone = results.attacks[results.attacks["method"] == "smallest_l2"]
    found = curves(results.images, alone)
    assert len(found) == 13
    assert found["accuracy"].iloc[-1] == 0
    sizes = least(results.images, alone, "l2")
    for point in found.to_dict("records")[1:]:
        assert point["accuracy"] == pytest.approx((sizes > point["epsilon"]).sum() / 120)


def test_success_over_passes_grows_cheapest_first(results):
    found = success_over_passes(results.images, results.attacks)
    cell = found[(found["norm"] == "linf") & (found["epsilon"] == 8 / 255)]
    assert cell["method"].tolist() == ["one_step", "noise", "many_steps"]
    assert cell["spent"].tolist() == [2, 12, 52]
    assert cell["success"].is_monotonic_increasing
    rows = results.attacks[results.attacks["epsilon"] == 8 / 255]
    any_of = rows[rows["fooled"]]["id"].nunique()
    assert cell["success"].iloc[-1] == pytest.approx(any_of / results.images["right"].sum())


def test_transfer_counts_what_both_models_get_right():
    images = pd.DataFrame({"id": list("abcd"), "right": [True, True, True, False]})
    attacks = pd.DataFrame(
        {
            "id": list("abcd"),
            "method": "m",
            "norm": "linf",
            "epsilon": 0.1,
            "fooled": [True, True, False, False],
            "transfer_right": [True, True, False, True],
            "transferred": [True, False, False, True],
        }
    )
    found = transfers(images, attacks).iloc[0]
    assert (found["both"], found["success"], found["transfer"], found["given"]) == (
        2,
        1.0,
        0.5,
        0.5,
    )
    assert found["transfer_low"] == wilson(1, 2)[0]
    assert transfers(images, attacks.drop(columns="transferred")).empty


def test_consensus_is_the_mean_over_a_methods_pairs():
    pairs = pd.DataFrame(
        {
            "id": ["x"] * 3 + ["y"] * 3 + ["z"],
            "a": ["s", "s", "i"] * 2 + ["s"],
            "b": ["i", "o", "o"] * 2 + ["i"],
            "spearman": [0.9, 0.3, 0.6, 0.1, -0.5, 0.2, 1.0],
        }
    )
    wide = by_method(pairs)
    assert wide.loc["x"].to_dict() == pytest.approx({"s": 0.6, "i": 0.75, "o": 0.45})
    assert by_image(pairs).index.tolist() == ["y", "x"]  # z has one pair of three
    assert most_and_least(pairs, 5) == (["x"], ["y"])
    far = apart(pairs, 5)
    assert far["id"].tolist() == ["y", "x", "z"]  # s-o, then i-o and s-i on images not taken yet
    assert far["spearman"].tolist() == [-0.5, 0.6, 1.0]
    assert apart(pairs, 1)["id"].tolist() == ["y"]


def test_fooled_and_unfooled_stand_at_equal_size_class_by_class(results):
    found = {each.norm: each for each in contrasts(results.images, results.attacks, 3)}
    assert set(found) == {"linf", "l2"}
    labels = results.labels
    for each in found.values():
        rows = results.attacks
        rows = rows[(rows["method"] == each.method) & (rows["epsilon"] == each.epsilon)]
        said = rows.set_index("id")["fooled"]
        assert said[list(each.fooled)].all()
        assert not said[list(each.unfooled)].any()
        assert labels[list(each.fooled)].tolist() == labels[list(each.unfooled)].tolist()
        right = results.images.set_index("id")["right"]
        assert right[list(each.unfooled)].all()


def test_no_attack_no_image_no_trouble(results):
    nothing = results.attacks.iloc[:0]
    assert worst_case(results.images, nothing).empty
    assert curves(results.images, nothing).empty
    assert success_over_passes(results.images, nothing).empty
    assert contrasts(results.images, nothing, 3) == []
    assert accuracies(results.images, nothing).empty
    assert np.isnan(wilson(0, 0)).all()
    assert most_and_least(results.pairs.iloc[:0], 3) == ([], [])
    assert apart(results.pairs.iloc[:0], 3).empty
