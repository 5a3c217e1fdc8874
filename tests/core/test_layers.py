"""The layer of Grad-CAM: which one is chosen, how it is read, and who is refused."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

import bridge
from bridge.core.examine import layer_in_words
from bridge.fused import run_many
from tests.networks import Functional, Plain, images, seeded

LABELS = torch.tensor([0, 3, 1])


class Tokens(nn.Module):
    """Patches of 4 x 4 pixels, tokens in one of several orders, attention, and a head."""

    order = slice(None)

    def __init__(self, tokens: int = 1, channels: int = 24) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, 4, 4)
        self.first = nn.Parameter(torch.randn(1, tokens, channels))
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention1 = nn.MultiheadAttention(channels, 3, batch_first=True)
        self.attention2 = nn.MultiheadAttention(channels, 3, batch_first=True)
        self.head = nn.Linear(channels, 4)

    def tokens(self, x: Tensor) -> Tensor:
        patches = self.arranged(self.embed(x)).flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(len(x), -1, -1), patches], 1)

    def arranged(self, patches: Tensor) -> Tensor:
        return patches

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.tokens(x))
        h = self.norm2(h + self.attention1(h, h, h, need_weights=False)[0])
        h = h + self.attention2(h, h, h, need_weights=False)[0]
        return self.head(self.read(h))

    def read(self, h: Tensor) -> Tensor:
        return h[:, 0]


class Averaged(Tokens):
    def read(self, h: Tensor) -> Tensor:
        return h.mean(1)


class ClassTokenLast(Tokens):
    def tokens(self, x: Tensor) -> Tensor:
        return super().tokens(x).flip(1)

    def arranged(self, patches: Tensor) -> Tensor:
        return patches.flip(2, 3)  # so that the patches are in order, and the class token last

    def read(self, h: Tensor) -> Tensor:
        return h[:, -1]


class ColumnsFirst(Tokens):
    def arranged(self, patches: Tensor) -> Tensor:
        return patches.transpose(2, 3)


class Mirrored(Tokens):
    def arranged(self, patches: Tensor) -> Tensor:
        return patches.flip(3)


class Shuffled(Tokens):
    def arranged(self, patches: Tensor) -> Tensor:
        order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
        return patches.flatten(2)[:, :, order].view_as(patches)


class WindowOrder(Tokens):
    def arranged(self, patches: Tensor) -> Tensor:
        n, c, h, w = patches.shape
        windows = patches.view(n, c, 2, h // 2, 2, w // 2).transpose(3, 4)
        return windows.reshape(n, c, h, w)


MISLEADING = [ClassTokenLast, ColumnsFirst, Mirrored, Shuffled, WindowOrder]
BIG = (3, 32, 32)  # 8 x 8 patches


def layer_of(module: nn.Module, x: Tensor | None = None, **wrapped: object):
    return bridge.wrap(module, **wrapped).grid_layer(images(1, BIG) if x is None else x)


@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_tokens_become_a_grid_without_what_stands_before_the_patches(tokens):
    network = seeded(Tokens, tokens)
    found = layer_of(network)
    assert (found.name, found.proof, found.shape) == ("norm2", "cells", (24, 8, 8))
    assert found.reading is not None
    assert (found.reading.layout, found.reading.prefix) == ("ntc", tokens)
    output = torch.randn(2, 64 + tokens, 24)
    assert torch.equal(found.grid(output)[1, :, 3, 5], output[1, tokens + 8 * 3 + 5])
    again = found.put_back(2 * found.grid(output), output)
    assert torch.equal(again[:, tokens:], 2 * output[:, tokens:])
    assert torch.equal(again[:, :tokens], output[:, :tokens])


def test_the_grid_has_the_images_aspect_ratio():
    found = layer_of(seeded(Tokens), images(1, (3, 24, 40)))
    assert found.shape == (24, 6, 10)


@pytest.mark.parametrize("build", MISLEADING)
def test_tokens_in_another_order_are_refused_with_the_remedy(build):
    with pytest.raises(ValueError, match=r"Grad-CAM needs one: .*wrap\(\.\.\., layer=NAME\)"):
        layer_of(seeded(build))


@pytest.mark.parametrize("build", MISLEADING)
def test_a_stated_layer_in_another_order_is_refused_until_its_reshape_is_stated(build):
    with pytest.raises(ValueError, match=r"'norm2' cannot be told: .*reshape=FUNCTION"):
        layer_of(seeded(build), layer="norm2")

    def reshape(output: Tensor) -> Tensor:
        return output[:, 1:].transpose(1, 2).reshape(len(output), -1, 8, 8)

    found = layer_of(seeded(build), layer="norm2", reshape=reshape)
    assert (found.name, found.proof, found.shape) == ("norm2", "stated", (24, 8, 8))


def test_channels_last_are_read_as_such():
    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    convolution = nn.Conv2d(3, 8, 3, padding=1)
    network = nn.Sequential(convolution, Last(), nn.GELU(), nn.Flatten(), nn.Linear(1152, 4))
    x = images()
    found = layer_of(network.eval(), x)
    assert found.reading is not None
    assert (found.name, found.reading.layout, found.proof) == ("2", "nhwc", "cells")
    stated = layer_of(network, x, layer="1")
    assert stated.reading is not None
    assert stated.reading.layout == "nhwc"


def test_ordinary_networks_keep_their_layer_and_are_proved_without_a_probe():
    x = images(1, (3, 64, 64))
    # SqueezeNet's last maps are one score a class: its features are what the classifier sees.
    for name, layer in [
        ("resnet18", "layer4"),
        ("squeezenet1_1", "features"),
        ("mobilenet_v3_small", "features"),
    ]:
        network = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
        found = layer_of(network, x)
        assert (found.name, found.proof, found.plain) == (layer, "operations", True)
        by_hand = layer_of(network, x, layer=network.get_submodule(layer))
        assert (by_hand.name, by_hand.proof, by_hand.plain) == (layer, "stated", True)


def test_a_branch_is_not_the_layer_although_it_ends_last():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.gate = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            return self.head((h + 0.1 * self.gate(h)).mean((2, 3)))

    assert layer_of(seeded(Gated), images()).name == "body"


def test_an_output_that_is_overwritten_in_place_is_still_a_layer():
    assert layer_of(seeded(Functional), images()).name == "second"


def test_maps_whose_places_are_mixed_are_refused():
    class Mirror(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flip(3)

    convolutions = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
    network = nn.Sequential(Mirror(), *convolutions, nn.Flatten(), nn.Linear(2048, 4))
    with pytest.raises(ValueError, match="Grad-CAM needs one"):
        layer_of(network.eval())


def test_channels_that_are_joined_and_weights_that_are_computed_keep_places():
    class Joined(nn.Module):
        """Two convolutions side by side, one with normalised weights, and a gate."""

        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 4, 3, padding=1)
            self.two = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
            self.joined, self.gate = nn.Identity(), nn.Linear(8, 8)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.cat([self.one(x), self.two(x)], 1)
            gate = self.gate(h.mean((2, 3))).sigmoid()
            return self.head(self.joined(h * gate[:, :, None, None]).mean((2, 3)))

    found = layer_of(seeded(Joined), images())
    assert (found.name, found.proof) == ("joined", "operations")


def test_a_grid_that_only_a_convolution_speaks_for_is_warned_about_once():
    class Blended(nn.Module):
        def forward(self, h: Tensor) -> Tensor:
            return h.mean((2, 3), keepdim=True).expand_as(h).contiguous()

    convolution, head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(1152, 4)
    model = bridge.wrap(nn.Sequential(convolution, Blended(), nn.Flatten(), head).eval())
    with pytest.warns(bridge.BridgeWarning, match="explains 1: 8 channels.*unproven"):
        bridge.run("layer_gradcam", model, images(), LABELS)
    assert model.grid_layer(images()).proof == "unproven"  # and no warning, which would fail here


def test_a_head_of_zeros_leaves_what_the_structure_tells():
    network = seeded(Plain)
    nn.init.zeros_(network[9].weight)
    assert layer_of(network, images()).name == layer_of(seeded(Plain), images()).name
    tokens = seeded(Tokens)
    nn.init.zeros_(tokens.head.weight)
    with pytest.raises(ValueError, match="head of zeros"):
        layer_of(tokens)


def test_the_choice_is_made_once_a_shape_and_again_for_other_parts():
    model, x = bridge.wrap(seeded(Tokens)), images(2, BIG)
    passes = []
    handle = model.module.register_forward_hook(lambda *_: passes.append(1))
    first = model.grid_layer(x)
    count = len(passes)
    assert model.grid_layer(x + 0.01) is first
    assert model.astype(torch.float64).grid_layer(x.double()) is first
    assert len(passes) == count <= 6  # one with its graph, then thirteen images, four at a time
    model.grid_layer(images(1, (3, 24, 40)))
    model.module.norm2 = nn.LayerNorm(24)
    assert model.grid_layer(x) is not first
    handle.remove()


def test_a_refusal_is_kept_until_the_weights_change():
    model, x = bridge.wrap(seeded(Tokens)), images(1, BIG)
    weight = model.module.head.weight.detach().clone()
    nn.init.zeros_(model.module.head.weight)
    for _ in range(2):
        with pytest.raises(ValueError, match="zeros"):
            model.grid_layer(x)
    with torch.no_grad():
        model.module.head.weight.copy_(weight)
    assert model.grid_layer(x).name == "norm2"


def test_the_search_leaves_no_trace():
    model, x = bridge.wrap(seeded(Tokens).train()), images(2, BIG)
    before, state = x.clone(), torch.get_rng_state()
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    model.grid_layer(x)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[n], v) for n, v in model.module.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in model.module.modules())
    assert all(p.grad is None for p in model.module.parameters())


def test_a_model_of_one_number_of_images_is_read_too():
    class OfTwo(Tokens):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) != 2:
                raise RuntimeError("two images, please")
            return super().forward(x)

    assert layer_of(seeded(OfTwo), images(2, BIG)).shape == (24, 8, 8)


@pytest.mark.parametrize(
    ("reshape", "words"),
    [
        (lambda o: o[:, 1:], "expected \\(n, c, h, w\\)"),
        (lambda o: 2 * o[:, 1:].transpose(1, 2).reshape(-1, 24, 8, 8), "changes, mixes or repeats"),
        (lambda o: o[:, :1].expand(-1, 64, -1).reshape(-1, 24, 8, 8), "changes, mixes or repeats"),
        (lambda o: o[:, 1:].transpose(1, 2).reshape(1, -1, 8, 8), "with the same n"),
        (lambda o: o.reshape(7, 7), "reshape fails on the output of layer 'norm2'"),
    ],
)
def test_a_reshape_that_is_none_is_refused(reshape, words):
    with pytest.raises(ValueError, match=words):
        layer_of(seeded(Tokens), layer="norm2", reshape=reshape)


def test_a_reshape_needs_a_layer_and_must_be_a_function():
    with pytest.raises(ValueError, match="layer=NAME"):
        bridge.wrap(seeded(Tokens), reshape=lambda o: o)
    with pytest.raises(TypeError, match="function of the layer's output"):
        bridge.wrap(seeded(Tokens), layer="norm2", reshape=(8, 8))


@pytest.mark.parametrize("build", [Tokens, Averaged])
@pytest.mark.parametrize("params", [{}, {"relu": True, "upsample": True}])
def test_all_implementations_agree_on_tokens(build, params):
    model, x = bridge.wrap(seeded(build)).astype(torch.float64), images(3, BIG).double()
    runs = {
        by: bridge.run("layer_gradcam", model, x, LABELS, implementation=by, **params).output
        for by in ("reference", "fused", "captum")
    }
    assert runs["reference"].shape[2:] == ((32, 32) if params else (8, 8))
    assert torch.equal(runs["reference"], runs["fused"])
    assert torch.allclose(runs["reference"], runs["captum"], rtol=1e-9, atol=0)
    many = run_many(model, x, LABELS, {"layer_gradcam": params})
    assert torch.equal(many["layer_gradcam"].output, runs["reference"])


def test_guided_gradcam_agrees_on_tokens_too():
    class Hybrid(Averaged):
        """A ReLU before the patches."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.stem(x))

    model, x = bridge.wrap(seeded(Hybrid)).astype(torch.float64), images(3, BIG).double()
    runs = [
        bridge.run("guided_gradcam", model, x, LABELS, implementation=by).output
        for by in ("reference", "fused", "captum")
    ]
    assert runs[0].any()
    assert torch.equal(runs[0], runs[1])
    assert torch.allclose(runs[0], runs[2], rtol=0, atol=1e-12 * float(runs[0].abs().max()))


def test_what_was_found_is_told_in_words():
    words = layer_in_words(bridge.wrap(seeded(Tokens, 2)), images(1, BIG))
    assert words.startswith(
        "norm2: 24 channels on 8 x 8 cells, tokens (n, t, c), 2 before the patches left out; proved"
    )
    refused = layer_in_words(bridge.wrap(seeded(Shuffled)), images(1, BIG))
    assert refused.startswith("none: no layer of this model can be read as a grid")


def test_a_stated_reshape_gives_the_map_of_the_reading():
    def reshape(output: Tensor) -> Tensor:
        return output[:, 1:].transpose(1, 2).reshape(len(output), -1, 8, 8)

    x, found = images(3, BIG), bridge.wrap(seeded(Tokens))
    stated = bridge.wrap(seeded(Tokens), layer="norm2", reshape=reshape)
    for by in ("reference", "fused", "captum"):
        expected = bridge.run("layer_gradcam", found, x, LABELS, implementation=by).output
        given = bridge.run("layer_gradcam", stated, x, LABELS, implementation=by).output
        assert torch.equal(expected, given), by


def test_a_patch_that_alone_drives_the_logit_is_the_brightest_cell():
    class Bright(nn.Module):
        """Logit 0 is how bright the patches are, each by itself."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm = nn.Conv2d(3, 8, 4, 4), nn.Tanh()
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.embed(x).flatten(2).transpose(1, 2)).mean(1))

    network = seeded(Bright)
    with torch.no_grad():
        network.embed.weight.abs_()
        network.head.weight.abs_()
    for cell in ((0, 0), (2, 6), (7, 3)):
        x = torch.zeros(1, *BIG)
        x[:, :, 4 * cell[0] : 4 * cell[0] + 4, 4 * cell[1] : 4 * cell[1] + 4] = 1
        cam = bridge.run("layer_gradcam", bridge.wrap(network), x, [0]).output
        assert divmod(int(cam.argmax()), 8) == cell
