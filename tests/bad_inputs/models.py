"""Models: what is no classifier, no function of one image, or cannot be asked for gradients."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from tests.bad_inputs._entries import (
    EIGHT,
    LABELS,
    comparison,
    explain,
    network,
)
from tests.bad_inputs._expectations import Case, Either, Error, Expectation, Right, Warns, Wrong
from tests.networks import images


class Ends(nn.Module):
    """A network with something done to its logits."""

    def __init__(self, end: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.end = network(), end
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.end(self.inner(x))


class Begins(nn.Module):
    """A network with something done to its images."""

    def __init__(self, begin: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.begin = network(), begin
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.inner(self.begin(x))


class Counting(nn.Module):
    """Counts its calls in a buffer, as some do to anneal something."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)


class Learning(nn.Module):
    """Writes into its own weights at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        next(self.inner.parameters()).data.add_(0.01)
        return self.inner(x)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return (x * mask).mean((2, 3))


class Result:
    """Something of the user's, with another name for the logits."""

    def __init__(self, z: Tensor) -> None:
        self.scores = z


def raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def end(z: Tensor) -> Tensor:
        raise error

    return end


def leaving(z: Tensor) -> Tensor:
    sys.exit(3)


def last_is_nan(z: Tensor) -> Tensor:
    """NaN on the eighth of eight images."""
    return torch.where(torch.arange(len(z))[:, None] == 7, torch.nan, z)


def by_sight_nan(x: Tensor) -> Tensor:
    """NaN for the eighth of the eight images, whatever batch it is in."""
    marked = (x - images(8)[7]).flatten(1).abs().amax(1) < 1e-6
    return torch.where(marked[:, None, None, None], torch.nan, x)


def through_numpy(z: Tensor) -> Tensor:
    return torch.from_numpy(z.detach().numpy() * 2)


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def dropping(x: Tensor) -> Tensor:
    return F.dropout(x, 0.5, training=True)


def whitened(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.std(0) + 0.1)


def mixed(x: Tensor) -> Tensor:
    return 0.7 * x + 0.3 * x.roll(1, 0)


def sorted_batch(x: Tensor) -> Tensor:
    return x[x.flatten(1).sum(1).argsort()]


def of_eight(z: Tensor) -> Tensor:
    return z.view(8, 4)


def zeroed(build: Callable[[], nn.Module]) -> nn.Module:
    """A network whose head is all zeros, as transformers are initialised."""
    made = build()
    head = [m for m in made.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.zeros_(head.weight)
    return made


# What a model's forward may return: refused by `run` before anything is explained.
OUTPUTS: list[tuple[str, Callable[[Tensor], Any], Expectation]] = [
    ("a pair", lambda z: (z, z), Error(TypeError, "tuple of 2", "logits")),
    ("a list", lambda z: [z], Error(TypeError, "list", "logits")),
    ("nothing", lambda z: None, Error(TypeError, "NoneType", "logits")),
    ("a text", lambda z: "cat", Error(TypeError, "str", "logits")),
    ("an array", lambda z: z.detach().numpy(), Error(TypeError, "ndarray", "logits")),
    ("a dictionary without logits", lambda z: {"out": z}, Error(TypeError, "dict", "logits")),
    ("an object without logits", Result, Error(TypeError, "Result", "logits")),
    ("classes instead of logits", lambda z: z.argmax(1), Error(ValueError, r"\(n, classes\)")),
    ("integers", lambda z: (1000 * z).long(), Error(Wrong, "int64", "logits|float")),
    ("booleans", lambda z: z > 0, Error(Wrong, "bool", "logits|float")),
    ("complex numbers", lambda z: z + 0j, Error(Wrong, "complex", "logits|float|real")),
    ("a number an image", lambda z: z[:, 0], Error(ValueError, r"\(n, classes\)", "two classes")),
    ("one class", lambda z: z[:, :1], Error(ValueError, "two classes")),
    ("no class", lambda z: z[:, :0], Error(ValueError, "two classes")),
    ("maps", lambda z: z[:, :, None, None], Error(ValueError, r"\(n, classes\)")),
    ("classes first", lambda z: z.T, Error(ValueError, r"\(n, classes\)|batch|images")),
    ("the first image's only", lambda z: z[:1], Error(ValueError, "batch|images")),
    ("one logit vector for all", lambda z: z.mean(0), Error(ValueError, r"\(n, classes\)")),
    ("NaN", lambda z: z * torch.nan, Error(ValueError, "NaN|not finite")),
    ("infinity", lambda z: z / 0, Error(ValueError, "infinit|not finite")),
    ("another device", lambda z: z.to("meta"), Error(ValueError, "meta")),
    ("without a gradient", Tensor.detach, Error(ValueError, "gradient", "detach|no_grad")),
    ("by NumPy", through_numpy, Error(ValueError, "gradient", "detach|no_grad|NumPy")),
    ("a sparse tensor", Tensor.to_sparse, Error(Wrong, "sparse|dense|strided")),
    ("KeyError('boom')", raising(KeyError("boom")),
        Error(ValueError, "boom", "KeyError", "raising|end")),
    ("RuntimeError", raising(RuntimeError("boom")), Error(ValueError, "boom", "model|Ends")),
    ("IndexError", raising(IndexError("boom")), Error(ValueError, "boom", "model|Ends")),
    ("an assertion", raising(AssertionError("boom")), Error(ValueError, "boom", "model|Ends")),
    ("NotImplementedError", raising(NotImplementedError()), Error(ValueError, "NotImplemented")),
    ("MemoryError", raising(MemoryError()), Error((ValueError, RuntimeError), "memory",
        "fewer|smaller")),
    ("sys.exit", leaving, Error((ValueError, RuntimeError), r"sys\.exit", "3")),
    ("softmax", lambda z: z.softmax(1), Warns("probabilities", "softmax")),
    ("log_softmax", lambda z: z.log_softmax(1), Warns("log-probabilities", "log_softmax")),
]  # fmt: skip


# What makes a model no function of one image: said, and blamed on nobody else.
BATCHES: list[tuple[str, Callable[[], nn.Module], tuple[str, ...]]] = [
    ("statistics of the batch", lambda: Begins(whitened), ("batch|other images",)),
    ("mixes the batch", lambda: Begins(mixed), ("batch|other images",)),
    ("sorts the batch", lambda: Begins(sorted_batch), ("batch|other images|order",)),
    ("dropout that stays on", lambda: Begins(dropping), ("random|noise|dropout|twice",)),
    ("noise", lambda: Begins(noisy), ("random|noise|twice",)),
    (
        "batch norm without running statistics",
        lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), network()).eval(),
        ("batch|other images",),
    ),
]


def ended(end: Callable[[Tensor], Any], place: Path) -> Any:
    return explain(images(), model=bridge.wrap(Ends(end)))


def built(build: Callable[[], nn.Module], place: Path) -> Any:
    return explain(images(8), EIGHT, bridge.wrap(build()))


def compared(build: Callable[[], nn.Module], place: Path) -> Any:
    return comparison(images(8), EIGHT, bridge.wrap(build()))


def eight(module: nn.Module) -> Any:
    return explain(images(8), EIGHT, bridge.wrap(module))


def maps(run: Any) -> None:
    """A finite map of each image that is not zero everywhere."""
    assert bool(run.output.isfinite().all())
    assert bool((run.output.flatten(1).abs().amax(1) > 0).all())


def plain_map(run: Any) -> None:
    """The map of the plain network."""
    assert torch.allclose(run.output, explain(images(8), EIGHT).output, atol=1e-6)


def scripted() -> nn.Module:
    return torch.jit.script(network())


def traced() -> nn.Module:
    return torch.jit.trace(network(), images(8))


def frozen_script() -> nn.Module:
    return torch.jit.freeze(torch.jit.script(network()))


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4)).eval()


def of_two_dtypes() -> nn.Module:
    made = network()
    made[-1].double()
    return made


def without_parameters() -> nn.Module:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.mean((2, 3)), x.square().mean((1, 2, 3))[:, None]], 1)

    return Fixed().eval()


def frozen_weights() -> nn.Module:
    return network().requires_grad_(False)


def half_trained() -> nn.Module:
    made = network()
    made[6].train()
    return made


def under_no_grad() -> nn.Module:
    made = network()
    made.forward = torch.no_grad()(made.forward)
    return made


def infinite_weights() -> nn.Module:
    made = network()
    with torch.no_grad():
        next(made.parameters()).fill_(torch.inf)
    return made


def in_place() -> nn.Module:
    return Begins(lambda x: x.mul_(0.5).mul_(2))


# Models by what they are; 8 images.
MODELS: list[tuple[str, Callable[[], nn.Module], Expectation]] = [
    ("training mode", lambda: network().train(),
        Warns("training mode", r"eval\(\)", then=plain_map)),
    ("dropout alone in training mode", half_trained, Warns("training mode", then=plain_map)),
    ("NaN logits on one of eight", lambda: Ends(last_is_nan), Error(ValueError, "NaN|finite", "7")),
    ("NaN for one of eight, in any batch", lambda: Begins(by_sight_nan),
        Error(ValueError, "NaN|finite", "7")),
    ("infinite weights", infinite_weights, Error(ValueError, "finite", "weights")),
    ("a batch of eight only", lambda: Ends(of_eight),
        Either(Right(plain_map), Error(ValueError, "batch", "8|fixed"))),
    ("a batch of four only", lambda: Ends(lambda z: z.view(4, 4)),
        Error(ValueError, "batch", "4|fixed")),
    ("scripted", scripted, Either(Right(plain_map), Error(ValueError, "script"))),
    ("traced", traced, Either(Right(plain_map), Error(ValueError, "trace|script"))),
    ("frozen script", frozen_script, Either(Right(plain_map), Error(ValueError, "script"))),
    ("quantised", quantised, Error(ValueError, "quanti", "gradient|float")),
    ("lazy", lazy, Either(Right(maps), Error(ValueError, "lazy|initiali"))),
    ("weights of two dtypes", of_two_dtypes, Error(ValueError, "dtype|double|float64")),
    ("two inputs", TwoInputs, Error(Wrong, "mask", "forward|model|TwoInputs")),
    ("no parameters", without_parameters, Right(maps)),
    ("weights without gradients", frozen_weights, Right(plain_map)),
    ("forward under no_grad", under_no_grad, Error(ValueError, "gradient", "no_grad|detach")),
    ("an identity", nn.Identity, Error(ValueError, r"\(n, classes\)")),
    ("nothing in it", nn.Sequential, Error(ValueError, r"\(n, classes\)")),
    ("in place on its images", in_place, Right(plain_map)),
    ("one channel", lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1),
        nn.Flatten()), Error(ValueError, "channel")),
    ("of larger images", lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4)),
        Error(ValueError, "shape", r"12, 12")),
]  # fmt: skip


def of_dtype(dtype: torch.dtype, given: torch.dtype, place: Path) -> Any:
    return explain(images().to(given), model=bridge.wrap(network().to(dtype)))


def near_the_plain_map(run: Any) -> None:
    """The map of the float32 network, as well as the dtype can tell."""
    expected, found = explain(images()).output.flatten(), run.output.float().flatten()
    assert bool(found.isfinite().all())
    assert float(F.cosine_similarity(found, expected, 0)) > 0.99
    assert float((found - expected).abs().max()) < 0.2 * float(expected.abs().max())


DTYPES: list[tuple[str, torch.dtype, torch.dtype, Expectation]] = [
    ("float64", torch.float64, torch.float64, Right(near_the_plain_map)),
    ("float16", torch.float16, torch.float16, Right(near_the_plain_map)),
    ("bfloat16", torch.bfloat16, torch.bfloat16, Right(near_the_plain_map)),
    ("float16 on float32 images", torch.float16, torch.float32,
        Error(ValueError, "float16", r"x\.to")),
    ("bfloat16 on float32 images", torch.bfloat16, torch.float32,
        Error(ValueError, "bfloat16", r"x\.to")),
    ("float64 on float32 images", torch.float64, torch.float32,
        Error(ValueError, "float64", r"x\.to")),
]  # fmt: skip


def kept(
    build: Callable[[], nn.Module], place: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state of a model, before and after a run."""
    module = build()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    eight(module)
    return before, module.state_dict()


def put_back(pair: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    """Weights and buffers are what they were."""
    for name, value in pair[0].items():
        assert torch.equal(value, pair[1][name]), f"{name} was {value}, is {pair[1][name]}"


def says_so(*words: str) -> Callable[[Any], None]:
    """The comparison says so beside its verdicts, or in its failures."""
    from tests.bad_inputs._expectations import missing

    def said(found: Any) -> None:
        causes = [str(cause) for cause in found.agreement.get("cause", [])]
        messages = [str(message) for message in found.failures["message"]]
        assert any(not missing(words, text) for text in causes + messages), (causes, messages)

    return said


def zero_maps(place: Path) -> Any:
    return comparison(model=bridge.wrap(zeroed(network)))


def rounded_logits(place: Path) -> Any:
    return comparison(model=bridge.wrap(Ends(Tensor.round)))


def zero_attacks(place: Path) -> Any:
    return comparison(model=bridge.wrap(zeroed(network)), methods=["fgsm"], epsilons=[0.1])


def one_layer_of(place: Path) -> Any:
    """float64 cannot be had: a model that hides its dtype."""
    return comparison(model=bridge.wrap(Begins(_to_float32)))


def _to_float32(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def verdicts(found: Any) -> None:
    """There are verdicts, or a failure that says why there are none in float64."""
    texts = " ".join(map(str, found.failures["message"]))
    assert "float" in texts or "dtype" in texts or (found.agreement["verdict"] != "failed").all()


def batch_norm_of_one(place: Path) -> Any:
    """A batch norm in training mode inside cannot take one image; in evaluation mode it can."""
    model = nn.Sequential(nn.BatchNorm2d(3), network()).eval()
    return explain(images(1), [0], bridge.wrap(model))


def a_random_model_checked(place: Path) -> Any:
    from tests.bad_inputs._entries import plain_saliency

    return bridge.check(
        plain_saliency, "saliency", model=bridge.wrap(Begins(noisy)), batch=(images(), LABELS)
    )


CASES = [
    *(Case(f"returns {name}", partial(ended, end), must) for name, end, must in OUTPUTS),
    *(Case(name, partial(built, build), must) for name, build, must in MODELS),
    *(Case(f"run: {name}", partial(built, b), Warns(*words)) for name, b, words in BATCHES),
    *(
        Case(f"compare: {name}", partial(compared, build), Right(says_so(*words)))
        for name, build, words in BATCHES
    ),
    *(
        Case(f"weights of {name}", partial(of_dtype, dtype, given), must)
        for name, dtype, given, must in DTYPES
    ),
    Case("counts its calls", partial(kept, Counting), Right(put_back)),
    Case("writes into its weights", partial(kept, Learning),
        Warns("Learning", "weight", then=put_back)),
    Case("a head of zeros: maps", zero_maps, Right(says_so("zero"))),
    Case("logits that are rounded", rounded_logits, Right(says_so("zero"))),
    Case("a head of zeros: attacks", zero_attacks, Right(says_so("zero|nothing"))),
    Case("no float64", one_layer_of, Right(verdicts)),
    Case("batch norm on one image", batch_norm_of_one, Right(maps)),
    Case("check on a model that draws", a_random_model_checked, Either(
        Warns("random|noise|twice"), Error(ValueError, "random|noise|twice"),
    )),
]  # fmt: skip
