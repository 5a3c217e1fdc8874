"""The metrics of explanations, each against what is known without it: closed forms and twins."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.registry import get, methods
from bridge.fused import plan
from bridge.metrics import registry
from bridge.metrics.baselines import baseline_maps
from bridge.metrics.measure import measure
from bridge.metrics.ranking import DEFAULT, measure_all, ranked
from bridge.metrics.road import imputed
from bridge.study.request import EPSILONS
from tests.networks import Plain, images, seeded

SHAPE = (2, 6, 5)
NEEDING = {"masks": ("masks",), "explain": ("explain",)}


def linear() -> tuple[ModelAdapter, Tensor, Tensor, Tensor]:
    """A linear classifier in float64, images, classes, and the weights of each image's class."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 4)).double().eval()
    x, target = torch.rand(3, *SHAPE, dtype=torch.float64), torch.tensor([0, 3, 1])
    weights = module[1].weight.detach()[target].view(3, *SHAPE)
    return bridge.wrap(module), x, target, weights


def network() -> tuple[ModelAdapter, Tensor, Tensor, Tensor]:
    """A small network, images, classes, and maps of random numbers."""
    model, x = bridge.wrap(seeded(Plain).double()), images(4).double()
    torch.manual_seed(5)
    return model, x, torch.tensor([0, 1, 2, 0]), torch.randn_like(x)


def params_of(name: str, x: Tensor) -> dict:
    """What a metric needs besides: a mask, the method."""
    needs = registry.get(name).needs
    masks = torch.zeros(len(x), *x.shape[2:], dtype=torch.bool)
    masks[:, 2:5, 1:4] = True
    return {
        **({"masks": masks} if "masks" in needs else {}),
        **({"explain": "saliency"} if "explain" in needs else {}),
        **({"shuffled": seeded(Plain, seed=1).double()} if "shuffled" in needs else {}),
    }


def test_deletion_by_true_contributions_is_the_least_of_500_orders():
    model, x, target, w = linear()
    truth = w * x
    how = {"step": 1, "score": "logit"}
    best = measure("deletion", model, x, target, truth, **how)
    shown = measure("insertion", model, x, target, truth, baseline="zero", **how)
    flipped = measure("pixel_flipping", model, x, target, truth, baseline="zero", **how)
    torch.manual_seed(0)
    for _ in range(500):
        order = torch.rand_like(truth)
        assert (measure("deletion", model, x, target, order, **how) > best).all()
        assert (measure("insertion", model, x, target, order, baseline="zero", **how) < shown).all()
    worse = measure("pixel_flipping", model, x, target, order, baseline="zero", **how)
    assert (worse < flipped).all()


def test_adversarial_deletion_of_a_linear_model_falls_by_the_weights_it_attacks():
    torch.manual_seed(3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 2, bias=False)).double()
    weight = module[1].weight.data
    weight[1] = -weight[0]  # the gradient's sign is that of the other class's weight
    model, x = bridge.wrap(module.eval()), 0.2 + 0.6 * torch.rand(3, *SHAPE, dtype=torch.float64)
    target = torch.tensor([0, 1, 1])
    w = weight[target].view(3, *SHAPE)
    how = {"score": "logit", "epsilon": 0.05, "points": 30}
    best = measure("adversarial_deletion", model, x, target, w.abs(), **how)
    gains = w.abs().sum(1).flatten(1).sort(1, descending=True).values
    start = (w * x).flatten(1).sum(1, keepdim=True)
    expected = start - 0.05 * torch.cat([torch.zeros(3, 1), gains.cumsum(1)], 1)
    assert torch.allclose(best.curve.values, expected, rtol=1e-9)
    assert best.curve.at.tolist() == [k / 30 for k in range(31)]
    torch.manual_seed(0)
    for _ in range(50):
        other = measure("adversarial_deletion", model, x, target, torch.rand_like(x), **how)
        assert (other > best).all()
    iterated = measure("adversarial_deletion", model, x, target, w.abs(), attack="bim", **how)
    assert torch.allclose(iterated, best.as_subclass(Tensor), rtol=1e-9)
    assert iterated.forwards == 3 * registry.get("adversarial_deletion").passes(
        30, attack="bim", points=30
    )
    with pytest.raises(ValueError, match="is no attack"):
        measure("adversarial_deletion", model, x, target, w, attack="saliency")
    with pytest.raises(KeyError, match="did you mean"):
        measure("adversarial_deletion", model, x, target, w, attack="fgms")


@pytest.mark.parametrize("score", ["logit", "probability", "accuracy"])
@pytest.mark.parametrize("step", [1, 7, 30, 144])
def test_curves_are_what_a_loop_over_pixels_gives(step, score):
    model, x, target, maps = network()
    found = measure("deletion", model, x, target, maps, step=step, score=score)
    flipped = measure(
        "pixel_flipping", model, x, target, maps, step=step, score=score, baseline="zero"
    )
    with torch.no_grad():
        for i in range(len(x)):
            image, curve = x[i].clone(), []
            order = maps[i].sum(0).flatten().argsort(descending=True)
            for k in range(0, len(order) + step, step):
                image.view(x.shape[1], -1)[:, order[:k]] = 0
                logits = model(image[None])[0]
                curve.append(
                    {
                        "logit": logits[target[i]],
                        "probability": logits.softmax(0)[target[i]],
                        "accuracy": (logits.argmax() == target[i]).double(),
                    }[score]
                )
            at = torch.arange(0, len(order) + step, step).clamp(max=len(order)) / len(order)
            values = torch.stack(curve)
            assert torch.allclose(found.curve.values[i], values, rtol=1e-12)
            assert math.isclose(found[i], torch.trapezoid(values, at.double()), rel_tol=1e-6)
            assert math.isclose(flipped[i], (values[0] - values).mean(), abs_tol=1e-12)


def test_the_area_under_equal_steps_is_as_rise_writes_it():
    model, x, target, maps = network()
    found = measure("deletion", model, x, target, maps, step=12)
    p = found.curve.values
    rise = (p.sum(1) - p[:, 0] / 2 - p[:, -1] / 2) / (p.shape[1] - 1)
    assert torch.allclose(rise, found.as_subclass(Tensor), rtol=1e-12)
    assert found.forwards == len(x) * p.shape[1]


def test_infidelity_of_a_linear_models_own_map_is_zero():
    model, x, target, w = linear()
    exact = measure("infidelity", model, x, target, w)
    maps = bridge.run("input_x_gradient", model, x, target).output
    path = bridge.run("integrated_gradients", model, x, target).output
    for contribution in (maps, path):
        found = measure("infidelity", model, x, target, contribution, speaks_of="contribution")
        assert (found < 1e-15).all()
    assert (exact < 1e-15).all()
    assert (measure("infidelity", model, x, target, maps) > 1e-3).all()
    assert (measure("infidelity", model, x, target, 3 * w, scaled=True) < 1e-15).all()


@pytest.mark.parametrize("speaks_of", ["sensitivity", "contribution"])
@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_is_captums_where_the_noise_is_the_same(speaks_of, scaled):
    model, x, target, maps = network()
    how = {
        "speaks_of": speaks_of,
        "scaled": scaled,
        "noise": 0.1 * torch.randn(6, *x.shape).double(),
    }
    ours = measure("infidelity", model, x, target, maps, **how)
    theirs = measure("infidelity", model, x, target, maps, implementation="captum", **how)
    assert torch.allclose(ours.as_subclass(Tensor), theirs.as_subclass(Tensor), rtol=1e-9)


def test_max_sensitivity_is_captums_where_the_noise_is_the_same():
    model, x, target, _ = network()
    maps = bridge.run("saliency", model, x, target).output
    how = {"explain": "saliency", "noise": 0.02 * torch.randn(4, *x.shape).double()}
    ours = measure("max_sensitivity", model, x, target, maps, **how)
    theirs = measure("max_sensitivity", model, x, target, maps, implementation="captum", **how)
    assert (ours > 0).all()
    assert torch.allclose(ours.as_subclass(Tensor), theirs.as_subclass(Tensor), rtol=1e-9)


def test_the_maps_of_one_method_may_be_held_against_those_of_another():
    model, x, target, _ = network()
    own = bridge.run("saliency", model, x, target).output
    noise = {"noise": torch.zeros(1, *x.shape).double()}
    by_name = measure("max_sensitivity", model, x, target, "saliency", explain="occlusion", **noise)
    given = measure("max_sensitivity", model, x, target, own, explain="occlusion", **noise)
    assert torch.equal(by_name.as_subclass(Tensor), given.as_subclass(Tensor))
    assert (by_name > 0).all()


def test_explaining_with_parameters_draws_the_same_numbers_for_each_image():
    model, x, target, _ = network()
    how = ("smooth_grad", {"n_samples": 3})
    maps = bridge.run(how[0], model, x, target, implementation="fused", **how[1]).output
    still = {"noise": torch.zeros(2, *x.shape).double()}
    assert (measure("max_sensitivity", model, x, target, maps, explain=how, **still) == 0).all()


def test_max_sensitivity_of_a_linear_models_gradient_is_zero():
    model, x, target, _ = linear()
    assert (measure("max_sensitivity", model, x, target, "saliency") == 0).all()
    assert (measure("max_sensitivity", model, x, target, "input_x_gradient") > 0).all()


def test_sensitivity_n_of_true_contributions_is_one():
    model, x, target, w = linear()
    for share in (0.05, 0.3, 0.8):
        found = measure("sensitivity_n", model, x, target, w * x, share=share)
        assert torch.allclose(found, torch.ones(3, dtype=torch.float64), rtol=1e-9)
    assert (measure("sensitivity_n", model, x, target, -w * x) < -0.999).all()


def test_the_completeness_gap_falls_with_the_order_of_the_quadrature():
    torch.manual_seed(0)
    smooth = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).double()
    model, x, target = bridge.wrap(smooth.eval()), torch.rand(3, *SHAPE).double(), [0, 1, 2]
    gaps = [
        measure(
            "completeness_gap", model, x, target,
            bridge.run("integrated_gradients", model, x, target, n_steps=n).output,
        ).max()
        for n in (2, 4, 8)
    ]  # fmt: skip
    assert gaps[1] < gaps[0] / 4
    assert gaps[2] < 1e-6
    assert measure("completeness_gap", *linear()[:3], linear()[3] * linear()[1]).max() > 0


def test_average_drop_and_increase_are_what_the_paper_says_image_by_image():
    model, x, target, maps = network()
    drop = measure("average_drop", model, x, target, maps)
    increase = measure("increase_in_confidence", model, x, target, maps)
    for i in range(len(x)):
        flat = maps[i].sum(0)
        shown = (flat - flat.min()) / (flat.max() - flat.min())
        with torch.no_grad():
            y = model(x[i : i + 1]).softmax(1)[0, target[i]]
            o = model(x[i : i + 1] * shown).softmax(1)[0, target[i]]
        assert math.isclose(drop[i], max(0, y - o) / y, rel_tol=1e-9, abs_tol=1e-12)
        assert increase[i] == float(o > y)
    constant = torch.ones_like(maps)  # hides nothing
    assert (measure("average_drop", model, x, target, constant) == 0).all()
    assert (measure("increase_in_confidence", model, x, target, constant) == 0).all()


def test_a_constant_map_scores_chance_in_the_pointing_game():
    model, x, target, maps = network()
    masks = params_of("pointing_game", x)["masks"]
    area = masks[0].double().mean()
    for name in ("pointing_game", "energy_pointing_game"):
        chance = measure(name, model, x, target, torch.ones_like(maps), masks=masks)
        assert torch.allclose(chance, area.expand(len(x)))
        hit = masks[:, None].to(maps)
        assert (measure(name, model, x, target, hit, masks=masks) == 1).all()
        assert (measure(name, model, x, target, 1 - hit, masks=masks) == 0).all()


def test_sparseness_entropy_and_effective_share_at_both_ends():
    model, x, target, _ = network()
    d = x[0, 0].numel()
    one = torch.zeros(len(x), 1, *x.shape[2:], dtype=torch.float64)
    one[:, :, 3, 4] = -2.0
    flat = torch.full_like(one, 0.3)
    few = torch.zeros_like(one).index_fill(3, torch.tensor([1, 2]), 5.0)
    for name, of_one, of_flat in [
        ("sparseness", 1 - 1 / d, 0),
        ("entropy", 0, math.log(d)),
        ("effective_share", 1 / d, 1),
    ]:
        assert torch.allclose(measure(name, model, x, target, one), torch.tensor(of_one).double())
        found = measure(name, model, x, target, flat)
        assert torch.allclose(found, torch.tensor(of_flat).double(), atol=1e-12)
        assert measure(name, model, x, target, torch.zeros_like(one)).isnan().all()
    share = 2 / x.shape[3]
    assert torch.allclose(
        measure("effective_share", model, x, target, few), torch.tensor(share).double()
    )


def test_road_takes_exactly_the_stated_share_also_of_a_map_that_is_mostly_zero():
    model, x, target, _ = network()
    maps = torch.zeros_like(x)
    maps[:, :, 0, 0] = 1
    seen = []
    module = model.module
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    try:
        found = measure("road", model, x, target, maps, shares=(0.25, 0.5), stdev=0.5)
    finally:
        handle.remove()
    shown = torch.cat(seen)[-2 * len(x) :].view(len(x), 2, *x.shape[1:])
    changed = (shown != x[:, None]).any(2).flatten(2).sum(2)
    pixels = x[0, 0].numel()
    assert (changed == torch.tensor([round(0.25 * pixels), round(0.5 * pixels)])).all()
    assert (shown[:, :, :, 0, 0] != x[:, None, :, 0, 0]).all()  # the only important one is first
    assert found.curve.at.tolist() == [0.25, 0.5]


def test_imputed_pixels_are_the_weighted_means_of_their_neighbours():
    torch.manual_seed(1)
    image, gone = torch.rand(3, 7, 6, dtype=torch.float64), torch.rand(7, 6) < 0.6
    filled = imputed(image, gone)
    assert torch.equal(filled[:, ~gone], image[:, ~gone])
    for y, x in itertools.product(range(7), range(6)):
        if not gone[y, x]:
            continue
        total, weights = torch.zeros(3, dtype=torch.float64), 0.0
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            if (dy or dx) and 0 <= y + dy < 7 and 0 <= x + dx < 6:
                weight = 1 / 12 if dy and dx else 1 / 6
                total, weights = total + weight * filled[:, y + dy, x + dx], weights + weight
        assert torch.allclose(filled[:, y, x], total / weights, rtol=1e-9)
    assert torch.equal(imputed(image, torch.zeros_like(gone)), image)
    everything = imputed(image, torch.ones_like(gone))
    assert torch.allclose(everything, image.mean((1, 2), keepdim=True).expand_as(image))


@pytest.mark.parametrize("name", registry.metrics())
def test_every_metric_leaves_everything_as_it_was_and_takes_the_batch_in_any_order(name):
    model, x, target, maps = network()
    more = params_of(name, x)
    before = [t.clone() for t in (x, target, maps)], torch.get_rng_state()
    weights = [p.clone() for p in model.parameters()]
    found = measure(name, model, x, target, maps, **more)
    assert found.shape == (len(x),)
    assert found.dtype == torch.float64
    assert all(map(torch.equal, before[0], (x, target, maps)))
    assert torch.equal(before[1], torch.get_rng_state())
    assert all(map(torch.equal, weights, model.parameters()))
    again = measure(name, model, x, target, maps, **more)
    assert torch.equal(again.as_subclass(Tensor), found.as_subclass(Tensor))
    if registry.get(name).random:
        return  # its draws belong to places in the batch
    order = torch.tensor([2, 0, 3, 1])
    turned = measure(
        name, model, x[order], target[order], maps[order],
        **{k: v[order] if isinstance(v, Tensor) else v for k, v in more.items()},
    )  # fmt: skip
    assert torch.allclose(turned.as_subclass(Tensor), found[order], rtol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", registry.metrics())
def test_every_metric_tells_its_equation_and_its_passes(name):
    metric = registry.get(name)
    assert len(metric.summary) > 20
    assert metric.better in ("higher", "lower", "neither")
    model, x, target, maps = network()
    passes = metric.passes(x[0, 0].numel()) if metric.passes else 0
    explanations = metric.explanations() if metric.explanations else 0
    assert explanations > 0 or math.isnan(explanations) or "explain" not in metric.needs
    found = measure(name, model, x, target, maps, **params_of(name, x))
    if math.isnan(explanations):  # as many as the model has layers
        assert found.forwards > len(x)
    else:  # one pass each
        assert found.forwards == len(x) * (passes + explanations)
        assert found.backwards >= len(x) * explanations


def test_the_default_metrics_cost_less_than_the_methods():
    # On the embedded default: all methods at their default sizes, all maps and the four controls.
    shape = torch.zeros(1, 1, 28, 28)
    asked = {}
    for method in map(get, methods()):
        if method.needs & {"attention", "tokens"}:
            continue
        sized = method.kind == "attack" and not method.minimal
        asked[method.name] = {"epsilon": list(EPSILONS[method.norm])} if sized else {}
    forwards, backwards = plan(asked, shape).alone
    maps = sum(get(name).kind == "attribution" for name in asked)
    each = sum(registry.get(name).passes(28 * 28) for name in DEFAULT)
    assert each == 60
    assert maps * each + 4 * each < forwards + backwards
    assert not any(registry.get(name).needs for name in DEFAULT)


def test_a_users_own_metric_is_called_as_ours_and_what_it_leaves_is_put_back():
    def mine(model, x, target, maps, *, scale=1.0):
        model.module[0].weight.data += 1
        return scale * maps.flatten(1).sum(1)

    model, x, target, maps = network()
    before = model.module[0].weight.clone()
    found = measure("sparseness", model, x, target, maps, implementation=mine)
    assert torch.equal(found.as_subclass(Tensor), maps.flatten(1).sum(1))
    assert torch.equal(model.module[0].weight, before)
    with pytest.raises(ValueError, match="does not take step=3, which would be ignored"):
        measure("deletion", model, x, target, maps, implementation=mine, step=3)


def test_what_does_not_fit_is_named():
    model, x, target, maps = network()
    for expected, call in [
        ("did you mean deletion", lambda: measure("deletio", model, x, target, maps)),
        ("maps have shape", lambda: measure("deletion", model, x, target, maps[:2])),
        ("pass maps\\[:, None\\]", lambda: measure("entropy", model, x, target, maps[:, 0])),
        ("NaN or infinity", lambda: measure("entropy", model, x, target, maps / 0)),
        ("floating-point", lambda: measure("entropy", model, x, target, maps.long())),
        ("no parameter 'steps'", lambda: measure("deletion", model, x, target, maps, steps=3)),
        ("step must be", lambda: measure("deletion", model, x, target, maps, step=0)),
        ("'zero', 'mean', 'blur'", lambda: measure(
            "deletion", model, x, target, maps, baseline="black")),
        ("broadcasts", lambda: measure("deletion", model, x, target, maps, baseline=torch.rand(5))),
        ("needs masks=", lambda: measure("pointing_game", model, x, target, maps)),
        ("needs explain=", lambda: measure("max_sensitivity", model, x, target, maps)),
        ("own shape", lambda: measure("infidelity", model, x, target, maps[:, :1])),
        ("are empty", lambda: measure("pointing_game", model, x, target, maps,
                                      masks=torch.zeros(4, *x.shape[2:], dtype=torch.bool))),
        ("is an attack", lambda: measure("deletion", model, x, target, "pgd")),
        ("shares must be", lambda: measure("road", model, x, target, maps, shares=(2.0,))),
        ("expected one number an image", lambda: measure(
            "entropy", model, x, target, maps, implementation=lambda model, x, target, maps: maps)),
    ]:  # fmt: skip
        with pytest.raises((KeyError, TypeError, ValueError), match=expected):
            call()


def test_methods_are_ranked_and_what_beats_no_control_is_seen():
    model, x, target, w = linear()
    table = measure_all(
        model, x, target, {"true": w * x, "wrong": -w * x},
        {"deletion": {"step": 1, "score": "logit"},
         "insertion": {"step": 1, "score": "logit", "baseline": "zero"},
         "infidelity": {"speaks_of": "contribution"}},
    )  # fmt: skip
    best = ranked(table, resamples=50)
    assert best.index[0] == "true"
    assert best.loc["true", "beats"] == 1
    assert best.loc["wrong", "beats"] < 1
    assert best.loc["true", "mean_rank"] == 1
    assert best.loc["true", "low"] <= 1 <= best.loc["true", "high"]
    assert best.loc["edges", "undefined"] == len(x)  # one channel: no infidelity, and it is said
    assert table[table.method == "edges"].error.str.contains("own shape").any()
    assert best.control.sum() == 4


def test_control_maps_look_at_the_image_only():
    _, x, _, _ = network()
    found = baseline_maps(x)
    assert set(found) == {"random", "edges", "image", "blob"}
    assert (found["edges"][:, :, 1:-1, 1:-1] >= 0).all()
    assert torch.equal(found["image"][:, 0], x.mean(1))
    flat = baseline_maps(torch.full_like(x, 0.3))
    assert flat["edges"].abs().max() < 1e-12
    assert torch.equal(baseline_maps(x, seed=1)["random"], baseline_maps(x, seed=1)["random"])
    middle = found["blob"][0, 0]
    assert middle.max() == middle[[5, 5, 6, 6], [5, 6, 5, 6]].max()
