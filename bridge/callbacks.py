"""Training-time probes: what the network looks at while it learns, recorded on fixed images without changing the training."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bridge.fused import run_many
from bridge.gradients import input_gradient, loss_gradient
from bridge.model import ModelAdapter, wrap
from bridge.preflight import check_images, check_labels
from bridge.state import frozen
from bridge.visualize.film import write_film
from bridge.visualize.heatmap import as_rgb, heatmap, limit

Sink = Callable[["Record"], None]


@dataclass(frozen=True)
class Confused:
    """Images whose two largest logits are closer than a margin: `index` (k,), `classes` (k, 2), `gap` (k,) of the logits.

    `gradients` (k, 2, c, h, w): of each of the two logits at the image, of this image alone. `towards` (k, 2, c, h, w): the
    image moved along each, to the probe's `push` in the L2 norm, within the bounds.
    """

    index: Tensor
    classes: Tensor
    gap: Tensor
    gradients: Tensor
    towards: Tensor


@dataclass(frozen=True)
class Record:
    """What a probe saw at one step: `outputs` by method, `logits` and `accuracy` on its images, the `confused` ones."""

    step: int
    logits: Tensor
    accuracy: float
    outputs: Mapping[str, Tensor]
    confused: Confused | None = None
    failures: Sequence[Any] = field(default=())


class Probe:
    """Attributions and adversarials of fixed images along training; call `probe.step(step)` after each optimiser step.

    `methods` as for `run_many`: names, or {name: params}. Every `every` steps they run on `x` (n, c, h, w) with `labels` (n,),
    and a Record goes to each of `sinks` (and to `records`, where `keep`). `integrate` also sums the loss gradient at the
    images, g = sum_n grad_x J(x; theta_n), with its running mean and variance (`integrated`, `mean`, `variance`), at every
    probed step. `margin` collects images whose two top logits are closer than that. The state is in `state_dict`.

    Training stays what it was, bit by bit: weights, gradients that are being accumulated, running statistics, modes, the random
    state and autocast are put back. A method that fails is noted in the record and never stops the training.
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
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.model: ModelAdapter = model if isinstance(model, ModelAdapter) else wrap(model)
        with self._aside():
            self.x = check_images(self.model, x)
            self.labels = check_labels(labels, self.x, self.model.facts(self.x).logits.shape[1])
        self.methods = {name: dict(methods[name]) if isinstance(methods, Mapping) else {} for name in methods}
        self.every, self.integrate, self.margin, self.push, self.seed = every, integrate, margin, push, seed
        self.sinks, self.keep = list(sinks), keep
        self.records: list[Record] = []
        self.steps = self.count = 0
        self.integrated = torch.zeros_like(self.x, dtype=torch.float64)
        self.mean, self._squares = torch.zeros_like(self.integrated), torch.zeros_like(self.integrated)

    @property
    def variance(self) -> Tensor:
        """Of the loss gradient over the probed steps, pixel by pixel (unbiased; zero before the second)."""
        return self._squares / max(1, self.count - 1)

    def step(self, step: int | None = None) -> Record | None:
        """Count a training step (or take its number); a Record where it is one to probe."""
        self.steps = self.steps + 1 if step is None else step
        if self.steps % self.every:
            return None
        with self._aside():
            record = self._look()
        if self.keep:
            self.records.append(record)
        for sink in self.sinks:
            sink(record)
        return record

    def _aside(self) -> Any:
        """Evaluation mode without autocast; everything is put back."""
        return _Aside(self.model)

    def _look(self) -> Record:
        many = run_many(self.model, self.x, self.labels, self.methods, predict=False, seed=self.seed)
        with torch.no_grad():
            logits = self.model(self.x) if many.logits is None else many.logits
        if self.integrate:
            gradient = loss_gradient(self.model, self.x, self.labels).double()
            self.integrated += gradient
            self.count += 1
            away = gradient - self.mean  # Welford: no large sums are subtracted
            self.mean += away / self.count
            self._squares += away * (gradient - self.mean)
        return Record(
            self.steps, logits.cpu(), float((logits.argmax(1) == self.labels).float().mean()),
            {name: run.output.cpu() for name, run in many.items()}, self._confused(logits), tuple(many.failures),
        )  # fmt: skip

    def _confused(self, logits: Tensor) -> Confused | None:
        if self.margin is None:
            return None
        top, classes = logits.topk(2, dim=1)
        index = ((top[:, 0] - top[:, 1]) < self.margin).nonzero()[:, 0]
        images, pair = self.x[index], classes[index]
        shape = (0, 2, *self.x.shape[1:])
        if not len(index):
            return Confused(index.cpu(), pair.cpu(), top[index, 0].cpu(), torch.empty(shape), torch.empty(shape))
        # Each image's own logit, by its own class: a sum over the batch would mix the classes of other images in.
        gradients = torch.stack([input_gradient(self.model, images, pair[:, k]) for k in (0, 1)], 1)
        length = gradients.flatten(2).norm(dim=2).clamp(min=1e-12)[..., None, None, None]
        towards = (images[:, None] + self.push * gradients / length).clamp(*self.model.bounds)
        return Confused(index.cpu(), pair.cpu(), (top[index, 0] - top[index, 1]).cpu(), gradients.cpu(), towards.cpu())

    def state_dict(self) -> dict[str, Any]:
        """What has been counted and integrated, to go on from a checkpoint."""
        return {
            "steps": self.steps, "count": self.count, "integrated": self.integrated.cpu().clone(),
            "mean": self.mean.cpu().clone(), "squares": self._squares.cpu().clone(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`. Raises ValueError where it is of other images."""
        if tuple(state["integrated"].shape) != tuple(self.x.shape):
            raise ValueError(f"the state is of images {tuple(state['integrated'].shape)}, these are {tuple(self.x.shape)}")
        self.steps, self.count = int(state["steps"]), int(state["count"])
        self.integrated, self.mean, self._squares = (
            state[name].to(self.x.device, torch.float64).clone() for name in ("integrated", "mean", "squares")
        )

    def film(self, method: str, path: str | Path, *, fps: int = 8) -> Path:
        """Write a GIF, WebP or MP4 (by the ending): the images, and below them a method's output at each probed step."""
        frames = [_strip(self, record.outputs[method]) for record in self.records if method in record.outputs]
        if not frames:
            raise ValueError(f"there is no record of {method!r}: recorded are {sorted(self.methods)}")
        return write_film(path, frames, fps=fps)

    def contact_sheet(self, method: str, path: str | Path) -> Path:
        """Write a PNG: the images on top, and a row for each probed step."""
        from PIL import Image

        frames = [_strip(self, record.outputs[method]) for record in self.records if method in record.outputs]
        if not frames:
            raise ValueError(f"there is no record of {method!r}: recorded are {sorted(self.methods)}")
        height = self.x.shape[2]
        rows = [torch.from_numpy(frames[0][:height]), *(torch.from_numpy(frame[height:]) for frame in frames)]
        Image.fromarray(torch.cat(rows).numpy()).save(path)
        return Path(path)


def _strip(probe: Probe, output: Tensor) -> Any:
    """The images in a row, and below them their maps (or their attacked images), (2 h, n w, 3) in 8 bits."""
    images = as_rgb(probe.x, probe.model.bounds)
    if output.shape == probe.x.shape and _is_attack(probe, output):
        shown = as_rgb(output, probe.model.bounds)
    else:
        maps = heatmap(output.float(), (int(probe.x.shape[2]), int(probe.x.shape[3])))
        scaled = (maps / limit(maps)).clamp(-1, 1).nan_to_num(0.0)
        # Blue negative, white zero, red positive.
        shown = torch.stack([1 + scaled.clamp(max=0), 1 - scaled.abs(), 1 - scaled.clamp(min=0)], -1)
    strip = torch.cat([torch.cat(list(images), 1), torch.cat(list(shown), 1)])
    return (strip * 255).round().byte().numpy()


def _is_attack(probe: Probe, output: Tensor) -> bool:
    from bridge.registry import get

    names = [name for record in probe.records for name, found in record.outputs.items() if found is output]
    return bool(names) and get(names[0]).kind == "attack"


class _Aside:
    """The model frozen in evaluation mode and autocast off, for as long as a probe looks."""

    def __init__(self, model: ModelAdapter) -> None:
        self.frozen = frozen(model)
        self.off = [torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda")]

    def __enter__(self) -> None:
        self.frozen.__enter__()
        for context in self.off:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self.off):
            context.__exit__(*error)
        self.frozen.__exit__(*error)


def files(folder: str | Path) -> Sink:
    """A sink that writes each record as `step-000123.safetensors` into a folder."""
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)

    def write(record: Record) -> None:
        tensors = {"logits": record.logits, **record.outputs}
        if record.confused is not None:
            tensors |= {f"confused.{name}": value for name, value in vars(record.confused).items()}
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path / f"step-{record.step:06d}.safetensors")

    return write


def tensorboard(writer: Any) -> Sink:
    """A sink for a `SummaryWriter`: accuracy on the probe's images, and each output as an image grid."""

    def write(record: Record) -> None:
        writer.add_scalar("probe/accuracy", record.accuracy, record.step)
        for name, output in record.outputs.items():
            shown = output.float().mean(1, keepdim=True)
            low, high = float(shown.min()), float(shown.max())
            writer.add_images(f"probe/{name}", (shown - low) / max(high - low, 1e-12), record.step)

    return write


def wandb(run: Any = None) -> Sink:
    """A sink for Weights & Biases: a run, or the current one. Raises ModuleNotFoundError where it is not installed."""
    library = importlib.import_module("wandb")

    def write(record: Record) -> None:
        images = {f"probe/{n}": [library.Image(o.float().mean(0).numpy()) for o in out] for n, out in record.outputs.items()}
        (run or library).log({"probe/accuracy": record.accuracy, **images}, step=record.step)

    return write


def lightning_callback(probe: Probe) -> Any:
    """A Lightning callback that steps the probe after each batch and keeps its state in checkpoints.

    For `lightning` and for `pytorch_lightning`, whichever is installed (the first, where both are). Raises ModuleNotFoundError
    where none is.
    """
    for name in ("lightning.pytorch", "pytorch_lightning"):
        try:
            base: Any = importlib.import_module(name).Callback
            break
        except ModuleNotFoundError:
            continue
    else:
        raise ModuleNotFoundError("neither lightning nor pytorch_lightning is installed: pip install 'gradbridge[lightning]'")

    def on_train_batch_end(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step != self.seen:  # while gradients are accumulated there is no new step
            self.seen = trainer.global_step
            probe.step(trainer.global_step)

    return type("ProbeCallback", (base,), {
        "seen": 0, "on_train_batch_end": on_train_batch_end, "state_dict": lambda self: probe.state_dict(),
        "load_state_dict": lambda self, state: probe.load_state_dict(state),
    })()  # fmt: skip
