"""One cell of a comparison after another: a method at one epsilon, by all its implementations."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from bridge.fused import run_many
from bridge.metrics import agreement, similarity
from bridge.metrics.attack import audit, classify
from bridge.model import ModelAdapter
from bridge.registry import Function, Method
from bridge.run import accepts, execute
from bridge.state import seeded
from bridge.types import Agreement, Failure, Run, Unsupported

# What a first call adds (kernels set up, memory allocated) is some ten milliseconds: little beside this many `timing_seconds`.
LONG = 3.0


class Book:
    """Fills the tables, method by method; what it cannot do becomes a failure."""

    def __init__(
        self, model: ModelAdapter, x: Tensor, labels: Tensor, target: Tensor, seed: int, repeats: int, timing_seconds: float
    ) -> None:
        self.model, self.x, self.labels, self.target = model, x, labels, target
        self.seed, self.repeats, self.timing_seconds = seed, repeats, timing_seconds
        self.agreement: list[dict[str, Any]] = []
        self.similarity: list[dict[str, Any]] = []
        self.runtime: list[dict[str, Any]] = []
        self.attacks: list[dict[str, Any]] = []
        self.predictions: list[dict[str, Any]] = []
        self.shift: list[dict[str, Any]] = []
        self.failures: list[Failure] = []
        self.used: set[str] = {"reference", "fused"}  # implementations that have run before
        self.plan: dict[str, Any] = {}
        self.outputs: dict[tuple[str, str, float | None], Tensor] = {}
        self._predict("clean", "model", None, x)
        self.judge_model: ModelAdapter | None = None
        try:
            self.judge_model = model.astype(torch.float64)
        except Exception as error:
            self.failures.append(Failure("", "", "float64 copy", type(error).__name__, str(error)))

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        failures = [asdict(failure) for failure in dict.fromkeys(self.failures)]
        return {
            "agreement": self.agreement, "similarity": self.similarity, "runtime": self.runtime, "attacks": self.attacks,
            "predictions": self.predictions, "shift": self.shift, "failures": failures,
        }  # fmt: skip

    def failed(self, method: Method, implementation: str, stage: str, error: Exception) -> None:
        stage = "unsupported" if isinstance(error, Unsupported) else stage
        self.failures.append(Failure(method.name, implementation, stage, type(error).__name__, str(error)))

    def compare(self, method: Method, functions: dict[str, Function], params: dict[str, Any], epsilon: float | None) -> None:
        """One method at one epsilon: outputs, times, audits and agreement of all implementations."""
        drawn = self.drawn(method, params)
        runs: dict[str, Run] = {}
        for name, function in functions.items():
            try:
                runs[name] = self.execute(method, name, function, params, drawn, self.model, self.x)
            except Exception as error:
                self.failed(method, name, "run", error)
        self._time(method, functions, runs, params, drawn, epsilon)
        for name, run in runs.items():
            self.outputs[method.name, name, epsilon] = run.output.cpu()
            if method.kind == "attack":
                try:
                    self._audit(method, run, epsilon)
                except Exception as error:
                    self.failed(method, name, "audit", error)
        try:
            self._judge(method, functions, runs, params, drawn, epsilon)
        except Exception as error:
            self.failed(method, "reference", "float64", error)
            for name in runs:
                if name != "reference":
                    self._agree(method, name, epsilon, None)

    def _audit(self, method: Method, run: Run, epsilon: float | None) -> None:
        targeted = bool(run.params.get("targeted"))
        score = audit(self.model, self.x, self.labels, run.output, epsilon=epsilon, norm=method.norm, targeted=targeted)
        row = {"method": method.name, "implementation": run.implementation, "epsilon": epsilon, "norm": method.norm}
        self.attacks.append(row | asdict(score))
        self._predict(method.name, run.implementation, epsilon, run.output)

    def _predict(self, method: str, implementation: str, epsilon: float | None, images: Tensor) -> None:
        """A row an image: what the model says of it, in a batch of these images alone."""
        predicted, confidence = classify(self.model, images)
        for index, (label, guess, sure) in enumerate(
            zip(self.labels.tolist(), predicted.tolist(), confidence.tolist(), strict=True)
        ):
            self.predictions.append({
                "image": index, "label": label, "method": method, "implementation": implementation,
                "epsilon": epsilon, "predicted": guess, "confidence": sure,
            })  # fmt: skip

    def drawn(self, method: Method, params: dict[str, Any]) -> dict[str, Tensor]:
        """A random method's random numbers, so that all implementations and precisions start from the same tensor."""
        if method.draw is None:
            return {}
        with seeded(self.seed):
            numbers: dict[str, Tensor] = method.draw(self.x, **params)
        return numbers

    def execute(
        self, method: Method, name: str, function: Function, params: Mapping[str, Any], drawn: Mapping[str, Tensor],
        model: ModelAdapter, x: Tensor,
    ) -> Run:  # fmt: skip
        """One implementation on these images, from these random numbers where it takes them."""
        given = dict(params) | {key: value for key, value in drawn.items() if accepts(function, key)}
        given = {k: v.to(x) if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in given.items()}
        classes = self.labels if method.kind == "attack" else self.target
        return execute(method, function, name, model, x, classes, given, self.seed)

    def _time(
        self, method: Method, functions: dict[str, Function], runs: dict[str, Run], params: dict[str, Any],
        drawn: dict[str, Tensor], epsilon: float | None,
    ) -> None:  # fmt: skip
        # A first call that takes long is a fair measurement itself, unless the library was imported in it.
        seconds: dict[str, list[float]] = {
            name: [run.seconds] if name in self.used and run.seconds >= LONG * self.timing_seconds else []
            for name, run in runs.items()
        }
        self.used |= set(runs)
        for repeat in range(self.repeats):
            order = list(runs)
            for name in order[repeat % max(1, len(order)) :] + order[: repeat % max(1, len(order))]:
                if sum(seconds[name]) >= self.timing_seconds:
                    continue
                try:
                    again = self.execute(method, name, functions[name], params, drawn, self.model, self.x)
                    seconds[name].append(again.seconds)
                except Exception as error:
                    self.failed(method, name, "timing", error)
        medians = {name: statistics.median(values) for name, values in seconds.items() if values}
        for name, median in medians.items():
            run = runs[name]
            self.runtime.append({
                "method": method.name, "implementation": name, "epsilon": epsilon, "seconds": median,
                "ratio": median / medians["reference"] if medians.get("reference") else float("nan"),
                "warm_up": run.seconds, "repeats": len(seconds[name]), "forwards": run.forwards,
                "backwards": run.backwards,
            })  # fmt: skip

    def _judge(
        self, method: Method, functions: dict[str, Function], runs: dict[str, Run], params: dict[str, Any],
        drawn: dict[str, Tensor], epsilon: float | None,
    ) -> None:  # fmt: skip
        others = {name: function for name, function in functions.items() if name != "reference"}
        if not any(name in runs for name in others):
            for name in others:
                self._agree(method, name, epsilon, None)
            return
        if self.judge_model is None:
            raise ValueError("the model cannot be copied in float64, so agreement cannot be judged")
        judge_model, x64 = self.judge_model, self.x.double()

        def reference(model: ModelAdapter, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
            return self.execute(method, "reference", method.reference, params, numbers, model, x).output

        reference32 = runs["reference"].output if "reference" in runs else reference(self.model, self.x, drawn)
        reference64 = reference(judge_model, x64, drawn)
        seeded64 = reference64  # what an implementation that draws from the seed itself is compared with
        low, high = self.model.bounds
        # Maps are judged relative to each image's largest value, images relative to the range of pixel values.
        scale: Callable[[Tensor], Tensor | float] = (
            agreement.image_scale if method.kind == "attribution" else lambda _: high - low
        )
        noise = agreement.noise_floor(reference32, reference64, scale)
        for name, function in others.items():
            if name not in runs:
                self._agree(method, name, epsilon, None)
                continue
            own_numbers = drawn and not all(accepts(function, key) for key in drawn)
            if own_numbers and seeded64 is reference64:
                seeded64 = reference(judge_model, x64, {})
            try:
                output64 = self.execute(method, name, function, params, drawn, judge_model, x64).output
            except Exception as error:
                self.failed(method, name, "float64", error)
                self._agree(method, name, epsilon, None)
                continue
            twin = method.twins.get(name)
            self._agree(method, name, epsilon, agreement.judge(
                runs[name].output, output64, reference32, seeded64 if own_numbers else reference64, noise=noise,
                scale=scale, known_cause=twin.differs if twin else "",
            ))  # fmt: skip

    def _agree(self, method: Method, name: str, epsilon: float | None, found: Agreement | None) -> None:
        if found is None:
            if any((f.method, f.implementation, f.stage) == (method.name, name, "unsupported") for f in self.failures):
                return  # what an implementation does not claim to do, it has not failed
            nan = float("nan")
            found = Agreement("failed", nan, "failed", nan, nan, len(self.x), "see failures")
        self.agreement.append({"method": method.name, "implementation": name, "epsilon": epsilon} | asdict(found))

    def together(self, methods: Mapping[str, Mapping[str, Any]]) -> None:
        """All fused methods in one plan, against the same cells one after another."""
        timed = {(r["method"], r["implementation"], r["epsilon"]): r for r in self.runtime}
        ran = {name: params for name, params in methods.items() if any(key[:2] == (name, "fused") for key in timed)}
        if len(ran) < 2:
            return
        many = run_many(self.model, self.x, self.target, ran, labels=self.labels, predict=False, seed=self.seed)
        alone: dict[str, dict[str, float]] = {}
        for implementation in ("fused", "reference"):
            cells = [row for (name, by, _), row in timed.items() if by == implementation and name in many]
            sums = {what: sum(row[what] for row in cells) for what in ("seconds", "forwards", "backwards")}
            alone |= {implementation: sums} if cells else {}
        self.plan = {
            "methods": list(many), "seconds": many.seconds, "forwards": many.forwards, "backwards": many.backwards,
            "one_after_another": alone, "explained": many.plan.explain(),
        }  # fmt: skip

    def shifts(self, attributions: Iterable[Method], attacks: Iterable[Method]) -> None:
        """How far each attack's largest epsilon moves the attributions that need no passes of their own."""
        size = (int(self.x.shape[2]), int(self.x.shape[3]))
        cheap = [m for m in attributions if m.fast and not any(m.fast[0].passes(self.x, **m.defaults))]
        clean = {m.name: output for m in cheap if (output := self._output(m, None)) is not None and output.ndim == 4}
        maps = {name: similarity.importance(map_, size) for name, map_ in clean.items()}
        ranked = {name: similarity.ranks(map_) for name, map_ in maps.items()}
        for attack in attacks:
            sizes = [e for name, _, e in self.outputs if name == attack.name]
            if not sizes or not maps:
                continue
            epsilon = max(sizes, key=lambda e: e or 0)
            attacked = self._output(attack, epsilon)
            if attacked is None or not bool(attacked.isfinite().all()):
                continue
            low, high = self.model.bounds
            images = attacked.to(self.x).clamp(low, high)
            many = run_many(self.model, images, self.target, {name: {} for name in maps}, predict=False, seed=self.seed)
            for name in many:
                moved = similarity.importance(many[name].output.cpu(), size)
                self.shift.append({
                    "attack": attack.name, "epsilon": epsilon, "method": name,
                    "spearman": float(similarity.spearman(ranked[name], similarity.ranks(moved)).nanmean()),
                    "top10_iou": float(similarity.top_k_iou(maps[name], moved).nanmean()),
                })  # fmt: skip

    def _output(self, method: Method, epsilon: float | None) -> Tensor | None:
        """By the reference, or by whichever implementation there is."""
        name = next((i for i in method.implementations() if (method.name, i, epsilon) in self.outputs), None)
        return None if name is None else self.outputs[method.name, name, epsilon]

    def similarities(self, attributions: Iterable[Method]) -> None:
        """Every pair of attributions by the reference (or by whichever implementation there is)."""
        size = (int(self.x.shape[2]), int(self.x.shape[3]))
        maps: dict[str, Tensor] = {}
        for method in attributions:
            map_ = self._output(method, None)
            if map_ is not None and map_.ndim == 4 and bool(map_.isfinite().all()):
                maps[method.name] = similarity.importance(map_, size)
        ranked = {name: similarity.ranks(map_) for name, map_ in maps.items()}
        for a, b in itertools.combinations(maps, 2):
            measured = {
                "spearman": similarity.spearman(ranked[a], ranked[b]),
                "top10_iou": similarity.top_k_iou(maps[a], maps[b]),
                "ssim": similarity.ssim(maps[a], maps[b]),
                "cosine": similarity.cosine(maps[a], maps[b]),
            }
            self.similarity.append({"method_a": a, "method_b": b} | {k: float(v.nanmean()) for k, v in measured.items()})
