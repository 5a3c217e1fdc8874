"""Our references against what other libraries and the papers' equations give, in float64."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

import bridge
from bridge.core.model import ModelAdapter
from tests.networks import Attentive, images, seeded

LABELS = torch.tensor([0, 3, 1])


def output(name: str, model: nn.Module, x: Tensor, **params: object) -> Tensor:
    return bridge.run(name, model, x, LABELS, **params).output


def close(found: Tensor, expected: Tensor, limit: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=limit * float(expected.abs().max()))


FLOAT32 = 1e-6  # Hugging Face takes its softmax in float32, whatever the model's dtype


@pytest.fixture
def vit() -> ModelAdapter:
    """torchvision's."""
    return bridge.wrap(seeded(Attentive).double(), mean=0.4, std=0.3)


class HuggingFaces(ViTForImageClassification):
    def __init__(self, implementation: str = "eager") -> None:
        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "intermediate_size": 24}
        config = ViTConfig(
            **sizes, num_attention_heads=2, image_size=12, patch_size=3, num_labels=4
        )
        super().__init__(config)
        self.set_attn_implementation(implementation)
        for parameter in self.parameters():
            parameter.data.mul_(4)  # drawn small: attention would be nearly even


@pytest.fixture
def hugging_faces() -> HuggingFaces:
    return seeded(HuggingFaces).double()


def attentions(model: nn.Module, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits and attention as Hugging Face gives them itself."""
    found = model(x.clone().requires_grad_(), output_attentions=True)
    for each in found.attentions:
        each.retain_grad()
    return found.logits, found.attentions


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
def test_rollout_of_hugging_faces_own_attentions(hugging_faces, fusion):
    x = images().double()
    _, layers = attentions(hugging_faces, x)
    expected = []
    for image in range(3):
        total = np.eye(17)
        for layer in layers:
            heads = layer[image].detach().numpy()
            mixed = getattr(heads, fusion)(0) + np.eye(17)
            total = (mixed / mixed.sum(1, keepdims=True)).dot(total)
        expected.append(total[0, 1:].reshape(1, 4, 4))
    found = output("attention_rollout", hugging_faces, x, fusion=fusion)
    close(found, torch.tensor(np.stack(expected)), FLOAT32)


def test_chefers_relevance_of_hugging_faces_own_attentions(hugging_faces):
    x = images().double()
    logits, layers = attentions(hugging_faces, x)
    logits[range(3), LABELS].sum().backward()
    total = torch.eye(17, dtype=torch.float64).repeat(3, 1, 1)
    for layer in layers:
        weighted = (layer.grad * layer.detach()).clamp(min=0).mean(dim=1)
        total = total + torch.bmm(weighted, total)
    expected = total[:, 0, 1:].reshape(3, 1, 4, 4)
    close(output("chefer_relevance", hugging_faces, x), expected, FLOAT32)


def test_every_way_to_compute_attention_gives_the_same_maps():
    eager, fused = (seeded(HuggingFaces, kind).double() for kind in ("eager", "sdpa"))
    for name in bridge.methods("attribution"):
        if bridge.registry.get(name).needs & {"attention", "tokens"}:
            x = images().double()
            close(output(name, fused, x), output(name, eager, x), 1e-5)


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_rollout_agrees_with_torchxai(vit, fusion):
    methods = pytest.importorskip("torchxai.methods.attention_rollout")
    x = images().double()

    class Weights(nn.MultiheadAttention):
        """It looks at what attention modules return."""

        def forward(self, *args, **kwargs):
            return super().forward(*args, **{**kwargs, "need_weights": True, **PER_HEAD})

    for module in vit.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.__class__ = Weights
    rollout = methods.AttentionRollout(vit, head_fusion=fusion, discard_ratio=0.0)
    theirs = [torch.as_tensor(np.asarray(rollout._compute_cam(one, None))) for one in x.split(1)]
    found = output("attention_rollout", vit, x, fusion=fusion)
    assert float((found[:, 0] - torch.stack(theirs)).abs().max() / found.max()) < 1e-6  # float32


PER_HEAD = {"average_attn_weights": False}


def test_legrad_agrees_with_torchcam(vit):
    torchcam = pytest.importorskip("torchcam.methods")
    x = images().double()
    blocks = list(vit.module.encoder.layers)
    with torchcam.LeGrad(vit.module, blocks) as extractor:
        scores = vit.module(vit.normalised(x))
        (theirs,) = extractor.compute_cams(LABELS.tolist(), scores, normalized=False)
    close(output("legrad", vit, x), theirs[:, None])


@pytest.fixture
def lxt(monkeypatch) -> ModuleType:
    """The AttnLRP authors' patches of torch's and Hugging Face's classes, undone afterwards."""
    found = pytest.importorskip("lxt")
    # Its package imports language models that Hugging Face has changed since: not needed here.
    package = ModuleType("lxt.efficient")
    package.__path__ = [str(Path(found.__file__).parent / "efficient")]
    monkeypatch.setitem(sys.modules, "lxt.efficient", package)
    patches = importlib.import_module("lxt.efficient.patches")
    from transformers.activations import GELUActivation

    for kind in (nn.GELU, GELUActivation):
        monkeypatch.setattr(kind, "original_forward", kind.forward, raising=False)
        monkeypatch.setattr(kind, "forward", patches.non_linear_forward)
    monkeypatch.setattr(nn.LayerNorm, "forward", patches.layer_norm_forward)
    return patches


def times_gradient(model: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    logits = getattr(logits, "logits", logits)
    logits[range(3), LABELS].sum().backward()
    return x * leaf.grad


def test_cp_lrp_agrees_with_its_authors_package(vit, lxt, monkeypatch):
    x = images().double()
    found = output("cp_lrp", vit, x)
    kind = nn.MultiheadAttention
    monkeypatch.setattr(kind, "original_forward", kind.forward, raising=False)
    monkeypatch.setattr(kind, "forward", lxt.cp_multi_head_attention_forward)
    close_to(found, times_gradient(vit, x))


def test_attn_lrp_agrees_with_its_authors_package(hugging_faces, lxt, monkeypatch):
    x = images().double()
    found = output("attn_lrp", hugging_faces, x)
    from transformers.models.vit import modeling_vit as module

    wrapped = lxt.wrap_attention_forward(module.eager_attention_forward)
    monkeypatch.setattr(module, "eager_attention_forward", wrapped)
    close_to(found, times_gradient(hugging_faces, x))


def close_to(found: Tensor, theirs: Tensor) -> None:
    """Its share f(x) / (x + 1e-10) is rounded."""
    assert float((found - theirs).abs().max() / theirs.abs().max()) < 1e-7
