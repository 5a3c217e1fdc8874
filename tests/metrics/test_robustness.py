"""How far attacks move maps: of images that flipped or not, beside noise of the same size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bridge
from bridge.core.gradients import predict
from bridge.core.registry import get
from bridge.metrics import similarity
from bridge.metrics.robustness import Looked, Noise, energy, robustness, shifts


def test_rows_are_what_the_parts_say(fashion):
    model, x, labels = fashion
    attacks = {"fgsm": {"epsilon": 0.03}, "uniform_noise_linf": {"epsilon": 0.03}}
    found = robustness(model, x, labels, attacks, ["saliency", "integrated_gradients"])
    after = bridge.run("fgsm", model, x, labels, epsilon=0.03).output
    flipped = predict(model, after) != predict(model, x)
    assert 0 < flipped.sum() < len(x)
    before, moved = (
        bridge.run("saliency", model, each, labels).output.sum(1) for each in (x, after)
    )
    correlation = similarity.spearman(similarity.ranks(before), similarity.ranks(moved))
    squares = (after - x).square().sum(1)
    share = (squares * similarity.top_share(before)).sum((1, 2)) / squares.sum((1, 2))
    mine = found[(found.attack == "fgsm") & (found.method == "saliency")].set_index("images")
    for images, chosen in {"all": flipped | True, "kept": ~flipped, "flipped": flipped}.items():
        row = mine.loc[images]
        assert row["count"] == chosen.sum()
        assert row.spearman == pytest.approx(float(correlation[chosen].mean()), abs=1e-6)
        assert row.energy == pytest.approx(float(share[chosen].mean()), abs=1e-6)
        assert row.area == pytest.approx(0.1, abs=0.001)
    assert mine.loc["noise", "count"] == len(x)
    assert mine.loc["noise", "spearman"] > mine.loc["all", "spearman"]
    control = found[found.attack == "uniform_noise_linf"]
    assert set(control.images) == {"all", "kept", "flipped"}  # a control has none of its own


@pytest.mark.parametrize("name", ["fgsm", "fgm_l2", "deepfool_l2"])
def test_the_noise_is_as_large_as_the_attack_in_its_own_norm(fashion, monkeypatch, name):
    model, x, labels = fashion
    seen = []
    monkeypatch.setattr(
        "bridge.metrics.robustness.importances", lambda model, x, *_: seen.append(x) or {}
    )
    epsilon = {"fgsm": 0.01, "fgm_l2": 0.5}.get(name)
    delta = bridge.run(name, model, x, labels, epsilon=epsilon).output - x
    Noise(model, x, labels, 0).maps(get(name), epsilon, delta, {})
    noise = (seen[0] - x).flatten(1)
    order = torch.inf if name == "fgsm" else 2
    wanted = delta.flatten(1).norm(order, dim=1) if epsilon is None else torch.full((4,), epsilon)
    # Clipped at black and white it is a little smaller.
    assert (noise.norm(order, dim=1) <= wanted * 1.001).all()
    assert (noise.norm(order, dim=1) > 0.9 * wanted).all()


def test_nothing_moves_the_maps_of_a_linear_model():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 9, 2)).double().eval()
    x = torch.rand(3, 3, 8, 9, dtype=torch.float64)
    found = robustness(bridge.wrap(module), x, [0, 1, 0], ["fgsm"], ["saliency"])
    there = found[found["count"] > 0]
    for column in ("spearman", "top10_iou", "top10_near", "ssim"):
        assert there[column].tolist() == pytest.approx([1.0] * len(there))
    assert there.centre.abs().max() < 1e-12


def test_a_shift_by_one_pixel_is_forgiven_and_by_three_is_not():
    map_ = torch.zeros(1, 12, 12)
    map_[0, 3:6, 2:7] = torch.arange(15.0).view(3, 5) + 1
    for rows, near in ((0, 1.0), (1, 1.0), (3, 0.0)):
        found = shifts(Looked(map_), Looked(map_.roll(rows, 1)))
        assert (found["top10_near"] > 0.9) == (near == 1.0)
        assert float(found["centre"]) == pytest.approx(rows, abs=1e-5)
        assert (found["top10_iou"] == 1) == (rows == 0)
    assert similarity.top_k_near(map_, map_.roll(1, 1)) > similarity.top_k_iou(
        map_, map_.roll(1, 1)
    )


def test_energy_on_the_top_pixels_is_their_share_where_it_spreads_evenly():
    top = similarity.top_share(torch.rand(2, 10, 10))
    even = energy(torch.ones(2, 10, 10), top)
    assert torch.allclose(even["energy"], even["area"])
    assert torch.allclose(even["area"], torch.full((2,), 0.1))
    assert (energy(top.double(), top)["energy"] == 1).all()
    assert energy(torch.zeros(2, 10, 10), top)["energy"].isnan().all()
