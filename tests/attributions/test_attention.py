"""Methods that read attention: answers that can be written down, maps that must point somewhere."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.conformance.transformers import Averaged, ClassToken, Distilled
from bridge.core.attention import Explicit, explicit
from bridge.core.gradients import target_logits
from bridge.core.registry import get
from bridge.study.request import checked
from tests.networks import Attentive, Plain, images, seeded
from tests.test_conformance import first_failure

NAMES = [n for n in bridge.methods("attribution") if get(n).needs & {"attention", "tokens"}]
ON_TOKENS = [n for n in NAMES if "tokens" in get(n).needs]
EXACT = {"rtol": 0, "atol": 1e-14}


def output(name: str, model: nn.Module, x: Tensor, target: Tensor, **params: object) -> Tensor:
    return bridge.run(name, model, x, target, **params).output


class OneLayer(nn.Module):
    """The class token attends to patches of one pixel: logits = W (class token + A V)."""

    def __init__(self, height: int = 2, width: int = 3, channels: int = 4, layers: int = 1) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, channels))
        self.positions = nn.Parameter(torch.randn(1, height * width + 1, channels))
        self.embed = nn.Conv2d(1, channels, 1, bias=False)
        self.blocks = nn.Sequential(*(Mixing(channels) for _ in range(layers)))
        self.head = nn.Linear(channels, 3, bias=False)

    def tokens(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.start.expand(len(x), -1, -1), patches], 1) + self.positions

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.tokens(x))[:, 0])


class Mixing(nn.Module):
    """h + A V, in one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))

    def parts(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(part(h)[:, None] for part in (self.query, self.key, self.value))

    def forward(self, h: Tensor) -> Tensor:
        return h + F.scaled_dot_product_attention(*self.parts(h))[:, 0]


@pytest.fixture
def one() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of one layer, images of 2 x 3 pixels, classes."""
    return seeded(OneLayer).double(), images(3, (1, 2, 3)).double(), torch.tensor([0, 2, 1])


def attention(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """A (n, tokens, tokens) and V (n, tokens, channels) of the first layer, by hand."""
    query, key, value = (part[:, 0] for part in network.blocks[0].parts(network.tokens(x)))
    return (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1), value


def test_rollout_of_one_layer_is_half_of_its_attention(one):
    network, x, target = one
    expected = attention(network, x)[0][:, 0, 1:].view(3, 1, 2, 3) / 2
    assert torch.allclose(output("attention_rollout", network, x, target), expected, **EXACT)


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_rollout_of_even_attention_tends_to_even_shares(layers):
    network = seeded(OneLayer, layers=layers).double()
    proof = bridge.wrap(network)
    x = images(2, (1, 2, 3)).double()
    proof.tokens(x)  # with keys of zero, no token could be told from another
    for block in network.blocks:
        nn.init.zeros_(block.key.weight)
        nn.init.zeros_(block.key.bias)
    found = output("attention_rollout", proof, x, torch.tensor([0, 1]))
    # ((J + I) / 2)^L, J the mean over all tokens, which is its own square.
    expected = torch.full_like(found, (1 - 0.5**layers) / 7)
    assert torch.allclose(found, expected, **EXACT)


def test_rollout_sums_to_one_where_there_is_no_prefix():
    model, x = bridge.wrap(seeded(Averaged, 3).double()), images(3, (3, 10, 8)).double()
    for fusion in ("mean", "max", "min"):
        found = output("attention_rollout", model, x, torch.tensor([0, 1, 2]), fusion=fusion)
        assert torch.allclose(found.sum((1, 2, 3)), torch.ones(3).double(), **EXACT)


def test_chefers_relevance_of_one_layer_is_attention_times_what_its_values_say(one):
    network, x, target = one
    weights, value = attention(network, x)
    said = (value @ network.head.weight[target][:, :, None])[..., 0]  # d logit / d A
    expected = (weights[:, 0] * said).relu()[:, 1:].view(3, 1, 2, 3)
    assert torch.allclose(output("chefer_relevance", network, x, target), expected, **EXACT)


def test_legrad_of_one_layer_is_what_its_values_say(one):
    network, x, target = one
    _, value = attention(network, x)
    said = (value @ network.head.weight[target][:, :, None])[..., 0]
    # The logit of the mean token depends alike on every row of A, by 1 / tokens.
    expected = (said / 7).relu()[:, 1:].view(3, 1, 2, 3)
    assert torch.allclose(output("legrad", network, x, target), expected, **EXACT)


def test_cp_lrp_of_one_layer_is_linear_in_its_values(one):
    network, x, target = one
    weights, _ = attention(network, x)
    through = network.blocks[0].value.weight @ network.embed.weight.flatten(1)  # pixel to value
    said = network.head.weight[target] @ through
    expected = weights[:, 0, 1:].view(3, 1, 2, 3) * said[:, :, None, None] * x
    assert torch.allclose(output("cp_lrp", network, x, target), expected, **EXACT)


def test_attn_lrp_of_one_layer_follows_the_rules_of_the_paper(one):
    network, x, target = one
    tokens, block = network.tokens(x), network.blocks[0]
    query, key, value = (part[:, 0] for part in block.parts(tokens))
    weights, _ = attention(network, x)
    relevance_out = network.head.weight[target]  # per unit of the attention's output
    # A V: each product of a weight and a value is shared in halves.
    products = weights[:, 0, :, None] * value * relevance_out[:, None]  # of the class token's row
    of_weights, of_values = products.sum(2) / 2, products / 2
    # Softmax: R = z (R - s sum R) of the scores z.
    scores = (query @ key.transpose(1, 2))[:, 0] / 2
    of_scores = scores * (of_weights - weights[:, 0] * of_weights.sum(1, keepdim=True))
    # Q K^T: in halves again. Only keys and values of patches depend on the image.
    of_keys = query[:, :1] * key / 2 / scores[:, :, None] / 2 * of_scores[:, :, None]
    # Linear layers: in proportion to what the pixel adds.
    pixel = network.embed.weight.flatten(1)
    share = {
        "key": (of_keys / key) @ block.key.weight @ pixel,
        "value": (of_values / value) @ block.value.weight @ pixel,
    }
    expected = (share["key"] + share["value"])[:, 1:, 0].view(3, 1, 2, 3) * x
    found = output("attn_lrp", network, x, target)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


class Unbiased(nn.Module):
    """All relevance comes from the image: no bias, no class token, no positions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 3, 3, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=0, bias=False) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, 2, bias=False, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 12, bias=False), nn.GELU(), nn.Linear(12, width, bias=False)
        )
        self.head = nn.Linear(width, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).flatten(2).transpose(1, 2)
        normal = self.norms[0](h)
        h = h + self.attention(normal, normal, normal)[0]
        h = h + self.mlp(self.norms[1](h))
        return self.head(self.norms[2](h).mean(1))


def test_cp_lrp_sums_to_the_logit_where_nothing_has_a_bias():
    network, x = seeded(Unbiased).double(), images(3).double()
    target = torch.tensor([0, 3, 1])
    found = output("cp_lrp", network, x, target).sum((1, 2, 3))
    assert torch.allclose(found, target_logits(network(x), target).detach(), **EXACT)


def test_attn_lrp_leaves_half_of_what_even_attention_adds_with_its_weights():
    """Scores of zero have no relevance to pass on: what the weights got ends there."""
    network, x, target = seeded(Unbiased).double(), images(3).double(), torch.tensor([0, 3, 1])
    with torch.no_grad():
        network.attention.in_proj_weight[:8] = 0  # queries
    found = output("attn_lrp", network, x, target).sum((1, 2, 3))
    logits = target_logits(network(x), target).detach()
    handle = network.attention.register_forward_hook(lambda m, i, out: (out[0].detach(), None))
    beside = output("cp_lrp", network, x, target).sum((1, 2, 3))
    handle.remove()
    assert (logits - beside).abs().min() > 1e-3
    assert torch.allclose(found, beside + (logits - beside) / 2, **EXACT)


def test_token_integrated_gradients_are_those_of_each_patchs_pixels_where_patches_are_linear():
    model = bridge.wrap(seeded(Distilled, 3).double(), mean=0.4, std=0.3)
    x, target = images(3, (3, 10, 8)).double(), torch.tensor([0, 1, 3])
    pixels = output("integrated_gradients", model, x, target, n_steps=9)
    expected = 4 * F.avg_pool2d(pixels.sum(1, keepdim=True), 2)
    found = output("token_integrated_gradients", model, x, target, n_steps=9)
    assert torch.allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("build", [ClassToken, Averaged, Distilled])
def test_token_integrated_gradients_are_complete(build):
    model = bridge.wrap(seeded(build, 3).double(), mean=0.4, std=0.3)
    x, target = images(3, (3, 10, 8)).double(), torch.tensor([0, 1, 3])
    found = output("token_integrated_gradients", model, x, target, n_steps=200, baseline=0.25)
    ends = target_logits(model(x), target) - target_logits(model(0 * x + 0.25), target)
    assert torch.allclose(found.sum((1, 2, 3)), ends.detach(), rtol=0, atol=1e-8)


class Bright(nn.Module):
    """The class token attends to bright patches, and the logit of class 1 is what it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Looking(), Looking())

    def forward(self, x: Tensor) -> Tensor:
        brightness = F.avg_pool2d(x.mean(1, keepdim=True), 4).flatten(1)[..., None]
        tokens = torch.cat([torch.zeros_like(brightness[:, :1]), brightness], 1)
        found = self.blocks(tokens)[:, 0, 0]
        return torch.stack([-found, found], 1)


class Looking(nn.Module):
    def forward(self, h: Tensor) -> Tensor:
        return h + F.scaled_dot_product_attention(1 + 0 * h, 4 * h, h, scale=1.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cell", [(0, 0), (0, 4), (1, 1), (2, 3)])
def test_a_patch_that_alone_drives_the_logit_is_the_brightest_cell(name, cell):
    row, column = cell
    x = torch.full((1, 3, 12, 20), 0.05)
    x[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.9
    found = output(name, Bright().eval(), x, torch.tensor([1]))
    cells = found.sum(1, keepdim=True) if found.shape[2:] == (3, 5) else summed(found)
    assert divmod(int(cells.argmax()), 5) == cell


def summed(pixels: Tensor) -> Tensor:
    return F.avg_pool2d(pixels.sum(1, keepdim=True), 4)


@pytest.mark.parametrize("name", ON_TOKENS)
def test_maps_have_the_grids_shape_or_the_images(name):
    model, x = bridge.wrap(seeded(ClassToken, 3)), images(2, (3, 10, 8))
    target = torch.tensor([0, 1])
    small = output(name, model, x, target)
    assert small.shape == (2, 1, 5, 4)
    large = F.interpolate(small, (10, 8), mode="bilinear", align_corners=False)
    assert torch.equal(output(name, model, x, target, upsample=True), large)


@pytest.mark.parametrize("name", NAMES)
def test_every_known_deviation_is_found_by_the_checker(name):
    variants = get(name).variants
    assert len(variants) >= 5
    for variant in variants:
        assert first_failure(variant.function, name) is not None, variant.sentence


# Whose attention cannot be read.


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        [4, 4], 8, [1, 1], [1, 2], [2, 2], num_classes=4
    ).eval()


class ClassTokenLast(ClassToken):
    """Where every grid of an image would be read one cell off."""

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([patches, self.tokens.expand(len(x), -1, -1)], 1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, -1])


class ColumnsFirst(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).transpose(2, 3).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(patches)).mean(1))


class Pooled(Averaged):
    """A query of its own looks at the tokens in the end."""

    def pooled(self, tokens: Tensor) -> Tensor:
        asked = self.positions[:, :1].expand(len(tokens), -1, -1)
        return F.scaled_dot_product_attention(asked[:, None], tokens[:, None], tokens[:, None])[
            :, 0, 0
        ]


class Untrained(ClassToken):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        nn.init.zeros_(self.head.weight)


class SideBySide(Averaged):
    """Two attentions of the same tokens, added."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        both = sum(block.attention(tokens) for block in self.blocks)
        return self.head((tokens + both).mean(1))


class WithoutBlocks(ClassToken):
    """Residuals outside of any module: where a block begins, no module does."""

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.tokens.expand(len(x), -1, -1), patches], 1) + self.positions
        for block in self.blocks:
            tokens = tokens + block.attention(block.before(tokens))
        return self.head(self.norm(tokens)[:, 0])


class WayRound(ClassToken):
    """The head also looks at what the first block gave."""

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.tokens.expand(len(x), -1, -1), patches], 1) + self.positions
        first = self.blocks[0](tokens)
        return self.head((self.norm(self.blocks[1](first)) + first)[:, 0])


@pytest.mark.parametrize("build", [WithoutBlocks, WayRound])
def test_what_needs_blocks_is_refused_where_something_goes_round_them(build):
    model, x = bridge.wrap(seeded(build, 3)), images(2, (3, 10, 8))
    for name in ("legrad", "token_integrated_gradients"):
        with pytest.raises(ValueError, match="no chain of modules"):
            bridge.run(name, model, x, [0, 1])
    assert output("chefer_relevance", model, x, torch.tensor([0, 1])).shape == (2, 1, 5, 4)


REFUSED = [
    (lambda: seeded(Plain), (3, 12, 12), "has none that runs"),
    (swin, (3, 32, 32), "runs within windows"),
    (lambda: seeded(ClassTokenLast, 3), (3, 10, 8), "could not be matched with cells"),
    (lambda: seeded(ColumnsFirst, 3), (3, 10, 8), "could not be matched with cells"),
    (lambda: seeded(SideBySide, 3), (3, 10, 8), "run side by side"),
    (lambda: seeded(Pooled, 3), (3, 10, 8), "1 queries and 20 keys"),
    (lambda: seeded(Untrained, 3), (3, 10, 8), "no gradient of its logits reaches"),
]


@pytest.mark.parametrize("build, shape, words", REFUSED, ids=[words for *_, words in REFUSED])
def test_attention_that_cannot_be_read_is_refused_with_the_reason(build, shape, words):
    model, x = bridge.wrap(build()), images(2, shape)
    for name in ON_TOKENS:
        for implementation in get(name).implementations():
            with pytest.raises(ValueError, match=words) as refusal:
                bridge.run(name, model, x, [0, 1], implementation=implementation)
            assert name in str(refusal.value)


def test_relevance_needs_no_grid():
    for name in set(NAMES) - set(ON_TOKENS):
        assert output(name, swin(), images(2, (3, 32, 32)), torch.tensor([0, 1])).isfinite().all()


class Noisy(ClassToken):
    """No two passes give the same logits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


def test_logits_that_change_where_attention_is_explicit_are_refused():
    model = seeded(Noisy, 3)
    with pytest.raises(ValueError, match="change by"):
        explicit(model, images(2, (3, 10, 8)), Explicit())


def test_the_model_itself_is_not_touched_and_its_logits_stay_within_rounding():
    model, x = seeded(Attentive), images()
    mode = Explicit()
    logits = explicit(model, x.requires_grad_(), mode)
    assert torch.allclose(logits, model(x), rtol=0, atol=1e-5)
    assert [tuple(each.shape) for each in mode.weights] == [(3, 2, 10, 10)] * 2
    assert all(torch.allclose(each.sum(-1), torch.ones(3, 2, 10)) for each in mode.weights)


def test_maps_are_computed_in_the_images_precision_under_autocast():
    model, x = bridge.wrap(seeded(Attentive)), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name in ON_TOKENS:
            found = output(name, model, x, torch.tensor([0, 1, 2]))
            assert found.dtype == torch.float32
            assert not torch.equal(found, found.bfloat16().float())


def test_tokens_are_found_once_and_said():
    model, x = bridge.wrap(seeded(Distilled, 3)), images(2, (3, 10, 8))
    found = model.tokens(x)
    assert (found.prefix, found.height, found.width, found.layers) == (3, 5, 4, 2)
    assert found.read == (0, 1)
    assert found.blocks == ("blocks.0", "blocks.1")
    assert model.tokens(x) is found


def test_a_model_without_attention_does_not_see_these_methods_unless_they_are_named(fashion):
    request = checked(*fashion[:2], None, None, None, None, None)
    assert {method.name for method in request.methods} == set(bridge.methods()) - set(NAMES)
    c = bridge.compare(*fashion, methods=["saliency", "legrad"], judged=0, progress=False)
    assert list(c.failures["method"]) == ["legrad"]
    assert "has none that runs" in c.failures["message"].iloc[0]


def test_a_transformer_is_compared_by_all_of_them():
    model, x = bridge.wrap(seeded(Attentive)), images()
    c = bridge.compare(model, x, [0, 1, 2], methods=["saliency", *NAMES], progress=False)
    assert c.failures.empty, c.failures.to_string()
    assert {method for method, _, _ in c.outputs} == {"saliency", *NAMES}
    assert set(c.agreement["verdict"]) <= {"equal", "rounding"}
