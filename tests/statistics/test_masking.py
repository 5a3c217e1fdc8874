"""Signs of masked gradients: each where its evidence is in the numbers, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bridge.tables.study.masking import flags
from tests.statistics.studies import drawn

N = 100


def images() -> pd.DataFrame:
    return pd.DataFrame({"id": [f"i{k:03d}" for k in range(N)], "right": True})


def attack(method, fooled, *, epsilon=8 / 255, forwards=1.0, backwards=1.0, norm="linf", moved=1.0):
    """The first `fooled` of the images."""
    return pd.DataFrame(
        {
            "id": images()["id"],
            "method": method,
            "norm": norm,
            "epsilon": epsilon,
            "fooled": np.arange(N) < fooled,
            "linf": 0.03 * moved,
            "l2": 1.0 * moved,
            "forwards": forwards,
            "backwards": backwards,
        }
    )


def signs(*attacks):
    return {flag.sign: flag.sentence for flag in flags(images(), pd.concat(attacks))}


def test_a_model_without_masking_raises_no_flag():
    results = drawn(300)
    assert flags(results.images, results.attacks) == []


def test_one_step_that_beats_forty():
    sentence = signs(attack("fgsm", 62), attack("pgd", 40, backwards=40.0))["fewer steps fool more"]
    for said in (
        "fgsm at linf 8/255",
        "(passes backwards: 1)",
        "62.0%",
        "with 40 only 40.0%",
        "22 of 100",
    ):
        assert said in sentence


def test_a_difference_that_chance_makes_is_no_sign():
    assert signs(attack("fgsm", 45), attack("pgd", 40, backwards=40.0)) == {}


def test_a_larger_ball_that_fools_less_for_several_steps_only():
    small = attack("pgd", 60, epsilon=4 / 255, backwards=10.0)
    large = attack("pgd", 30, epsilon=8 / 255, backwards=10.0)
    sentence = signs(small, large)["more room fools less"]
    for said in ("pgd at linf 4/255 fools 60.0%", "at 8/255 only 30.0%", "30 of 100"):
        assert said in sentence
    one_step = [each.assign(backwards=1.0) for each in (small, large)]
    assert signs(*one_step) == {}


def test_noise_that_fools_as_much_as_the_gradient():
    noise = attack("noise", 30, forwards=10.0, backwards=0.0)
    sentence = signs(noise, attack("pgd", 25, backwards=10.0))["noise fools as much"]
    assert "noise at linf 8/255, which uses no gradient, fools 30.0% of 100 images" in sentence
    assert "pgd only 25.0%" in sentence
    assert signs(noise, attack("pgd", 90, backwards=10.0)) == {}
    few = attack("noise", 3, backwards=0.0)
    assert signs(few, attack("pgd", 2, backwards=10.0)) == {}  # both near nothing: no evidence
    all_of_them = attack("noise", 100, backwards=0.0)
    assert signs(all_of_them, attack("pgd", 100, backwards=10.0)) == {}


def test_an_attack_without_a_bound_that_ends_early():
    found = signs(attack("deepfool_l2", 80, epsilon=np.nan, norm="l2"))
    assert "fools 80 of 100 (80.0%)" in found["without a bound, and yet not all"]
    assert signs(attack("deepfool_l2", 100, epsilon=np.nan, norm="l2")) == {}


def test_transfer_that_beats_the_white_box():
    pgd = attack("pgd", 20, backwards=10.0).assign(
        transfer_right=True, transferred=np.arange(N) < 70
    )
    sentence = signs(pgd)["transfer beats the white box"]
    assert "fools the model that it was run on in 20.0%" in sentence
    assert "70.0%" in sentence
    assert signs(pgd.assign(transferred=np.arange(N) < 20)) == {}


def test_images_that_stay_as_they_were():
    found = signs(attack("fgsm", 0, moved=0.0))
    assert "returns 100 of 100 images unchanged" in found["images stay as they were"]


@pytest.mark.parametrize("n", [5])
def test_of_a_handful_nothing_is_said(n):
    few = images().head(n)
    attacks = pd.concat([attack("fgsm", 5), attack("pgd", 0, backwards=40.0, moved=0.0)])
    assert flags(few, attacks[attacks["id"].isin(few["id"])]) == []
