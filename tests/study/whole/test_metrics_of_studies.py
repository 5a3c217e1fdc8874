"""Metrics of a study's maps: each image's own numbers, however it is cut, and said over all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import bridge
from bridge.cli import main
from bridge.metrics import registry
from bridge.metrics.ranking import ranked
from bridge.study import interruption
from bridge.study.whole import job, measured
from tests.study.whole._datasets import Digits, digits, network, same

# What draws, what explains again (with a method that draws, too), and what looks at the map only.
METRICS: dict[str, Any] = {
    "deletion": {"step": 16},
    "road": {"shares": (0.3,), "score": "probability"},
    "max_sensitivity": {"samples": 2},
    "infidelity": {"samples": 2},
    "sparseness": {},
}
METHODS = ["saliency", "layer_gradcam", "smooth_grad"]
ASKED: dict[str, Any] = {
    "methods": [*METHODS, "fgsm"],
    "params": {"smooth_grad": {"n_samples": 3}},
    "epsilons": [0.1],
    "metrics": METRICS,
    "judged": 0,
    "progress": False,
}
EXACT = 1e-9


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bridge.Study:
    folder = tmp_path_factory.mktemp("whole")
    return bridge.run_study(network(), digits(12), out=folder, **ASKED)


def test_numbers_do_not_depend_on_batch_size_cut_or_order(
    whole: bridge.Study, tmp_path: Path
) -> None:
    others: list[tuple[list[int], dict[str, Any]]] = [
        (list(range(12)), {"batch_size": 1}),
        (list(range(12))[::-1], {"batch_size": 5, "part_size": 5}),
    ]
    for k, (places, cut) in enumerate(others):
        other = bridge.run_study(
            network(), Digits(places), out=tmp_path / f"b{k}", **{**ASKED, **cut}
        )
        same(whole, other, without=("index",), tolerance=EXACT)


def test_every_map_is_measured_as_measure_does_it(whole: bridge.Study) -> None:
    x = torch.stack([digits(12)[k][0] for k in range(12)]).double()
    labels = [digits(12)[k][1] for k in range(12)]
    rows = whole.metrics.set_index(["method", "metric"])["value"]
    for name in ("deletion", "sparseness"):
        expected = bridge.measure(name, network(), x, labels, "saliency", **METRICS[name])
        assert rows["saliency", name].tolist() == pytest.approx(expected.tolist())
    sizes = whole.metrics.groupby(["method", "metric"]).size().unstack(fill_value=0)
    assert (sizes.loc[METHODS, ["deletion", "road", "max_sensitivity", "sparseness"]] == 12).all(
        axis=None
    )
    assert set(whole.metrics[whole.metrics["control"]]["method"]) == {
        *("random", "edges", "image", "blob")
    }
    assert sizes.loc["random", "max_sensitivity"] == 0  # it explains no other image
    assert whole.failures.empty


def test_a_map_without_a_number_for_each_channel_is_not_measured_where_that_is_needed() -> None:
    infidelity, again = registry.get("infidelity"), registry.get("max_sensitivity")
    assert not measured.has(infidelity, control=False, full=False)
    assert measured.has(infidelity, control=True, full=True)
    assert not measured.has(again, control=True, full=True)


def test_a_method_that_draws_explains_again_with_the_images_own_numbers(tmp_path: Path) -> None:
    still = {"max_sensitivity": {"samples": 2, "radius": 0.0}}
    study = bridge.run_study(
        network(), digits(4), out=tmp_path, **{**ASKED, "metrics": still, "batch_size": 3}
    )
    assert len(study.metrics) == 3 * 4
    assert (study.metrics["value"] < 1e-12).all()


def test_a_study_that_was_stopped_goes_on_with_the_same_numbers(
    whole: bridge.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, process = 0, job.process

    def counted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            stop.handle(15, None)
        return process(*given)

    monkeypatch.setattr(job, "process", counted)
    cut = {**ASKED, "batch_size": 2, "part_size": 6}
    with interruption.orderly() as stop, pytest.raises(interruption.Interrupted):
        bridge.run_study(network(), digits(12), out=tmp_path, **cut)
    assert not bridge.Study.open(tmp_path).finished
    monkeypatch.undo()
    resumed = bridge.run_study(network(), digits(12), out=tmp_path, **cut)
    assert resumed.finished
    same(whole, resumed, tolerance=EXACT)
    again = bridge.run_study(network(), digits(12), out=tmp_path, **cut)
    pd.testing.assert_frame_equal(again.metrics, resumed.metrics)


def test_a_metric_that_fails_is_a_failure_of_that_image_and_is_tried_again(
    whole: bridge.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, measure = digits(12)[3][0].double(), measured.measure

    def failing(name: str, model: Any, x: torch.Tensor, *rest: Any, **params: Any) -> Any:
        if name == "deletion" and any(torch.equal(image, broken) for image in x):
            raise RuntimeError("not today")
        return measure(name, model, x, *rest, **params)

    monkeypatch.setattr(measured, "measure", failing)
    study = bridge.run_study(network(), digits(12), out=tmp_path, **ASKED)
    assert len(study.failures) == len(METHODS) + 4
    assert set(study.failures["stage"]) == {"metric deletion"}
    assert len(study.metrics) == len(whole.metrics) - len(METHODS) - 4
    monkeypatch.undo()
    healed = bridge.run_study(network(), digits(12), out=tmp_path, **ASKED)
    assert healed.failures.empty
    same(whole, healed, tolerance=EXACT)


def test_other_metrics_for_the_same_folder_are_refused_and_it_says_which(tmp_path: Path) -> None:
    small: dict[str, Any] = {**ASKED, "methods": ["saliency"], "params": {}, "epsilons": None}
    small["metrics"] = {"deletion": {"step": 16}}
    bridge.run_study(network(), digits(2), out=tmp_path, **small)
    for other, said in [
        ({"deletion": {"step": 32}}, r"metrics\.deletion\.step was 16 and is 32"),
        (["deletion", "entropy"], r"metrics\.entropy is there now and was not before"),
        (None, "metrics is not there any more"),
    ]:
        with pytest.raises(ValueError, match=said):
            bridge.run_study(network(), digits(2), out=tmp_path, **{**small, "metrics": other})


def test_what_makes_no_sense_is_refused_before_anything_runs(tmp_path: Path) -> None:
    noise = torch.zeros(2, 3, 1, 8, 8)
    masks = torch.ones(2, 8, 8, dtype=torch.bool)
    for metrics, error, said in [
        (["deletoin"], KeyError, "did you mean deletion"),
        ({"deletion": {"step": 0}}, ValueError, "step must be"),
        ({"pointing_game": {"masks": masks}}, ValueError, "measure a batch with bridge.measure"),
        (["pointing_game"], ValueError, "measure a batch with bridge.measure"),
        ({"max_sensitivity": {"explain": "saliency"}}, ValueError, "leave explain= out"),
        ({"infidelity": {"noise": noise}}, ValueError, "a study has no one batch"),
    ]:
        with pytest.raises(error, match=said):
            bridge.run_study(
                network(), digits(2), out=tmp_path / "a", **{**ASKED, "metrics": metrics}
            )
    with pytest.raises(ValueError, match="none is among the methods"):
        bridge.run_study(
            network(), digits(2), out=tmp_path / "a", methods=["fgsm"], metrics=["deletion"]
        )
    assert not (tmp_path / "a" / "manifest.json").exists()


def test_the_summary_has_means_intervals_tests_and_ranks(whole: bridge.Study) -> None:
    summary = whole.summary()
    rows = summary.metrics.set_index(["metric", "method"])
    own = whole.metrics[
        (whole.metrics["metric"] == "deletion") & (whole.metrics["method"] == "saliency")
    ]
    row = rows.loc[("deletion", "saliency")]
    assert row["mean"] == pytest.approx(own["value"].mean())
    assert row["median"] == pytest.approx(own["value"].median())
    assert row["mean_low"] < row["mean"] < row["mean_high"]
    assert rows.loc[("deletion", "random"), "control"] == "control"
    tests = summary.tests[summary.tests["quantity"] == "deletion"]
    assert len(tests) == 7 * 6 / 2
    ranks = summary.metric_ranks.set_index("method")
    assert set(ranks["over"]) == {"deletion, road, infidelity, sparseness"}  # the controls', too
    common = whole.metrics[whole.metrics["metric"] != "max_sensitivity"]
    expected = ranked(common.rename(columns={"id": "image"}))
    assert ranks["mean_rank"].to_dict() == pytest.approx(expected["mean_rank"].to_dict())
    text = str(summary)
    assert "METRICS OF THE MAPS" in text
    assert "METHODS RANKED OVER THE METRICS" in text


def test_undefined_values_are_counted_and_left_out_of_the_means(tmp_path: Path) -> None:
    class Dark(Digits):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            return (torch.zeros_like(image) if index == 1 else image), label

    asked = {**ASKED, "methods": ["input_x_gradient"], "params": {}, "epsilons": None}
    study = bridge.run_study(
        network(), Dark([0, 1, 2]), out=tmp_path, **{**asked, "metrics": ["sparseness"]}
    )
    row = study.summary().metrics.set_index("method").loc["input_x_gradient"]
    assert (row["images"], row["undefined"]) == (2, 1)


def test_ranks_by_counting_draws_are_those_of_the_images_drawn() -> None:
    rng = np.random.default_rng(3)
    keys = [(m, k, i) for m in "abc" for k in ("deletion", "insertion") for i in range(9)]
    rows = [
        {"method": m, "control": m == "c", "metric": k, "image": i, "value": rng.normal()}
        for m, k, i in keys
    ]
    rows[5]["value"] = np.nan
    frame = pd.DataFrame(rows)
    found = ranked(frame, resamples=40, seed=1)
    sign = frame["metric"].map({"deletion": 1.0, "insertion": -1.0})
    table = frame.assign(cost=frame["value"] * sign).pivot_table(
        index="image", columns=["metric", "method"], values="cost", dropna=False
    )
    again = np.random.default_rng(1)
    means = [
        table.iloc[again.integers(0, 9, 9)].mean().unstack("method").rank(axis=1).mean()
        for _ in range(40)
    ]
    low, high = np.quantile(np.array(means), [0.025, 0.975], axis=0)
    assert found.loc[["a", "b", "c"], "low"].tolist() == pytest.approx(low.tolist())
    assert found.loc[["a", "b", "c"], "high"].tolist() == pytest.approx(high.tolist())


def test_the_command_line_measures_and_goes_on(tmp_path: Path) -> None:
    command = [
        *("run", "--model", "zoo:digits_cnn", "--data", "sklearn:digits", "--limit", "3"),
        *("--methods", "saliency", "--judged", "0", "--out", str(tmp_path / "s")),
        *("--metrics", "deletion,entropy", "--metric-param", "deletion.step=16"),
    ]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    study = bridge.Study.open(tmp_path / "s")
    assert set(study.metrics["metric"]) == {"deletion", "entropy"}
    assert study.manifest["configuration"]["metrics"]["deletion"]["step"] == 16
    forecast = CliRunner().invoke(main, [*command, "--dry-run"])
    assert "of each attribution's maps and of the controls': deletion, entropy" in forecast.output
    refused = CliRunner().invoke(main, [*command[:-1], "deletion.step=8"])
    assert refused.exit_code == 2
    assert "metrics.deletion.step was 16 and is 8" in refused.output
    page = study.report(tmp_path / "study.md").read_text(encoding="utf-8")
    assert "Methods ranked over the metrics" in page
