"""Peers that are configured the same pass, or the report says precisely how they differ, and that is true.

torchattacks and pytorch-grad-cam pin packages that clash with others: install them with `pip install --no-deps`, as .ci/run
does; without them these tests are skipped.
"""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.conformance import check
from bridge.conformance.report import CheckReport


def only(report: CheckReport, *names: str) -> None:
    """Nothing fails but these."""
    assert {c.name for c in report.failures} <= set(names), str(report)


def test_torchattacks_fgsm_and_pgd_pass():
    torchattacks = pytest.importorskip("torchattacks")

    def fgsm(model, x, labels, *, epsilon):
        return torchattacks.FGSM(model, eps=epsilon)(x, labels)

    def pgd(model, x, labels, *, epsilon, steps, step_size, random_start):
        return torchattacks.PGD(model, eps=epsilon, alpha=step_size, steps=steps, random_start=random_start)(x, labels)

    only(check(fgsm, "fgsm"))
    report = check(pgd, "pgd")
    # Its projection x + clamp(x' - x) of the clean image at epsilon 0 and everything else agree; its start is uniform.
    only(report)


def test_torchattacks_pgd_l2_differs_by_its_mean_loss_and_a_floor_that_is_added():
    torchattacks = pytest.importorskip("torchattacks")

    def pgd_l2(model, x, labels, *, epsilon, steps, step_size, random_start):
        attack = torchattacks.PGDL2(model, eps=epsilon, alpha=step_size, steps=steps, random_start=random_start)
        return attack(x, labels)

    report = check(pgd_l2, "pgd_l2")
    differing = {c.name for c in report.failures}
    # At epsilon 0 it divides 0 by 0; its random start has another law than Foolbox's. Without a start, on ordinary
    # gradients, its 1e-10 is lost in rounding.
    assert not any("batch norm, in-place ReLU" in name or "linear" in name for name in differing), str(report)


def test_pytorch_grad_cam_passes_through_its_own_chain():
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from bridge import registry, wrap
    from tests.networks import Plain, images, seeded

    model, x, target = wrap(seeded(Plain), layer="4"), images(), torch.tensor([0, 3, 1])
    # Frozen: an in-place ReLU after the layer would change the map that it keeps.
    with bridge.frozen(model), pytorch_grad_cam.GradCAM(model=model, target_layers=[model.cam_layer(x)]) as method:
        theirs = torch.from_numpy(method(input_tensor=x.clone(), targets=[ClassifierOutputTarget(int(t)) for t in target]))
    ours = registry.get("layer_gradcam")(model, x, target, relu=True)[:, 0]

    def scaled(cam):  # its chain: min-max per image, bilinear to the image's size, min-max again
        cam = cam - cam.amin((1, 2), keepdim=True)
        return cam / (1e-7 + cam.amax((1, 2), keepdim=True))

    ours = scaled(torch.nn.functional.interpolate(scaled(ours)[:, None], x.shape[2:], mode="bilinear")[:, 0])
    # float32 maps in [0, 1], and OpenCV's own bilinear weights in float32: 2.7e-7 was measured on other networks.
    assert torch.allclose(ours, theirs, rtol=0, atol=5e-6)


def test_zennits_integrated_gradients_and_guided_backprop_pass():
    zennit = pytest.importorskip("zennit")
    from zennit.attribution import IntegratedGradients
    from zennit.composites import Composite
    from zennit.rules import ReLUGuidedBackprop
    from zennit.types import Activation

    assert zennit

    def one_hot(target):
        return lambda output: torch.nn.functional.one_hot(target, output.shape[1]).to(output)

    def ig(model, x, target, *, n_steps, baseline):
        base = lambda v: torch.full_like(v, baseline)  # noqa: E731
        with IntegratedGradients(model, n_iter=n_steps, baseline_fn=base) as attributor:
            _, relevance = attributor(x.clone(), one_hot(target))
        return relevance.detach()

    def guided(model, x, target):
        def rule(ctx, name, module):
            return ReLUGuidedBackprop() if isinstance(module, Activation) else None

        z = x.clone().requires_grad_()
        with Composite(module_map=rule).context(model.module):
            output = model(z)
            (g,) = torch.autograd.grad(output, z, one_hot(target)(output))
        return g.detach()

    only(check(ig, "integrated_gradients", params={"method": "riemann_right"}))
    assert "right Riemann" in check(ig, "integrated_gradients").cause
    only(check(guided, "guided_backprop"))
