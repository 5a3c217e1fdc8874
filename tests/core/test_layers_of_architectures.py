"""Small random networks of real architectures: the layer, its grid, and planted patches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bridge
from bridge.core.model import ModelAdapter

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 3}
CONFIG = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "image_size": 64,
    "patch_size": 8,
}
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 4], "image_size": 64, "window_size": 4}


def timm_model(build: str, **options: Any) -> nn.Module:
    models = pytest.importorskip("timm.models")
    torch.manual_seed(0)
    return getattr(models, build)(num_classes=5, **options)


def hf_model(family: str, **options: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(num_labels=5, **options)
    return getattr(transformers, f"{family}ForImageClassification")(config)


def torchvision_model(build: str, **options: Any) -> nn.Module:
    from torchvision import models

    torch.manual_seed(0)
    return getattr(models, build)(num_classes=5, **options)


# library, builder, its options; the layer, the layout, tokens before the patches, the grid
CASES = [
    (
        *(timm_model, "VisionTransformer", {**TINY, "img_size": 64, "patch_size": 8}),
        *("blocks.1.norm1", "ntc", 1, (8, 8)),
    ),
    (
        timm_model,
        "VisionTransformer",
        {**TINY, "img_size": 64, "patch_size": 8, "reg_tokens": 4, "qk_norm": True},
        *("blocks.1.norm1", "ntc", 5, (8, 8)),
    ),
    (
        timm_model,
        "VisionTransformerDistilled",
        {**TINY, "img_size": 64, "patch_size": 8},
        *("blocks.1.norm1", "ntc", 2, (8, 8)),
    ),
    (
        timm_model,
        "VisionTransformer",
        {**TINY, "img_size": 64, "patch_size": 8, "global_pool": "avg"},
        *("blocks", "ntc", 1, (8, 8)),
    ),
    (
        timm_model,
        "SwinTransformer",
        {"img_size": 64, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4},
        *("norm", "nhwc", 0, (8, 8)),
    ),
    (
        timm_model,
        "ConvNeXt",
        {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)},
        *("stages", "nchw", 0, (2, 2)),
    ),
    (hf_model, "ViT", CONFIG, "vit.layers.1.layernorm_before", "ntc", 1, (8, 8)),
    (hf_model, "Dinov2WithRegisters", CONFIG, "dinov2_with_registers.layernorm", "ntc", 5, (8, 8)),
    (hf_model, "Swin", SWIN, "swin.layernorm", "ntc", 0, (8, 8)),
    (
        torchvision_model,
        "SwinTransformer",
        {
            "patch_size": [4, 4],
            "embed_dim": 12,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": [4, 4],
        },
        *("permute", "nchw", 0, (8, 8)),
    ),
    (
        torchvision_model,
        "VisionTransformer",
        {
            "image_size": 64,
            "patch_size": 8,
            "num_layers": 2,
            "num_heads": 3,
            "hidden_dim": 24,
            "mlp_dim": 48,
        },
        *("encoder.layers.encoder_layer_1.ln_1", "ntc", 1, (8, 8)),
    ),
]


def images(seed: int = 1) -> Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("library", "build", "options", "layer", "layout", "prefix", "grid"),
    CASES,
    ids=lambda value: value if isinstance(value, str) and "." not in value else None,
)
def test_the_layer_is_found_and_a_planted_patch_is_answered_by_its_cell(
    library, build, options, layer, layout, prefix, grid
):
    module = planted(library(build, **options))
    model, x = bridge.wrap(module.eval()), images()
    found = model.grid_layer(x)
    assert found.reading is not None
    assert (found.name, found.reading.layout, found.reading.prefix) == (layer, layout, prefix)
    assert found.shape[1:] == grid
    cells = [(0, 0), (grid[0] - 1, 0), (grid[0] // 2, grid[1] - 1)]
    assert [most_changed(model, images(seed=2), cell) for cell in cells] == cells
    target = torch.tensor([1])
    reference, fused, captum = (
        bridge.run("layer_gradcam", model, x, target, implementation=by).output
        for by in ("reference", "fused", "captum")
    )
    assert reference.shape == (1, 1, *grid)
    assert torch.equal(reference, fused)
    assert torch.allclose(reference, captum, rtol=0, atol=1e-5 * float(reference.abs().max()))


@torch.no_grad()
def planted(module: nn.Module) -> nn.Module:
    """Random weights that keep places: gains and heads are no zeros."""
    for name, p in module.named_parameters():
        if float(p.abs().max()) < 0.01 and not name.endswith("bias"):
            p.copy_(torch.randn_like(p) * 0.1 if p.dim() > 1 else torch.full_like(p, 0.5))
    return module


def most_changed(model: ModelAdapter, x: Tensor, cell: tuple[int, int]) -> tuple[int, int]:
    """The cell of the grid that changes most where one patch of the image is another one."""
    found, (i, j) = model.grid_layer(x), cell
    h, w = x.shape[2] // found.shape[1], x.shape[3] // found.shape[2]
    changed = x.clone()
    changed[:, :, h * i : h * (i + 1), w * j : w * (j + 1)] = images(seed=3)[:, :, :h, :w]
    kept: list[Tensor] = []
    handle = model.cam_layer(x).register_forward_hook(
        lambda module, inputs, output: kept.append(found.grid(output.detach()))
    )
    for each in (x, changed):
        model(each.requires_grad_())
    handle.remove()
    return divmod(int((kept[1] - kept[0])[0].norm(dim=0).argmax()), found.shape[2])


def test_heads_are_not_taken_for_channels():
    """timm's normalised keys are (n, heads, tokens, c): not the layer, nor silently if stated."""
    network = timm_model(
        "VisionTransformer", **TINY, img_size=64, patch_size=8, qk_norm=True
    ).eval()
    model = bridge.wrap(network, layer="blocks.1.attn.k_norm")
    with pytest.raises(ValueError, match=r"k_norm'.*Grad-CAM needs \(n, c, h, w\)"):
        model.grid_layer(images())
