"""Results of all images by the quickest implementation, proof of all on a sample."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.registry import get
from bridge.core.types import BridgeWarning
from bridge.study import results
from bridge.study.cost import Cost, Pace
from bridge.study.progress import Progress
from tests.networks import Plain, seeded

METHODS = ["saliency", "layer_gradcam", "fgsm", "pgd"]
PARAMS = {"pgd": {"steps": 3}}


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Images with the labels that the network gives them."""
    x = torch.rand(n, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return x, seeded(Plain)(x).argmax(1)


def compared(n: int = 12, model=None, **options) -> bridge.Comparison:
    given = {"methods": METHODS, "progress": False} | options
    given["params"] = {name: PARAMS[name] for name in given["methods"] if name in PARAMS}
    if "fgsm" in given["methods"]:
        given["epsilons"] = [0.02, 0.1]
    return bridge.compare(
        bridge.wrap(seeded(Plain)) if model is None else model, *batch(n), **given
    )


@pytest.fixture(scope="module")
def sampled() -> bridge.Comparison:
    return compared()


def test_results_are_of_all_images_and_proof_is_on_the_same_few(sampled, tmp_path):
    c = sampled
    assert c.sample == [0, 6]
    assert {key[1] for key, output in c.outputs.items() if len(output) == 12} == {"fused"}
    assert {len(output) for key, output in c.outputs.items() if key[1] != "fused"} == {2}
    assert set(c.agreement["verdict"]) <= {"equal", "rounding"}
    assert set(c.verdicts().columns) == {"fused", "captum", "foolbox"}
    assert (c.runtime["images"] == 2).all()
    whole = c.attacks[c.attacks["images"] == 12]
    assert set(whole["implementation"]) == {"fused"}
    assert set(c.chosen().values()) == {
        *(("saliency", "fused", None), ("layer_gradcam", "fused", None)),
        *(("fgsm", "fused", 0.1), ("pgd", "fused", 0.1)),
    }
    assert "Judged on 2 of 12 images (number 0, 6)" in str(c)
    again = bridge.Comparison.load(c.save(tmp_path / "run"))
    assert again.sample == [0, 6]
    for key, output in c.outputs.items():
        assert torch.equal(output, again.outputs[key])
    report = c.report(tmp_path / "report.html").read_text()
    assert "Judged on 2 of 12 images" in report


def test_results_are_what_run_returns(sampled):
    x, labels = batch(12)
    model = bridge.wrap(seeded(Plain))
    for name in METHODS:
        epsilon = {"epsilon": 0.1} if name in ("fgsm", "pgd") else {}
        run = bridge.run(
            name, model, x, labels, implementation="fused", **PARAMS.get(name, {}), **epsilon
        )
        assert torch.equal(run.output, sampled.outputs[name, "fused", epsilon.get("epsilon")])


def test_judging_all_images_runs_nothing_twice():
    c = compared(6, judged="all")
    assert c.sample is None
    assert {len(output) for output in c.outputs.values()} == {6}
    assert len(c.outputs) == 2 * 3 + 2 * 2 * 3
    assert c.outputs.keys() == {
        *((name, by, None) for name in METHODS[:2] for by in ("reference", "fused", "captum")),
        *(
            (name, by, e)
            for name in METHODS[2:]
            for by in ("reference", "fused", "foolbox")
            for e in (0.02, 0.1)
        ),
    }


def test_without_proof_everything_is_computed_and_said_to_be_unproved():
    c = compared(6, judged=0)
    assert c.agreement.empty
    assert {key[1] for key in c.outputs} == {"fused"}
    assert "unproved" in " ".join(c.first_lines())


def test_the_sample_grows_with_the_images_and_is_spread_over_them():
    # Three implementations, three times the passes of one: a ninth of the images.
    assert compared(4, methods=["saliency"]).sample is None
    assert compared(16, methods=["saliency"]).sample == [0, 8]
    assert compared(40, methods=["saliency"]).sample == [0, 10, 20, 30]
    assert len(compared(200, methods=["saliency"]).sample) == 16  # memory does not grow with it
    assert compared(6, methods=["saliency"], judged=3).sample == [0, 2, 4]
    assert compared(6, methods=["saliency"], judged=9).sample is None


@pytest.mark.parametrize("judged", [-1, 1.5, True, "some", "3", [1]])
def test_a_number_of_judged_images_that_makes_no_sense_is_refused(judged):
    with pytest.raises((TypeError, ValueError), match="judged"):
        compared(judged=judged)


@pytest.mark.parametrize("limit", [-1, float("nan"), "5", None])
def test_a_time_limit_that_makes_no_sense_is_refused(limit):
    with pytest.raises((TypeError, ValueError), match="time_limit"):
        compared(time_limit=limit)


def test_where_the_quickest_differs_the_results_are_the_references(monkeypatch):
    fgsm = get("fgsm")

    def wrong(shared, *, epsilon, **params):
        sizes = epsilon if isinstance(epsilon, list) else [epsilon]
        images = [(shared.x - e).clamp(0, 1) for e in sizes]
        return torch.stack(images) if isinstance(epsilon, list) else images[0]

    monkeypatch.setattr(fgsm, "fast", replace(fgsm.fast, function=wrong))
    c = compared()
    assert c.verdicts().loc["fgsm", "fused"] == "differs"
    assert c.chosen()["fgsm"] == ("fgsm", "reference", 0.1)
    assert len(c.outputs["fgsm", "reference", 0.1]) == 12
    assert c.chosen()["pgd"] == ("pgd", "fused", 0.1)
    (said,) = c.failures.loc[c.failures["stage"] == "results", "message"]
    assert "fused differs here: the results are computed by the reference" in said


def test_where_the_quickest_fails_the_results_are_the_references(monkeypatch):
    saliency = get("saliency")

    def broken(shared):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(saliency, "fast", replace(saliency.fast, function=broken))
    c = compared()
    assert len(c.outputs["saliency", "reference", None]) == 12
    assert c.chosen()["saliency"] == ("saliency", "reference", None)
    assert any("out of luck" in message for message in c.failures["message"])


def test_a_users_function_gives_results_only_where_there_is_nothing_else():
    def mine(model, x, labels, *, epsilon):
        return x

    c = compared(implementations=["foolbox"], methods=["fgsm"], functions={"fgsm": mine})
    sizes = {key[1]: len(output) for key, output in c.outputs.items()}
    assert sizes == {"foolbox": 12, "mine": 2}
    assert c.verdicts().loc["fgsm"].to_dict() == {"foolbox": "equal", "mine": "differs"}


def test_a_time_limit_trims_the_proof_and_never_the_results():
    c = compared(time_limit=0)
    assert {key[0] for key, output in c.outputs.items() if len(output) == 12} == set(METHODS)
    assert c.agreement.empty
    limited = c.failures[c.failures["stage"] == "time limit"]
    assert set(limited["method"]) == set(METHODS)
    assert c.finished


def test_a_model_that_takes_one_number_of_images_is_judged_on_all():
    class OnlySix(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = seeded(Plain)

        def forward(self, x):
            return self.inner(x.view(6, 3, 12, 12))

    with pytest.warns(BridgeWarning, match="batches of 6"):
        c = compared(6, bridge.wrap(OnlySix().eval()), methods=["saliency"])
    assert c.sample is None
    assert c.verdicts().loc["saliency", "captum"] == "equal"


def test_images_go_through_in_parts_and_give_the_same(monkeypatch):
    monkeypatch.setattr(results, "batch_of", lambda x: 5)
    model = bridge.wrap(seeded(Plain).double())
    x, labels = batch(12)
    c = bridge.compare(
        model, x.double(), labels, methods=["saliency", "fgsm"], epsilons=[0.1], progress=False
    )
    for name, epsilon in (("saliency", None), ("fgsm", 0.1)):
        size = {} if epsilon is None else {"epsilon": epsilon}
        whole = bridge.run(name, model, x.double(), labels, **size).output
        assert torch.allclose(c.outputs[name, "fused", epsilon], whole, rtol=1e-9, atol=1e-12)


def test_an_estimate_is_of_passes_and_their_pace():
    pace = Pace(forward=(0.01, 0.1), gradient=(0.02, 0.3))
    assert pace.seconds(10, 0, at_once=5) == pytest.approx(10 * (0.01 / 5 + 0.1))
    assert pace.seconds(10, 10, at_once=5) == pytest.approx(10 * (0.02 / 5 + 0.3))
    found = Cost({"pgd": 12.0}, {"pgd": 28.4})
    assert found.total == pytest.approx(40.4)
    assert str(found) == "about 40 s: 12 for results, 28 for proof"


def test_progress_is_a_line_where_stderr_is_no_terminal_and_nothing_where_it_is_quiet(capsys):
    with Progress(60.0, "about 60 s", quiet=False).shown() as bar:
        bar.begin("pgd")
        bar.advance(30.0)
        bar.say("first numbers")
        assert 0 <= bar.left <= bar.spent + 0.1
    assert capsys.readouterr().err == "about 60 s\nfirst numbers\n"
    with Progress(60.0, "about 60 s", quiet=True).shown() as bar:
        bar.begin("pgd")
        bar.say("first numbers")
    assert capsys.readouterr().err == ""


def test_a_line_says_every_ten_seconds_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr("bridge.study.progress.EVERY", 0.05)
    with Progress(60.0, "about 60 s", quiet=False).shown() as bar:
        bar.begin("pgd, proof")
        bar.advance(15.0)
        time.sleep(0.2)
    assert re.search(
        r"^pgd, proof: 25% after 0 s, about \d s left$", capsys.readouterr().err, re.MULTILINE
    )
