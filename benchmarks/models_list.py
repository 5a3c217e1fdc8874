"""Which classifiers the table of models is about, at which sizes, and how their weights are drawn.

Planted weights: random, the centre tap of odd convolutions fifty times its neighbours, batch norms
fitted to four images, gains and heads of zeros raised. So the truth is known without training: what
changes in a cell of the image shows at that cell.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10
MANY = 251  # as many as no layer has channels: what a readout is fitted to
_VIT = {
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 192,
}
_SWIN = {"embed_dim": 24, "depths": [2, 2, 2], "num_heads": [2, 4, 8], "window_size": 7}
# Those whose one pass takes long, drawn last.
HEAVY = "vgg wide 101 152 161 201 _l _base _h_ 16gf 32gf 128gf vit_b _b7 _b6 _b5 _xxlarge".split()
_STAGES = {"hidden_sizes": [16, 32, 64, 128]}


@dataclass(frozen=True)
class Entry:
    """One classifier of a library for square images of `size` pixels."""

    library: str
    name: str
    size: int
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, classes: int = CLASSES) -> nn.Module:
        """The network in evaluation mode, its weights planted; always the same."""
        torch.manual_seed(0)
        module = planted(self._plain(classes), self.images())
        return module.eval()

    def _plain(self, classes: int) -> nn.Module:
        library: Any = importlib.import_module(self.library)
        if self.library == "torchvision":
            made = library.models.get_model(self.name, num_classes=classes, **self.options)
        elif self.library == "timm":
            made = library.create_model(self.name, num_classes=classes, **self.options)
        else:
            config = getattr(library, f"{self.name}Config")(num_labels=classes, **self.options)
            made = getattr(library, f"{self.name}ForImageClassification")(config)
        return made

    def images(self) -> Tensor:
        """Four images, coarse colours and fine noise, in [0, 1]."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.rand(4, 3, 5, 7, generator=generator)
        fine = torch.rand(4, 3, self.size, self.size, generator=generator)
        return (F.interpolate(coarse, fine.shape[2:], mode="bilinear") + fine) / 2


@torch.no_grad()
def planted(module: nn.Module, images: Tensor) -> nn.Module:
    """The module, evaluating, its weights drawn anew as above; the images fit batch norms."""
    for name, p in module.named_parameters():
        small = float(p.abs().max()) < 0.01 and not name.endswith("bias")
        if p.dim() == 4 or small:
            drawn = torch.randn_like(p) / math.sqrt(p[0].numel())
            p.copy_(drawn if p.squeeze().dim() > 1 else torch.full_like(p, 0.5))
        if p.dim() == 4 and p[0, 0].numel() > 1 and p.shape[2] % 2 and p.shape[3] % 2:
            p[:, :, p.shape[2] // 2, p.shape[3] // 2] *= 50
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None  # the mean of all batches
    if norms:
        module(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return module


def entries() -> list[Entry]:
    """All of torchvision's classifiers; families of timm and transformers; the heaviest last."""
    found = [*_torchvision(), *_timm(), *_transformers()]
    return sorted(found, key=lambda entry: any(part in entry.name for part in HEAVY))


def _torchvision() -> list[Entry]:
    from torchvision import models

    sizes = {"inception_v3": 160, "maxvit_t": 224, "vit_h_14": 56}
    sizes |= dict.fromkeys(("alexnet", "resnet18", "vit_b_16"), 96)
    found = []
    for name in models.list_models(module=models):
        size = sizes.get(name, 64)
        options: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = False
        found.append(Entry("torchvision", name, size, options))
    return found


def _timm() -> list[Entry]:
    sized = {
        "vit_tiny_patch16_224": 96,
        "deit_tiny_distilled_patch16_224": 96,
        "vit_small_patch14_reg4_dinov2": 98,
        "beit_base_patch16_224": 96,
        "eva02_tiny_patch14_224": 98,
        "cait_xxs24_224": 96,
        "swin_tiny_patch4_window7_224": 96,
        "swinv2_tiny_window8_256": 128,
        "mixer_s16_224": 96,
        "vit_base_patch16_siglip_gap_224": 64,
    }
    free = {
        "convnext_atto": 96,
        "mobilevit_xxs": 128,
        "mobilevitv2_050": 128,
        "efficientvit_b0": 128,
        "efficientnet_b0": 96,
        "regnety_002": 96,
        "nfnet_l0": 96,
        "poolformer_s12": 96,
        "focalnet_tiny_srf": 128,
        "convmixer_768_32": 98,
        "maxvit_rmlp_pico_rw_256": 256,
        "crossvit_tiny_240": 240,
        "tnt_s_patch16_224": 224,
    }
    found = [Entry("timm", name, size, {"img_size": size}) for name, size in sized.items()]
    return found + [Entry("timm", name, size) for name, size in free.items()]


def _transformers() -> list[Entry]:
    families: dict[str, dict[str, Any]] = {
        **dict.fromkeys(("ViT", "DeiT", "Beit", "Dinov2", "Dinov2WithRegisters"), _VIT),
        **dict.fromkeys(("Swin", "Swinv2"), _SWIN),
        **dict.fromkeys(("ConvNext", "PoolFormer", "Segformer"), _STAGES),
        "MobileViT": {},
        "Levit": {},
        "ResNet": {**_STAGES, "embedding_size": 16, "depths": [1, 1, 2, 1]},
    }
    sizes = {"Dinov2": 112, "Dinov2WithRegisters": 112, "MobileViT": 128, "Levit": 224}
    return [
        Entry("transformers", name, size, {**options, "image_size": size})
        for name, options in families.items()
        for size in [sizes.get(name, 112)]
    ]
