"""Training-time probes: what the network looks at while it learns, without changing how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bridge.core.budget import check_budget
from bridge.core.engine import session
from bridge.core.errors import describe
from bridge.core.examine import refuse
from bridge.core.gradients import loss_gradient
from bridge.core.method import name_of
from bridge.core.model import ModelAdapter, wrap
from bridge.core.parameters import Domain, check_positive, check_seed, check_whole
from bridge.core.preflight import check_images, check_labels, check_logits
from bridge.core.registry import get
from bridge.core.state import seeded
from bridge.core.types import Failure
from bridge.core.warn import warn
from bridge.fused import plan, run_many
from bridge.training.moments import Moments
from bridge.training.record import Record, confused
from bridge.training.sinks import Sink
from bridge.training.strips import sheet, strips
from bridge.visualize.film import write_film


class Probe:
    """Attributions and attacked images of fixed images along training.

    Call `probe.step()` after each optimiser step. Every `every` steps the `methods` (names, or
    {name: params}, as for `run_many`) run on `x` (n, c, h, w) with `labels` (n,), and a `Record`
    goes to each of `sinks`, and to `records` where `keep`. `integrate` also sums the loss gradient
    at the images, g = sum_n grad_x J(x; theta_n), with its mean and variance (`integrated`, `mean`,
    `variance`), over the probed steps. `margin` collects images whose two largest logits are closer
    than that, moved by `push` towards each of the two classes. Random numbers come from `seed`.

    Training stays what it was, bit by bit: weights, gradients that are being accumulated, running
    statistics, modes, the random state and autocast are put back. Nothing stops the training: what
    fails (a method, all of them where the network's logits are NaN) is noted in the record, a sink
    that raises is warned about.

    Raises KeyError, ValueError or TypeError for what makes no sense, before the training begins.

    >>> import bridge
    >>> model = bridge.load_model("zoo:fashion_cnn")
    >>> x, labels = bridge.load_batch("samples:fashion_mnist", n=2)
    >>> probe = Probe(model.module, x, labels, ["saliency"], every=1)
    >>> record = probe.step()
    >>> record.step, record.outputs["saliency"].shape
    (1, torch.Size([2, 1, 28, 28]))
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        labels: Any,
        methods: Sequence[str] | Mapping[str, Mapping[str, Any]] = ("saliency",),
        *,
        every: int = 100,
        integrate: bool = False,
        margin: float | None = None,
        push: float = 0.5,
        sinks: Sequence[Sink] = (),
        keep: bool = True,
        seed: int = 0,
    ) -> None:
        self.every, self.seed = check_whole("every", every, 1), check_seed(seed)
        Domain(low=0, optional=True).check("margin", margin)
        self.margin, self.push = margin, check_positive("push", push)
        self.model: ModelAdapter = model if isinstance(model, ModelAdapter) else wrap(model)
        self.integrate, self.keep = integrate, keep
        with self._aside():
            self.x, classes = _checked(self.model, x)
            self.labels = check_labels(labels, self.x, classes)
        self.methods = _by_name(methods)
        for task in plan(self.methods, self.x, predict=False).tasks:
            check_budget(task.method, task.params.get("epsilon"), self.x, self.model.bounds)
        self.sinks = _functions(sinks)
        self.records: list[Record] = []
        self.steps = 0
        self._moments = Moments.like(self.x)

    @property
    def integrated(self) -> Tensor:
        """The sum of the loss gradients at the images, (n, c, h, w), over the probed steps."""
        return self._moments.total

    @property
    def mean(self) -> Tensor:
        """The mean of the loss gradients, pixel by pixel."""
        return self._moments.mean

    @property
    def variance(self) -> Tensor:
        """The unbiased variance of the loss gradients, pixel by pixel; zero before the second."""
        return self._moments.variance

    def step(self, step: int | None = None) -> Record | None:
        """Count a training step (or take its number); a Record where it is one to probe."""
        self.steps = self.steps + 1 if step is None else check_whole("step", step, 0)
        if self.steps % self.every:
            return None
        with self._aside():
            record = self._look()
        if self.keep:
            self.records.append(record)
        for sink in self.sinks:
            try:
                sink(record)
            except Exception as error:  # a full disk must not cost days of training
                warn(
                    f"the sink {name_of(sink)} failed at step {self.steps}, the training goes on "
                    f"without its record: {describe(error)}"
                )
        return record

    def state_dict(self) -> dict[str, Any]:
        """What has been counted and integrated, to go on from a checkpoint."""
        return {
            "steps": self.steps,
            "count": self._moments.count,
            "integrated": self._moments.total.cpu().clone(),
            "mean": self._moments.mean.cpu().clone(),
            "squares": self._moments.squares.cpu().clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`. Raises ValueError where it is none, or of other images."""
        if not isinstance(state, Mapping):
            raise TypeError(f"the state is {state!r}, expected what state_dict() gives")
        lacking = sorted(self.state_dict().keys() - state.keys())
        if lacking:
            raise ValueError(f"the state lacks {lacking}: expected what state_dict() gives")
        shape, own = tuple(state["integrated"].shape), tuple(self.x.shape)
        if shape != own:
            raise ValueError(f"the state is of images {shape}, these are {own}")
        self.steps = int(state["steps"])
        kept = (state[name] for name in ("integrated", "mean", "squares"))
        on_device = (tensor.to(self.x.device, torch.float64).clone() for tensor in kept)
        self._moments = Moments(int(state["count"]), *on_device)

    def film(self, method: str, path: str | Path, *, fps: int = 8) -> Path:
        """Write a GIF, WebP or MP4 (by the ending): the images, below them a method's output.

        A frame a recorded step. Returns the path; raises ValueError where there is no record.
        """
        return write_film(path, self._strips(method), fps=fps)

    def contact_sheet(self, method: str, path: str | Path) -> Path:
        """Write a PNG: the images on top, and a row for each recorded step. Returns the path.

        Raises ValueError where there is no record of the method.
        """
        from PIL import Image

        if Path(path).suffix.lower() not in (".png", ".jpg", ".webp"):
            raise ValueError(f"unknown kind of picture {Path(path).suffix!r}: expected .png")
        Image.fromarray(sheet(self._strips(method))).save(path)
        return Path(path)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """For as long as a probe looks: a session, autocast off, random numbers of its own."""
        with (
            session(self.model),
            seeded(self.seed),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield

    def _look(self) -> Record:
        try:
            many = run_many(
                self.model, self.x, self.labels, self.methods, predict=False, seed=self.seed
            )
        except ValueError as error:  # the network that is trained gives no logits any more
            return self._nothing(error)
        with torch.no_grad():
            logits = self.model(self.x) if many.logits is None else many.logits
        if self.integrate:
            self._moments.add(loss_gradient(self.model, self.x, self.labels))
        between = None
        if self.margin is not None:
            between = confused(self.model, self.x, logits, margin=self.margin, push=self.push)
        return Record(
            self.steps,
            logits.cpu(),
            float((logits.argmax(1) == self.labels).float().mean()),
            {name: run.output.cpu() for name, run in many.items()},
            between,
            tuple(many.failures),
        )

    def _nothing(self, error: Exception) -> Record:
        """The record of a step at which nothing could be run, and why."""
        with torch.no_grad():
            logits = self.model(self.x)
        failure = Failure("", "", "probe", type(error).__name__, describe(error))
        return Record(self.steps, logits.cpu(), 0.0, {}, None, (failure,))

    def _strips(self, method: str) -> list[np.ndarray]:
        recorded = [record.outputs for record in self.records if method in record.outputs]
        if not recorded:
            raise ValueError(
                f"there is no record of {method!r}: recorded are {sorted(self.methods)}"
            )
        outputs = [found[method] for found in recorded]
        return strips(self.x, outputs, get(method).kind, self.model.bounds)


def _checked(model: ModelAdapter, x: Any) -> tuple[Tensor, int]:
    """The images, and the number of classes."""
    images = check_images(model, x)
    try:
        facts = model.facts(images)
    except BaseException as error:
        refuse(model, images, error)
    return images, check_logits(model, facts)


def _by_name(methods: Any) -> Mapping[str, Mapping[str, Any]]:
    """{name: params} of names, or as it is."""
    if isinstance(methods, str):
        raise TypeError(f"methods is the text {methods!r}, expected a list of names: [{methods!r}]")
    return methods if isinstance(methods, Mapping) else {name: {} for name in methods}


def _functions(sinks: Any) -> list[Sink]:
    """The sinks as a list. Raises TypeError for what is none."""
    if not isinstance(sinks, Sequence) or isinstance(sinks, str):
        raise TypeError(f"sinks must be a list of functions of a record, got {sinks!r}")
    for sink in sinks:
        if not callable(sink):
            raise TypeError(f"a sink is a function of a record, got {sink!r}")
    return list(sinks)
