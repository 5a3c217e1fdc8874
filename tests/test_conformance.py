"""The checker finds every wrong implementation, flags no right one, and its diagnosis is true."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import bridge
from bridge import registry
from bridge.attributions._captum import SKIP
from bridge.cli import main
from bridge.conformance import _perform, _prepare, check
from bridge.core.registry import _METHODS
from tests.conformance_mutants import RIGHT, WRONG, descend, ig
from tests.examples.textbook import my_fgsm, my_ig
from tests.networks import Plain, images, seeded

TEXTBOOK = Path(__file__).parent / "examples" / "textbook.py"


def first_failure(function, method):
    """The first check that fails, or None; a whole report takes ten times as long."""
    _, checks = _prepare(function, method, None, None, {}, 0, 10.0)
    # Agreement tells most apart, but comes last where it takes the average of a hundred draws.
    averaged = registry.get(method).random and registry.get(method).draw is None
    ordered = sorted(checks, key=lambda check: (check.world is None) != averaged)
    return next((result for result in map(_perform, ordered) if result.status == "failed"), None)


@pytest.mark.parametrize("method", WRONG)
def test_every_wrong_implementation_is_found(method):
    assert len(WRONG[method]) >= 8
    alive = [
        name
        for name, (function, _) in WRONG[method].items()
        if first_failure(function, method) is None
    ]
    assert not alive


@pytest.mark.parametrize("method", RIGHT)
def test_no_right_implementation_is_flagged(method):
    assert len(RIGHT[method]) >= 3
    for name, function in RIGHT[method].items():
        report = check(function, method, seed=3)
        assert report.passed, f"{name}\n{report}"
        assert report.cause == ""


# One of each kind; benchmarks/mutation.py diagnoses all of them and records the score.
DIAGNOSED = [
    ("saliency", "signed"),
    ("saliency", "softmax"),
    ("saliency", "first target"),
    ("saliency", "in normalised units"),
    ("input_x_gradient", "gradient alone"),
    ("integrated_gradients", "both ends, last dropped"),
    ("integrated_gradients", "Captum's trapezoid"),
    ("integrated_gradients", "baseline ignored"),
    ("integrated_gradients", "no way"),
    ("layer_gradcam", "always relu"),
    ("layer_gradcam", "summed gradient"),
    ("layer_gradcam", "nearest"),
    ("guided_backprop", "deconvolution"),
    ("guided_gradcam", "bilinear"),
    ("occlusion", "sum"),
    ("occlusion", "edge skipped"),
    ("occlusion_x_gradient", "product"),
    ("deconvolution", "mean over the batch"),
    ("fgsm", "sign(0) = 1"),
    ("fgsm", "epsilon halved"),
    ("fgsm", "clip to [-2, 2] and nll on logits"),
    ("fgm_l2", "batch norm"),
    ("bim", "early stop"),
    ("bim", "no projection"),
    ("pgd", "one short"),
    ("pgd", "start ignored"),
    ("pgd_l2", "clip first"),
    ("fast_gradient_value", "downhill"),
    ("uniform_noise_linf", "largest positive"),
    ("deepfool_l2", "no overshoot"),
    ("fool", "never stops"),
]


@pytest.mark.parametrize("method, name", DIAGNOSED)
def test_the_diagnosis_names_the_cause(method, name):
    function, words = WRONG[method][name]
    report = check(function, method)
    assert words in report.cause
    assert words in str(report)


def test_a_cause_that_is_not_known_is_not_invented():
    report = check(lambda m, x, t: torch.sin(7 * registry.get("saliency")(m, x, t)), "saliency")
    assert not report.passed
    assert report.cause.startswith("cause not recognised")


def test_the_textbook_scripts_are_diagnosed():
    assert "left Riemann" in check(my_ig, "integrated_gradients").cause
    cause = check(my_fgsm, "fgsm").cause
    assert "nll_loss on raw logits" in cause
    assert "[-2, 2]" in cause


@pytest.mark.parametrize("method", bridge.methods())
def test_every_reference_passes_as_itself(method):
    report = check(registry.get(method).reference, method)
    assert report.passed, str(report)


# What a library leaves is found by one check; what it gives differently by agreement alone.
LEAVES = {
    "": None,
    "graph": "contract: finite numbers without a graph",
    "gradients": "no trace: weights, buffers, gradients, modes, flags and hooks of the model",
}


@pytest.mark.parametrize(
    "method, library", [(m, t) for m in bridge.methods() for t in registry.get(m).twins]
)
def test_libraries_pass_or_the_report_says_how_they_differ(method, library):
    twin = registry.get(method).twins[library]
    report = check(twin.function, method)
    if not twin.differs or twin.everywhere or twin.differs == SKIP:
        assert report.passed == (not twin.leaves and not twin.differs), str(report)
    failures = {failure.name: failure.message for failure in report.failures}
    assert twin.leaves in failures.pop(LEAVES[twin.leaves], ""), str(report)
    if not twin.differs:
        assert not failures, str(report)
    for name in failures:
        # Away from its flaw a library agrees: Captum's guided methods differ on skips alone.
        assert name.startswith("agreement"), str(report)
        assert twin.everywhere or twin.differs != SKIP or "used twice" in name, str(report)
    if twin.everywhere:
        assert failures
    assert bool(report.cause) == bool(failures)
    assert not report.cause.startswith("cause not recognised")


def hangs(model, x, target):
    while True:
        time.sleep(0.01)


def prints(model, x, target):
    print("noise on the terminal")
    return registry.get("saliency")(model, x, target)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda m, x, t: None, "NoneType"),
        (lambda m, x, t: (1, 2, 3), "tuple"),
        (lambda m, x, t: x.numpy(), "ndarray"),
        (lambda m, x, t: 1 / 0, "ZeroDivisionError"),
        (lambda m, x, t: x[:1], "shape"),
        (lambda m, x: x, "TypeError"),
        (lambda m, x, t: x * torch.nan, "NaN"),
        (lambda m, x, t: x.long(), "floating point"),
        (lambda m, x, t: exit(3), "exit"),
        (lambda m, x, t: torch.empty(0), "shape"),
    ],
)
def test_whatever_the_function_does_is_reported_and_the_checker_goes_on(function, words):
    report = check(function, "saliency")
    assert not report.passed
    assert words in str(report)
    assert len(report.checks) > 15


def test_a_function_that_never_returns_is_stopped():
    start = time.perf_counter()
    report = check(hangs, "saliency", limit_seconds=0.5)
    assert "did not return within 0.5 s" in str(report)
    assert len(report.failures) == 1
    assert {c.status for c in report.checks} == {"failed", "skipped"}
    assert time.perf_counter() - start < 10


def test_what_the_function_prints_is_swallowed(capsys):
    assert check(prints, "saliency").passed
    assert "noise" not in capsys.readouterr().out


def test_a_check_takes_seconds():
    start = time.perf_counter()
    check(registry.get("pgd").reference, "pgd")
    assert time.perf_counter() - start < 20


def test_the_report_reads_like_pytests_and_is_json_and_html():
    report = check(WRONG["fgsm"]["no clip"][0], "fgsm")
    text = str(report)
    assert "FAILURES" in text
    assert "\nE   " in text
    assert "diagnosis: it does not clip" in text
    loaded = json.loads(report.to_json())
    assert loaded["passed"] is False
    assert {c["status"] for c in loaded["checks"]} == {"passed", "failed"}
    html = check(
        lambda m, x, t: (_ for _ in ()).throw(RuntimeError("<script>")), "saliency"
    )._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert check(my_ig, "integrated_gradients").reproduce.endswith(
        "textbook.py:my_ig --as integrated_gradients"
    )


def test_a_registered_twin_has_its_librarys_name_and_its_command_works():
    report = check(registry.get("input_x_gradient").function("captum"), "input_x_gradient")
    assert report.function == "captum's input_x_gradient"
    assert report.reproduce.startswith("gradbridge check bridge.attributions.input_x_gradient:")
    assert f"reproduce: {report.reproduce}" in str(report)
    done = CliRunner().invoke(main, [*shlex.split(report.reproduce)[1:], "--json"])
    assert done.exit_code == 1, done.output
    again = json.loads(done.output)
    assert [c["status"] for c in again["checks"]] == [c.status for c in report.checks]


def test_a_command_says_parameters_and_seed_and_is_empty_where_it_would_not_work():
    report = check(my_ig, "integrated_gradients", params={"method": "riemann_left"}, seed=2)
    assert report.reproduce.endswith("--param method=riemann_left --seed 2")
    done = CliRunner().invoke(main, shlex.split(report.reproduce)[1:])
    assert done.exit_code == 0, done.output
    within = check(lambda m, x, t: x, "saliency")
    assert within.reproduce == ""
    assert "reproduce" not in str(within)
    assert check(registry.get("saliency").fast, "saliency").reproduce == ""


def test_a_random_method_is_diagnosed_from_averages():
    report = check(WRONG["smooth_grad"]["absolute"][0], "smooth_grad")
    assert report.cause.startswith("it averages the absolute gradients (on average over")


def test_expected_failures_need_a_known_name_and_turn_the_status():
    wrong = WRONG["saliency"]["backward() leaves gradients"][0]
    name = check(wrong, "saliency").failures[0].name
    report = check(wrong, "saliency", expected_failures={name: "we train on"})
    assert report.passed
    assert report.counts()["expected"] == 1
    assert "we train on" in str(report)
    with pytest.raises(KeyError, match="no check"):
        check(wrong, "saliency", expected_failures={"nope": "why"})


def test_on_fail_raise_raises_the_report():
    with pytest.raises(AssertionError, match="diagnosis: the absolute value is missing"):
        check(WRONG["saliency"]["signed"][0], "saliency", on_fail="raise")


def test_params_state_what_a_function_does_and_cannot_be_told():
    def ig_of_20_left_steps(model, x, target):
        return ig(lambda n: [k / n for k in range(n)], lambda n: [1 / n] * n)(
            model, x, target, n_steps=20
        )

    assert not check(ig_of_20_left_steps, "integrated_gradients").passed
    stated = {"n_steps": 20, "method": "riemann_left"}
    assert check(ig_of_20_left_steps, "integrated_gradients", params=stated).passed
    with pytest.raises(TypeError, match="no parameter"):
        check(ig_of_20_left_steps, "integrated_gradients", params={"steps": 3})
    with pytest.raises(TypeError, match="function"):
        check(3, "saliency")


def test_a_users_own_model_and_batch_are_a_world_as_well():
    model, batch = bridge.wrap(seeded(Plain)), (images(), [0, 1, 2])
    report = check(registry.get("saliency").reference, "saliency", model=model, batch=batch)
    assert report.passed
    assert any("given model and batch" in c.name for c in report.checks)
    with pytest.raises(TypeError, match="both"):
        check(registry.get("saliency").reference, "saliency", model=model)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "fgsm"])
def test_a_given_model_may_have_more_classes_and_other_bounds(method):
    model, x = bridge.wrap(seeded(Plain, classes=7), bounds=(-1, 1)), images() * 2 - 1
    for labels in ([6, 0, 2], [3, 0, 2]):  # the latter are classes of our own networks as well
        report = check(registry.get(method).reference, method, model=model, batch=(x, labels))
        assert report.passed, str(report)


def test_a_users_own_method_can_be_checked_against():
    @bridge.attribution("gradient_squared")
    def gradient_squared(model, x, target, *, power: float = 2.0):
        """|d logit_t / d x| to a power."""
        return registry.get("saliency")(model, x, target) ** power

    try:
        assert check(
            lambda m, x, t, *, power: registry.get("saliency")(m, x, t).pow(power),
            "gradient_squared",
        ).passed
        assert (
            "`power`"
            in check(
                lambda m, x, t, *, power: registry.get("saliency")(m, x, t) ** 2, "gradient_squared"
            ).cause
        )
    finally:
        del _METHODS["gradient_squared"]


def test_the_model_and_random_state_of_the_caller_are_left_alone():
    before = torch.get_rng_state()
    check(descend("pgd"), "pgd")
    assert torch.equal(before, torch.get_rng_state())


def test_the_command_line_exits_with_0_1_and_2():
    run = lambda *arguments: CliRunner().invoke(main, ["check", *arguments])  # noqa: E731
    wrong = run(f"{TEXTBOOK}:my_ig", "--as", "integrated_gradients")
    assert (wrong.exit_code, "diagnosis: it uses the left Riemann rule" in wrong.output) == (
        1,
        True,
    )
    right = run(
        f"{TEXTBOOK}:my_ig",
        "--as",
        "integrated_gradients",
        "--param",
        "method=riemann_left",
        "--json",
    )
    assert (right.exit_code, json.loads(right.output)["passed"]) == (0, True)
    for arguments in (
        ["nope", "--as", "fgsm"],
        [f"{TEXTBOOK}:my_ig", "--as", "nope"],
        [f"{TEXTBOOK}:my_ig"],
        [f"{TEXTBOOK}:none", "--as", "fgsm"],
        [f"{TEXTBOOK}:my_ig", "--as", "fgsm", "--param", "x"],
    ):
        done = run(*arguments)
        assert done.exit_code == 2, done.output
        assert "Traceback" not in done.output


def right_fgsm(model, x, labels, *, epsilon):
    x = x.detach().clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    return (x + epsilon * torch.autograd.grad(loss, x)[0].sign()).clamp(0, 1).detach()


@bridge.conformance.parametrize(fgsm=right_fgsm, saliency=RIGHT["saliency"]["one-hot"])
def test_parametrize_gives_a_case_a_check(check):
    check()


@bridge.conformance.parametrize(
    saliency=WRONG["saliency"]["backward() leaves gradients"][0],
    expected_failures={
        "no trace: weights, buffers, gradients, modes, flags and hooks of the model": "known"
    },
)
def test_parametrize_marks_expected_failures(check):
    check()


def test_a_failing_case_says_the_diagnosis():
    mark = bridge.conformance.parametrize(saliency=WRONG["saliency"]["signed"][0])
    case = next(p for p in mark.args[1] if "agreement" in p.id)
    with pytest.raises(AssertionError, match="absolute value is missing"):
        case.values[0]()


def test_the_plug_in_brings_fixtures_and_stays_light(bridge_model, bridge_batch):
    x, labels = bridge_batch
    assert bridge.run("saliency", bridge_model, x, labels).output.shape == x.shape
    import subprocess
    import sys

    code = "import bridge.pytest_plugin, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Unix interrupts by an alarm")
def test_an_alarm_that_was_set_before_still_goes_off():
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        bridge.check(lambda model, x, target: None, "saliency")
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 30 < left < 60
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
