"""The benchmark harness: what it times is what runs, and a fast wrong answer is not a result."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import bridge
from bridge.cli import main
from bridge.fused.accelerate import accelerated
from bridge.study.benchmark import TOGETHER, benchmark
from bridge.study.benchmark_record import COLUMNS
from tests.networks import Plain, images, seeded

LABELS = torch.tensor([0, 3, 2])


def batch(name: str, n: int) -> tuple[Tensor, Tensor]:
    return images(n), LABELS.repeat(n)[:n]


def wrong_fgsm(model, x, labels, *, epsilon):
    return (x + epsilon).clamp(0, 1)


def out_of_luck(model, x, labels, *, epsilon):
    raise RuntimeError("out of luck")


@pytest.fixture(scope="module")
def found():
    return benchmark(
        {"plain": bridge.wrap(seeded(Plain), layer="4")},
        batch,
        methods=["saliency", "layer_gradcam", "fgsm", "fool"],
        functions={"fgsm": [wrong_fgsm, out_of_luck]},
        batches=[2, 3],
        accelerations=["bf16"],
        rounds=3,
        progress=False,
    )


def rows(found, method: str, n: int = 3) -> dict:
    return {
        r.implementation: r
        for r in found.records.itertuples()
        if (r.method, r.images) == (method, n)
    }


def test_every_time_has_its_passes_its_quartiles_and_its_verdict(found):
    assert list(found.records) == COLUMNS
    timed = found.records[found.records["implementation"] != "limit"]
    assert (timed["lower_quartile"] <= timed["seconds"]).all()
    assert (timed["seconds"] <= timed["upper_quartile"]).all()
    assert (timed["rounds"] == 3).all()
    assert (timed["forwards"] > 0).sum() == len(timed) - 2  # the wrong one never asks the model
    saliency = rows(found, "saliency")
    assert set(saliency) == {"reference", "fused", "captum", "fused+bf16", "limit"}
    assert {saliency[name].verdict for name in ("reference", "fused", "captum")} == {"equal"}
    assert saliency["captum"].ratio == 1
    assert saliency["fused"].baseline == "captum"
    assert (saliency["fused"].forwards, saliency["fused"].backwards) == (3, 3)


def test_a_fast_wrong_answer_is_named_and_a_failure_loses_nothing(found):
    fgsm = rows(found, "fgsm")
    assert fgsm["wrong_fgsm"].verdict == "differs"
    assert fgsm["wrong_fgsm"].gap > 0.01
    assert "out_of_luck" not in fgsm
    assert "RuntimeError: out of luck" in set(found.failures["error"])
    assert fgsm["foolbox"].verdict == "equal"


def test_the_limit_is_the_passes_at_the_fastest_pass(found):
    for method in ("saliency", "fgsm", TOGETHER):
        limit = rows(found, method)["limit"]
        assert 0 < limit.seconds < 3 * rows(found, method)["fused"].seconds
        assert math.isclose(
            limit.ratio, limit.seconds / rows(found, method)[limit.baseline].seconds
        )


def test_one_plan_is_timed_against_the_libraries_in_sequence(found):
    together = rows(found, TOGETHER)
    # Saliency, Grad-CAM and FGSM, and Foolbox's own look; predictions before and after.
    assert (together["libraries"].forwards, together["libraries"].backwards) == (
        3 * (1 + 1 + 1 + 2 + 1),
        3 * 3,
    )
    assert (together["fused"].forwards, together["fused"].backwards) == (3 * 2, 3 * 2)


def test_an_acceleration_states_the_agreement_that_it_costs(found):
    row = rows(found, "saliency")["fused+bf16"]
    assert row.verdict.endswith("off")
    assert 1e-4 < row.gap < 1


def test_results_are_saved_as_parquet_markdown_and_figure(found, tmp_path):
    folder = found.save(tmp_path / "bench")
    assert len(pd.read_parquet(folder / "records.parquet")) == len(found.records)
    assert (folder / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "benchmark.md").read_text()
    assert "## plain, 3 images of 12x12 on cpu" in text
    assert "| fgsm | wrong_fgsm |" in text
    recorded = json.loads((folder / "run.json").read_text())
    assert torch.__version__.startswith(recorded["versions"]["torch"])
    assert recorded["device"]["threads"] == torch.get_num_threads()


def test_bench_on_the_command_line(tmp_path):
    options = [
        "--methods",
        "saliency,fgsm",
        "--batch",
        "1,2",
        "--rounds",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(main, ["bench", *options])
    assert done.exit_code == 0, done.output
    assert "## zoo:fashion_cnn, 2 images of 28x28 on cpu" in done.stdout
    assert (tmp_path / "out" / "records.parquet").is_file()
    assert CliRunner().invoke(main, ["bench", "--methods", "salience"]).exit_code == 2


def test_bench_says_what_makes_no_sense():
    model = {"plain": bridge.wrap(seeded(Plain))}
    with pytest.raises(KeyError, match="'salience' is not a method: did you mean saliency"):
        benchmark(model, batch, methods=["salience"], progress=False)
    with pytest.raises(ValueError, match="rounds must be a whole number of 1 or more"):
        benchmark(model, batch, rounds=0, progress=False)


def test_bfloat16_explains_the_layer_that_was_named():
    model = bridge.wrap(seeded(Plain), layer="4")
    fast = accelerated(model, "bf16", images())
    ours = bridge.run("layer_gradcam", fast, images(), LABELS, implementation="fused").output
    exact = bridge.run("layer_gradcam", model, images(), LABELS).output
    assert ours.shape == exact.shape
    assert float((ours.float() - exact).abs().max()) < 0.05 * float(exact.abs().max())


def test_accelerations_say_what_they_need():
    model = bridge.wrap(seeded(Plain))
    with pytest.raises(ValueError, match="CUDA graphs need images on a GPU"):
        accelerated(model, "cuda_graph", images())
    with pytest.raises(ValueError, match="unknown acceleration 'fp4'"):
        accelerated(model, "fp4", images())


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_gradients():
    model = bridge.wrap(seeded(Plain))
    try:
        fast = accelerated(model, "compile", images())
        ours = bridge.run("saliency", fast, images(), LABELS, implementation="fused").output
    except Exception as error:
        pytest.skip(f"torch.compile does not work here: {type(error).__name__}")
    expected = bridge.run("saliency", model, images(), LABELS).output
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * float(expected.max()))
