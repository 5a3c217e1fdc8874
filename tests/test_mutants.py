"""Wrong implementations must be told from the reference: a check that cannot fail is no check."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import bridge
from bridge.core.gradients import input_gradient, loss_gradient
from bridge.core.norms import project_l2, project_linf, unit_l2
from tests.networks import Plain, images, seeded

LABELS = torch.tensor([0, 3, 1])


def get(name):
    return bridge.registry.get(name)


def softmax_gradient(model, x, target):
    return input_gradient(lambda images: model(images).softmax(1), x, target)


MUTANTS = {
    "saliency": {
        "no absolute value": lambda m, x, t: input_gradient(m, x, t),
        "of the softmax": lambda m, x, t: softmax_gradient(m, x, t).abs(),
        "of the first target": lambda m, x, t: input_gradient(m, x, t[:1].expand_as(t)).abs(),
        "mean over the batch": lambda m, x, t: input_gradient(m, x, t).abs() / len(x),
        "channels reversed": lambda m, x, t: input_gradient(m, x, t).abs().flip(1),
        "of the loss": lambda m, x, t: loss_gradient(m, x, t).abs(),
        "height and width swapped": lambda m, x, t: input_gradient(m, x, t).abs().transpose(2, 3),
        "half precision": lambda m, x, t: input_gradient(m, x, t).abs().half().to(x.dtype),
    },
    "input_x_gradient": {
        "gradient alone": lambda m, x, t: input_gradient(m, x, t),
        "absolute": lambda m, x, t: (x * input_gradient(m, x, t)).abs(),
        "centred": lambda m, x, t: (x - 0.5) * input_gradient(m, x, t),
    },
    "integrated_gradients": {
        "one step fewer": lambda m, x, t, n_steps: get("integrated_gradients")(
            m, x, t, n_steps=n_steps - 1
        ),
        "without the way": lambda m, x, t, n_steps: (
            get("integrated_gradients")(m, x, t, n_steps=n_steps) / x
        ),
        "left": lambda m, x, t, n_steps: get("integrated_gradients")(
            m, x, t, n_steps=n_steps, method="riemann_left"
        ),
        "0.9 of it": lambda m, x, t, n_steps: (
            0.9 * get("integrated_gradients")(m, x, t, n_steps=n_steps)
        ),
        "white baseline": lambda m, x, t, n_steps: get("integrated_gradients")(
            m, x, t, n_steps=n_steps, baseline=1.0
        ),
    },
    "layer_gradcam": {
        "relu": lambda m, x, t: get("layer_gradcam")(m, x, t, relu=True),
        "sign": lambda m, x, t: -get("layer_gradcam")(m, x, t),
        "upsampled": lambda m, x, t: get("layer_gradcam")(m, x, t, upsample=True),
    },
    "guided_backprop": {
        "plain gradient": lambda m, x, t: input_gradient(m, x, t),
        "deconvolution": lambda m, x, t: get("deconvolution")(m, x, t),
    },
    "occlusion": {
        "white baseline": lambda m, x, t: get("occlusion")(m, x, t, baseline=1.0),
        "another stride": lambda m, x, t: get("occlusion")(m, x, t, window=2, stride=2),
        "shifted by a pixel": lambda m, x, t: get("occlusion")(m, x, t).roll(1, 3),
    },
    "fgsm": {
        "no clip": lambda m, x, t, epsilon: x + epsilon * loss_gradient(m, x, t).sign(),
        "half": lambda m, x, t, epsilon: get("fgsm")(m, x, t, epsilon=epsilon / 2),
        "downhill": lambda m, x, t, epsilon: get("fgsm")(m, x, t, epsilon=epsilon, targeted=True),
        "of the predicted class": lambda m, x, t, epsilon: get("fgsm")(
            m, x, m(x).argmax(1), epsilon=epsilon
        ),
        "loss of the softmax": lambda m, x, t, epsilon: get("fgsm")(
            Softmax(m), x, t, epsilon=epsilon
        ),
        "sign(0) = 1": lambda m, x, t, epsilon: (
            x + epsilon * (loss_gradient(m, x, t) >= 0).to(x).mul(2).sub(1)
        ).clamp(0, 1),
    },
    "bim": {
        "no projection": lambda m, x, t, epsilon, steps, step_size: iterate(
            m, x, t, steps, step_size, lambda y: y
        ),
        "one step short": lambda m, x, t, epsilon, steps, step_size: iterate(
            m, x, t, steps - 1, step_size, lambda y: project_linf(y, x, epsilon)
        ),
        "stops when fooled": lambda m, x, t, epsilon, steps, step_size: iterate(
            m, x, t, steps, step_size, lambda y: project_linf(y, x, epsilon), stop=True
        ),
    },
    "pgd_l2": {
        "sign": lambda m, x, t, epsilon, steps, step_size, start=None: iterate(
            m, start, t, steps, step_size / 10, lambda y: project_l2(y, x, epsilon)
        ),
        "norm of the batch": lambda m, x, t, epsilon, steps, step_size, start=None: iterate(
            m,
            start,
            t,
            steps,
            step_size,
            lambda y: project_l2(y, x, epsilon),
            lambda g: g / g.norm(),
        ),
        "clip before projection": lambda m, x, t, epsilon, steps, step_size, start=None: iterate(
            m,
            start,
            t,
            steps,
            step_size,
            lambda y: project_l2(y.clamp(0, 1), x, epsilon),
            unit_l2,
            clip=False,
        ),
    },
}


class Softmax:
    """The model with a softmax on top."""

    def __init__(self, model):
        self.model, self.bounds = model, model.bounds

    def __call__(self, x):
        return self.model(x).softmax(1)


def iterate(
    model, x, labels, steps, step_size, project, direction=torch.sign, stop=False, clip=True
):
    for _ in range(steps):
        moved = project(x + step_size * direction(loss_gradient(model, x, labels)))
        moved = moved.clamp(0, 1) if clip else moved
        fooled = (model(x).argmax(1) != labels).view(-1, 1, 1, 1) & stop
        x = torch.where(fooled, x, moved)
    return x.detach()


PARAMS = {
    "integrated_gradients": {"n_steps": 10},
    "bim": {"steps": 4, "step_size": 0.05},
    "pgd_l2": {"steps": 4, "step_size": 0.5},
}


EPSILONS = {"linf": {"linf": [0.1]}, "l2": {"l2": [1.5]}}


def batch():
    """Images that reach the bounds, with pixels of no gradient: what separates the mutants."""
    x = images(3)
    x[:, :, ::3] = 0
    x[:, :, :, ::4] = 1
    return x


def network():
    # Labels 0, 3, 1 are not all predicted, some predictions flip on the way, and the last row of
    # pixels goes nowhere.
    model = seeded(Plain)
    with torch.no_grad():
        model[9].weight.mul_(8)
    return bridge.wrap(Cropped(model).eval())


class Cropped(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(F.pad(x[:, :, :-1], (0, 0, 0, 1)))


def compare(method, function):
    return bridge.compare(
        network(),
        batch(),
        LABELS,
        methods=[method],
        implementations=["reference"],
        functions={method: function},
        params={k: v for k, v in PARAMS.items() if k == method},
        epsilons=EPSILONS.get(get(method).norm),
        repeats=1,
        progress=False,
    )


@pytest.mark.parametrize(
    "method, name", [(method, name) for method in MUTANTS for name in MUTANTS[method]]
)
def test_a_wrong_implementation_differs(method, name):
    result = compare(method, MUTANTS[method][name])
    assert result.agreement["verdict"].tolist() == ["differs"], (
        result.failures.to_string() or result.agreement.to_string()
    )


RIGHT = {
    "saliency": lambda m, x, t: torch.cat(
        [get("saliency")(m, x[i : i + 1], t[i : i + 1]) for i in range(len(x))]
    ),
    "integrated_gradients": lambda m, x, t, n_steps: (
        get("integrated_gradients")(m, x.double(), t, n_steps=n_steps).to(x)
        if x.dtype == torch.float64
        else get("integrated_gradients")(m, x, t, n_steps=n_steps)
    ),
    "fgsm": lambda m, x, t, epsilon: torch.minimum(
        torch.maximum(x + epsilon * loss_gradient(m, x, t).sign(), torch.zeros(())), torch.ones(())
    ),
    "bim": lambda m, x, t, epsilon, steps, step_size: iterate(
        m,
        x,
        t,
        steps,
        step_size,
        lambda y: torch.minimum(torch.maximum(y, x - epsilon), x + epsilon),
    ),
}


@pytest.mark.parametrize("method", RIGHT)
def test_a_right_implementation_written_differently_agrees(method):
    result = compare(method, RIGHT[method])
    assert set(result.agreement["verdict"]) <= {"equal", "rounding"}, result.agreement.to_string()


def test_a_constant_factor_and_a_sign_are_named():
    assert (
        "0.9 times"
        in compare("integrated_gradients", MUTANTS["integrated_gradients"]["0.9 of it"])
        .agreement["cause"]
        .iloc[0]
    )
    assert (
        "opposite sign"
        in compare("layer_gradcam", MUTANTS["layer_gradcam"]["sign"]).agreement["cause"].iloc[0]
    )
