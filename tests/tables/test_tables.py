"""A table is one file and one registration, and reads the same everywhere."""

from __future__ import annotations

import pandas as pd
import pytest

import bridge
from bridge.tables import Column, Evidence, _table, epsilon_text, table, tables, views

ORDER = [
    "agreement",
    "precision",
    "attacks",
    "runtime",
    "similarity",
    "metrics",
    "shift",
    "robustness",
    "predictions",
    "failures",
]


@pytest.fixture
def registry(monkeypatch):
    """Tables that a test registers are forgotten after it."""
    tables()
    monkeypatch.setattr(_table, "_TABLES", dict(_table._TABLES))


def compared(fashion, *methods: str) -> bridge.Comparison:
    return bridge.compare(*fashion, methods=methods, repeats=1, progress=False)


def test_the_tables_stand_in_one_order():
    assert list(tables()) == ORDER


def test_a_new_table_is_filled_shown_and_saved(registry, fashion, tmp_path):
    areas = table(
        "areas",
        heading="Area of the maps",
        columns=[Column("method"), Column("area", unit="%", format=".1f", scale=100)],
        note="Share of the pixels that are not zero.",
    )

    @areas.fill
    def rows(evidence: Evidence):
        for method, map_ in evidence.maps().items():
            yield {"method": method.name, "area": float((map_ != 0).double().mean())}

    c = compared(fashion, "saliency", "fgsm")
    assert c.areas["method"].tolist() == ["saliency"]
    text = str(c)
    assert f"saliency     {100 * c.areas['area'].iloc[0]:.1f}" in text
    assert text.index("HOW FAR ATTACKS MOVE") < text.index("AREA OF THE MAPS")
    assert "area (%)" in text
    again = bridge.Comparison.load(c.save(tmp_path))
    pd.testing.assert_frame_equal(again.areas, c.areas)


def test_a_table_that_raises_is_a_failure_and_loses_nothing(registry, fashion):
    broken = table("broken", heading="Broken", columns=[Column("method")])

    @broken.fill
    def rows(evidence: Evidence):
        raise RuntimeError("out of luck")

    c = compared(fashion, "saliency", "fgsm")
    assert c.broken.empty
    assert c.failures["stage"].tolist() == ["table broken"]
    assert "out of luck" in c.failures["message"].item()
    assert "table broken" in str(c)
    assert len(c.shift)


def test_an_attack_that_cannot_be_audited_loses_no_other(fashion, monkeypatch):
    from bridge.tables import attacks

    audit = attacks.audit

    def once(model, x, labels, adversarial, **options):
        if options["norm"] == "l2":
            raise RuntimeError("out of luck")
        return audit(model, x, labels, adversarial, **options)

    monkeypatch.setattr(attacks, "audit", once)
    c = compared(fashion, "fgm_l2", "fgsm")
    assert set(c.attacks["method"]) == {"fgsm"}
    assert set(zip(c.failures["method"], c.failures["stage"], strict=True)) == {("fgm_l2", "audit")}


def test_a_broken_plug_in_does_not_take_our_tables_with_it(registry, monkeypatch):
    class Plugin:
        name, value = "theirs", "theirs.module"

        def load(self):
            raise ImportError("no module named theirs")

    monkeypatch.setattr(bridge.tables, "_loaded", False)
    monkeypatch.setattr(bridge.tables, "entry_points", lambda group: [Plugin()])
    with pytest.warns(UserWarning, match=r"the plug-in theirs \(theirs.module\) cannot be loaded"):
        assert list(tables()) == ORDER


def test_a_number_reads_the_same_in_the_terminal_and_in_markdown(fashion, tmp_path):
    c = compared(fashion, "saliency", "input_x_gradient", "fgsm", "uniform_noise_linf")
    terminal, markdown = str(c), c.report(tmp_path / "report.md").read_text()
    shown = {found.name: view for found, view in c.views()}
    assert list(shown) == [
        "agreement",
        "attacks",
        "runtime",
        "similarity",
        "shift",
        "robustness",
    ]
    for name, view in shown.items():
        for row in view.rows:
            assert "| " + " | ".join(row) + " |" in markdown, name
            assert all(cell in terminal for cell in row), name


def test_an_attack_takes_one_row_where_implementations_come_to_the_same(fashion):
    options = {"methods": ["fgsm"], "epsilons": [8 / 255], "repeats": 1, "progress": False}
    c = bridge.compare(*fashion, **options)
    frame = c.attacks
    others = sorted(set(frame["implementation"]))
    assert len(others) > 1

    def by(frame, **frames):
        return [row[1] for row in tables()["attacks"].view(frame, {"attacks": frame} | frames).rows]

    (together,) = by(frame)
    assert together.startswith(f"all {len(others)}: ")
    assert set(together.partition(": ")[2].split(", ")) == set(others)
    apart = frame.copy()
    apart.loc[apart.index[0], "l2"] += 1
    assert by(apart) == [
        f"1 of {len(others)}: {apart['implementation'].iloc[0]}",
        f"{len(others) - 1} of {len(others)}: {', '.join(apart['implementation'].iloc[1:])}",
    ]
    # Others on fewer images: their verdicts say whether they agree.
    sampled = frame.assign(images=[frame["images"].iloc[0], *[2] * (len(frame) - 1)])
    first = frame["implementation"].iloc[0]
    assert by(sampled) == [first]
    assert by(sampled, agreement=c.agreement) == [f"{first} (all {len(others)} agree)"]
    wrong = c.agreement.assign(verdict="differs")
    assert by(sampled, agreement=wrong) == [f"{first} (1 of {len(others)} agree)"]


def test_two_tables_of_one_name_clash(registry):
    with pytest.raises(ValueError, match="'attacks' is registered already"):
        table("attacks", heading="Mine", columns=[Column("method")])


def test_the_control_comes_last_and_predictions_are_not_shown(fashion):
    c = compared(fashion, "saliency", "uniform_noise_linf", "fgsm")
    shown = {found.name: view for found, view in views(c.tables)}
    assert list(shown) == ["agreement", "attacks", "runtime", "shift", "robustness"]
    for name in ("shift", "robustness"):
        assert [row[0] for row in shown[name].rows] == ["fgsm", "uniform_noise_linf"]


def test_a_map_is_told_of_fooled_images_of_others_and_under_noise(fashion):
    c = compared(fashion, "saliency", "fgsm", "uniform_noise_linf")
    found = c.robustness.set_index(["attack", "images"])
    assert found.loc["fgsm", "count"].sum() == 2 * 4  # all four, and all four under noise
    for _, row in c.shift.iterrows():
        mine = found.loc[row.attack].drop("noise", errors="ignore")
        mean = (mine["spearman"] * mine["count"]).sum() / mine["count"].sum()
        assert mean == pytest.approx(row.spearman)
    shown = tables()["robustness"].view(c.robustness)
    texts = [row[-1] for row in shown.rows]
    assert [text.count(" / ") for text in texts] == [2, 2]
    assert texts[1].endswith(" / - / -")  # the control flips none, and has no control
    assert "top-10% within a pixel" in shown.details[0][-1]


def test_what_metrics_cost_stands_beside_what_the_methods_cost(fashion):
    c = bridge.compare(
        *fashion, methods=["saliency"], metrics=["deletion", "random_logit"], repeats=1,
        progress=False,
    )  # fmt: skip
    found = c.metrics.groupby("metric")[["forwards", "backwards"]].mean()
    assert found.loc["deletion"].tolist() == [29, 0]
    assert found.loc["random_logit"].tolist() == [1, 1]
    note = tables()["metrics"].view(c.metrics, c.tables).note
    assert "deletion 29/0, random_logit 1/1; for all maps 146/1 in" in note
    assert "the methods themselves, by what is quickest, 1/1 in" in note
    older = c.metrics.drop(columns=["forwards", "backwards", "seconds"])
    assert "forwards" not in tables()["metrics"].view(older, c.tables).note.lower()


def test_every_cell_of_a_view_has_its_column_its_mark_and_its_value(fashion):
    c = compared(fashion, "saliency", "layer_gradcam", "fgsm", "fool")
    for found, view in views(c.tables):
        assert {len(row) for row in view.rows} == {len(view.columns)}, found.name
        for beside in (view.marks, view.values):
            assert not beside or [len(row) for row in beside] == [len(row) for row in view.rows]


def test_numbers_read_by_their_column_alone():
    column = Column("seconds", heading="time", unit="ms", format=".1f", scale=1000)
    assert column.title == "time (ms)"
    assert [column.show({"seconds": v}) for v in (0.01234, float("nan"), None)] == ["12.3", "", ""]
    assert tables()["attacks"]["success"].show({"success": 0.756}) == "76%"
    with pytest.raises(KeyError, match="attacks has no column 'speed'; it has: method"):
        tables()["attacks"]["speed"]


def test_epsilons_read_as_people_write_them():
    assert epsilon_text(8 / 255, "linf") == "8/255"
    assert epsilon_text(0.1, "linf") == "0.1"
    assert epsilon_text(8 / 255, "l2") == "0.03137"
    assert epsilon_text(float("nan"), "linf") == "smallest"
    runtime = tables()["runtime"]["epsilon"]
    assert runtime.show({"epsilon": None}) == ""  # an attribution
    assert runtime.show({"epsilon": 2 / 255, "norm": "linf"}) == "2/255"
