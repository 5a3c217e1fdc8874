"""A study at work: parts after parts, each on the disk as soon as it is whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bridge.study import interruption
from bridge.study.whole import parts
from bridge.study.whole.items import stream
from bridge.study.whole.lock import Held
from bridge.study.whole.part_work import (
    in_order,
    missing,
    process,
    told_apart,
    try_again,
    without_lost,
)
from bridge.study.whole.parts import Part, add
from bridge.study.whole.place import Place
from bridge.study.whole.progress import Progress
from bridge.study.whole.setting import Asked

FLUSH = 60.0  # seconds after which what there is of a part is written


@dataclass(frozen=True)
class Shard:
    """The parts number - 1, number - 1 + of, ... of a study: one of `of` shards.

    >>> [Shard(2, 3).has(part) for part in range(4)], Shard.of_text("2/3")
    ([False, True, False, False], Shard(number=2, of=3))
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ValueError(
                f"shard {self.number}/{self.of} makes no sense: expected i/n, i from 1 to n"
            )

    @classmethod
    def of_text(cls, text: str) -> Shard:
        """ "2/3" as a shard. Raises ValueError for anything else."""
        number, slash, of = text.partition("/")
        if not (slash and number.strip().isdecimal() and of.strip().isdecimal()):
            raise ValueError(f"shard {text!r} makes no sense: expected i/n, such as 1/3")
        return cls(int(number), int(of))

    def has(self, part: int) -> bool:
        """Whether a part is in it."""
        return part % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}" if self.of > 1 else ""


class Failed(RuntimeError):
    """Something failed, and the first failure was to end it."""


@dataclass
class Job:
    """What a process works on. `cards` are the sidecars of the parts that stand."""

    place: Place
    data: Any
    places: Sequence[int]
    asked: Asked
    fingerprint: str
    lock: Held
    shard: Shard = field(default_factory=Shard)
    workers: int = 0
    fail_fast: bool = False
    cards: dict[int, dict[str, Any]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)

    @property
    def numbers(self) -> list[int]:
        """The parts of this shard."""
        count = -(-len(self.places) // self.asked.part_size)
        return [number for number in range(count) if self.shard.has(number)]

    def span(self, number: int) -> Sequence[int]:
        """The images of a part, by their index in the data."""
        size = self.asked.part_size
        return self.places[number * size : (number + 1) * size]

    def look(self) -> None:
        """Find the parts that stand, and remove what belongs to none of ours."""
        found = parts.sidecars(self.place)
        for number in self.numbers:
            card = found.get(number)
            if card is None or card.get("fingerprint") != self.fingerprint:
                continue
            try:
                parts.check(self.place, card)
                self.cards[number] = card
            except parts.Corrupt as error:
                self.broken[number] = str(error)
        mine = {parts.stem(number) for number in self.numbers}
        for name in parts.orphans(self.place, found):
            if name.rpartition("/")[2].partition(".")[0].partition("-")[0] in mine:
                self.place.remove(name)

    def run(self, progress: Progress) -> None:
        """Everything that is not there yet; then what failed once more."""
        cuts: list[tuple[int, Sequence[int]]] = []
        failed = []
        for number in self.numbers:
            absent = self.absent(number)
            progress.done += len(self.span(number)) - len(absent)
            if not len(absent) and self.cards[number]["files"]["failures"]["rows"]:
                failed.append(number)
            step = self.asked.batch_size
            cuts += [(number, absent[at : at + step]) for at in range(0, len(absent), step)]
        for number in failed:
            self.retried(number, parts.read(self.place, self.cards[number]))
        self._stream(cuts, progress)

    def absent(self, number: int) -> Sequence[int]:
        """The images of a part that have no row yet."""
        card, span = self.cards.get(number), self.span(number)
        if card is None:
            return span
        if card["complete"] and not card["files"]["failures"]["rows"]:
            return ()
        return missing(parts.table(self.place, card, "images")["index"].to_pylist(), span)

    def retried(self, number: int, part: Part) -> bool:
        """Try again what failed of a part; whether that changed it."""
        interruption.end_if_asked()
        if not try_again(self.asked.work, self.data, part, self.asked.batch_size):
            return False
        self.write(number, part, complete=bool(self.cards[number]["complete"]))
        return True

    def _stream(self, cuts: Sequence[tuple[int, Sequence[int]]], progress: Progress) -> None:
        pinned = bool(self.asked.work.model.device and self.asked.work.model.device.type == "cuda")
        batches = stream(self.data, [cut for _, cut in cuts], self.workers, pinned=pinned)
        hand: _InHand | None = None
        try:
            for k, (number, _) in enumerate(cuts):
                if hand is None:
                    hand = _InHand(self, number)
                failed = hand.add(next(batches))
                progress.advance(len(cuts[k][1]), failed)
                if k + 1 == len(cuts) or cuts[k + 1][0] != number:
                    full, hand = hand, None
                    full.close()
                elif time.monotonic() - hand.written > FLUSH:
                    hand.write(complete=False)
                self.lock.beat()
                if failed and self.fail_fast:
                    self._end(hand or full)
                if interruption.asked():
                    break
        except KeyboardInterrupt:  # in a notebook, where nobody handles signals
            if hand is not None:
                hand.write(complete=False)
            raise
        if hand is not None:
            hand.write(complete=False)
        with interruption.interruptible():
            interruption.end_if_asked()

    def _end(self, hand: _InHand) -> None:
        hand.write(complete=False)
        _, method, stage, kind, text = hand.part.rows["failures"][-1]
        raise Failed(f"{method or stage} failed: {kind}: {text} (what was finished is kept)")

    def write(self, number: int, part: Part, *, complete: bool) -> None:
        """Write a part in place of what there is of it."""
        ordered = in_order(self.asked.work, part)
        said = {
            "fingerprint": self.fingerprint,
            "complete": complete,
            "images": len(self.span(number)),
            "memory_mb": peak_memory(),
            "gpu_memory_mb": gpu_memory(self.asked.work.model.device),
        }
        self.cards[number] = parts.write(
            self.place, number, ordered, said, before=self.cards.get(number)
        )


class _InHand:
    """The part that is being filled."""

    def __init__(self, job: Job, number: int) -> None:
        self.job, self.number = job, number
        card = job.cards.get(number)
        self.part = Part() if card is None else without_lost(parts.read(job.place, card))
        self.seen = {row[0] for row in self.part.rows["images"]}
        self.written = time.monotonic()
        self.tried = not self.part.rows["failures"]

    def add(self, items: Sequence[Any]) -> int:
        """Run a batch; returns how many failures it had."""
        start = time.perf_counter()
        found = process(self.job.asked.work, told_apart(items, self.seen))
        found.spent["seconds"] = time.perf_counter() - start
        add(self.part, found)
        return len(found.rows["failures"])

    def write(self, *, complete: bool) -> None:
        self.job.write(self.number, self.part, complete=complete)
        self.written = time.monotonic()

    def close(self) -> None:
        """The part is whole: what failed before it was interrupted is tried again, and written."""
        job = self.job
        if not self.tried:
            try_again(job.asked.work, job.data, self.part, job.asked.batch_size)
        self.write(complete=True)


def peak_memory() -> float:
    """The most memory that this process has held so far, in MB; a GPU's besides is not counted."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1024, 1)


def gpu_memory(device: torch.device | None) -> float:
    """The most of a GPU's memory that torch has held so far, in MB; 0 on a CPU."""
    if device is None or device.type != "cuda":
        return 0.0
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
