"""Users' own code is judged and explained as a person would; benchmarks/users_code.py has all."""

from __future__ import annotations

import warnings

import pytest

import bridge
from benchmarks.users_code import EXPLAINED, RIGHT, verdict
from tests.users_code import CASES

# One of each kind; the others take a minute together.
FAST = """
PGDAttack fgsm_np bim_auto_step bim_fixed fgsm_probabilities fgsm_where pgd_clean bim_l2_step
bim_momentum bim_best mifgsm fgm GradCAM ScaledGradCAM cam_aligned LastConvCAM ig_trapezoid simonyan
saliency_of_prediction ixg ig_linspace occlusion_map occlusion_grid occlusion_mean
fast_gradient_method attack_pgd NIFGSM HookedCAM TorchcamCAM vanilla_keras occlusion_noise
""".split()


def judged(case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = bridge.check(case.code, case.method)
    expected = EXPLAINED if case.words else RIGHT
    assert verdict(case, report) == expected, str(report)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in FAST], ids=lambda c: c.name)
def test_code_is_judged_as_a_person_would(case):
    judged(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c.name not in FAST], ids=lambda c: c.name)
def test_all_other_code_is_judged_as_a_person_would(case):
    judged(case)


def test_there_is_enough_of_it():
    assert len(CASES) >= 40
    wrong = [case for case in CASES if case.words]
    assert sum(len(case.words) > 1 for case in CASES) >= len(wrong) * 2 / 3
