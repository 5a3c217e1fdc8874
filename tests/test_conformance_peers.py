"""Peers configured the same pass, or the report says precisely how they differ, and that is true.

torchattacks and pytorch-grad-cam pin packages that clash with others: install them with
`pip install --no-deps`, as .ci/run does; without them these tests are skipped.
"""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.conformance import check
from bridge.conformance.report import CheckReport


def passes(report: CheckReport) -> None:
    """Nothing fails."""
    assert report.passed, str(report)


def test_torchattacks_fgsm_pgd_and_pgd_l2_pass():
    torchattacks = pytest.importorskip("torchattacks")

    def fgsm(model, x, labels, *, epsilon):
        return torchattacks.FGSM(model, eps=epsilon)(x, labels)

    def pgd(model, x, labels, *, epsilon, steps, step_size, random_start):
        return torchattacks.PGD(
            model, eps=epsilon, alpha=step_size, steps=steps, random_start=random_start
        )(x, labels)

    # Its mean loss and the 1e-10 that it adds to norms are lost in rounding on ordinary gradients.
    def pgd_l2(model, x, labels, *, epsilon, steps, step_size, random_start):
        return torchattacks.PGDL2(
            model, eps=epsilon, alpha=step_size, steps=steps, random_start=random_start
        )(x, labels)

    passes(check(fgsm, "fgsm"))
    passes(check(pgd, "pgd"))
    passes(check(pgd_l2, "pgd_l2"))


def test_torchattacks_mi_fgsm_passes():
    torchattacks = pytest.importorskip("torchattacks")

    def mi_fgsm(model, x, labels, *, epsilon, steps, step_size, momentum):
        attack = torchattacks.MIFGSM(
            model, eps=epsilon, alpha=step_size, steps=steps, decay=momentum
        )
        return attack(x, labels)

    passes(check(mi_fgsm, "mi_fgsm"))


def test_pytorch_grad_cam_passes_through_its_own_chain():
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from bridge import registry, wrap
    from tests.networks import Plain, images, seeded

    model, x, target = wrap(seeded(Plain), layer="4"), images(), torch.tensor([0, 3, 1])
    # Frozen: an in-place ReLU after the layer would change the map that it keeps.
    with (
        bridge.frozen(model),
        pytorch_grad_cam.GradCAM(model=model, target_layers=[model.cam_layer(x)]) as method,
    ):
        theirs = torch.from_numpy(
            method(input_tensor=x.clone(), targets=[ClassifierOutputTarget(int(t)) for t in target])
        )
    ours = registry.get("layer_gradcam")(model, x, target, relu=True)[:, 0]

    def scaled(cam):  # its chain: min-max per image, bilinear to the image's size, min-max again
        cam = cam - cam.amin((1, 2), keepdim=True)
        return cam / (1e-7 + cam.amax((1, 2), keepdim=True))

    ours = scaled(
        torch.nn.functional.interpolate(scaled(ours)[:, None], x.shape[2:], mode="bilinear")[:, 0]
    )
    # float32 maps in [0, 1], and OpenCV's own bilinear weights in float32: 2.7e-7 was measured on
    # other networks.
    assert torch.allclose(ours, theirs, rtol=0, atol=5e-6)


def transformer_with_a_class_token():
    """A small ViT of timm with random weights, a head that is none of zeros, and its images."""
    timm_models = pytest.importorskip("timm.models")
    torch.manual_seed(0)
    options = {"img_size": 32, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3}
    network = timm_models.VisionTransformer(**options, num_classes=4, reg_tokens=2).eval()
    torch.nn.init.normal_(network.head.weight)
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return bridge.wrap(network), x, torch.tensor([0, 3, 1])


def correlation(a, b):
    return [float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(a, b, strict=True)]


def patches_as_maps(tokens):
    """The reshape that their users write: three tokens dropped, 8 x 8 patches."""
    return tokens[:, 3:].reshape(len(tokens), 8, 8, -1).permute(0, 3, 1, 2)


def test_gradcam_of_tokens_is_pytorch_grad_cams_with_the_right_reshape():
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x, target = transformer_with_a_class_token()
    ours = bridge.run("layer_gradcam", model, x, target, relu=True, upsample=True).output
    with pytorch_grad_cam.GradCAM(
        model=model, target_layers=[model.cam_layer(x)], reshape_transform=patches_as_maps
    ) as method:
        targets = [ClassifierOutputTarget(int(t)) for t in target]
        theirs = torch.from_numpy(method(input_tensor=x.clone(), targets=targets))
    # Through their chain: scaled to [0, 1], which a correlation does not see.
    assert min(correlation(ours.flatten(1), theirs.flatten(1))) > 0.9999


def test_gradcam_of_tokens_is_torchcams_with_the_right_reshape():
    torchcam = pytest.importorskip("torchcam.methods")
    from bridge.attributions._captum import grid_module

    model, x, target = transformer_with_a_class_token()
    ours = bridge.run("layer_gradcam", model, x, target, relu=True).output
    # It takes no reshape: it is given the module through which the grid flows.
    with bridge.frozen(model), grid_module(model, x) as grid:
        model.module.grid = grid  # it looks the layer up by name
        with torchcam.GradCAM(model, target_layer=grid) as method:
            scores = model(x.clone().requires_grad_())
            theirs = method(target.tolist(), scores, normalized=False)[0]
    assert min(correlation(ours.flatten(1), theirs.flatten(1))) > 0.9999


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

    passes(check(ig, "integrated_gradients", params={"method": "riemann_right"}))
    assert "right Riemann" in check(ig, "integrated_gradients").cause
    passes(check(guided, "guided_backprop"))
