"""A comparison measures its maps too, beside maps that look at no model."""

from __future__ import annotations

import pytest
import torch

import bridge
from tests.networks import Plain, images, seeded

METHODS = ["saliency", "integrated_gradients", "layer_gradcam", "pgd"]


def compared(**more):
    model, x = bridge.wrap(seeded(Plain)), images(4)
    return bridge.compare(
        model, x, [0, 1, 2, 0], methods=METHODS, judged=0, repeats=1, progress=False, **more
    )


def test_each_metric_of_each_attribution_and_control_on_each_image():
    metrics = {"deletion": {"step": 24}, "sparseness": {}, "max_sensitivity": {"samples": 2}}
    c = compared(metrics=metrics)
    table = c.tables["metrics"]
    found = table.groupby(["method", "metric"]).size()
    for method in METHODS[:3]:
        for metric in metrics:
            assert found[method, metric] == 4
    assert found["random", "deletion"] == 4
    assert ("random", "max_sensitivity") not in found  # explains no other image
    assert set(table[table.control == "control"].method) == {"random", "edges", "image", "blob"}
    model, x = bridge.wrap(seeded(Plain)), images(4)
    maps = c.outputs["integrated_gradients", "fused", None]
    own = bridge.measure("deletion", model, x, [0, 1, 2, 0], maps, step=24)
    rows = table[(table.method == "integrated_gradients") & (table.metric == "deletion")]
    assert torch.allclose(torch.tensor(rows.value.to_numpy()), own.as_subclass(torch.Tensor))
    text = str(c)
    assert "METRICS OF THE MAPS" in text
    assert "random (control)" in text
    assert c.manifest["metrics"] == metrics


def test_without_metrics_nothing_is_measured(tmp_path):
    c = compared()
    assert not len(c.tables["metrics"])
    assert "METRICS" not in str(c)


def test_a_metric_that_cannot_be_had_is_a_failure_and_the_others_are_there():
    c = compared(metrics=["infidelity", "entropy"])
    assert set(c.tables["metrics"].metric) == {"infidelity", "entropy"}
    failed = c.tables["failures"]
    assert failed[failed.stage == "metric infidelity"].method.tolist() == ["layer_gradcam"]
    assert "own shape" in failed[failed.stage == "metric infidelity"].message.iloc[0]


def test_a_request_that_makes_no_sense_is_refused_before_anything_runs():
    with pytest.raises(KeyError, match="did you mean deletion"):
        compared(metrics=["deletoin"])
    with pytest.raises(TypeError, match="list of names"):
        compared(metrics="deletion")
    with pytest.raises(TypeError, match="needs masks="):
        compared(metrics=["pointing_game"])
    with pytest.raises(ValueError, match="step must be"):
        compared(metrics={"deletion": {"step": 0}})


def test_a_saved_run_keeps_its_metrics(tmp_path):
    c = compared(metrics=["sparseness"])
    c.save(tmp_path / "run")
    again = bridge.Comparison.load(tmp_path / "run")
    assert again.tables["metrics"].equals(c.tables["metrics"])
