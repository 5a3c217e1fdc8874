"""Signs of masked gradients, each a sentence with its numbers, only where the numbers show it.

After Athalye et al. 2018 (arXiv:1802.00420, section 3.1) and Carlini et al. 2019
(arXiv:1902.06705). What is compared is compared image by image, and a difference counts where it is
a twentieth of the images or more and McNemar's exact test rejects chance at 0.1 %. None of it is
proof: it says where to look.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from bridge.statistics.intervals import wilson
from bridge.statistics.paired import mcnemar
from bridge.statistics.robustness import sizes, with_right
from bridge.statistics.transfer import transfers
from bridge.tables import EPSILON, Column, Frames, View, epsilon_text, records
from bridge.tables.study._summary import METHOD, Results, summary_table

CHANCE = 0.001
ENOUGH = 10  # images that the model gets right: of fewer nothing is said
NOTABLE = 0.05  # a share of the images below which a difference may be sure and says little
REACHED = 0.99  # an attack without a bound that surely stays below this share has not ended
NEARLY_ALL = 0.95  # where the gradient fools so many, noise that does too says nothing
STUCK = 0.5


masking = summary_table(
    "masking",
    heading="Signs of masked gradients",
    columns=[
        Column("sign", key=True),
        METHOD,
        Column("norm", key=True),
        EPSILON,
        Column("sentence", key=True),
    ],
    order=25,
)


@dataclass(frozen=True)
class Flag:
    """One sign: what it is called, of which attack at which size, and the numbers in a sentence."""

    sign: str
    method: str
    norm: str
    epsilon: float
    sentence: str


@dataclass(frozen=True)
class _Attack:
    """What one attack did at one size: by image whether it fooled, its passes backwards."""

    method: str
    norm: str
    epsilon: float
    fooled: pd.Series
    backwards: float

    @property
    def size(self) -> str:
        return epsilon_text(self.epsilon, self.norm)

    @property
    def share(self) -> float:
        return float(self.fooled.mean())

    def __str__(self) -> str:
        return f"{self.method} at {self.norm} {self.size}"


def flags(images: pd.DataFrame, attacks: pd.DataFrame) -> list[Flag]:
    """Every sign of masked gradients that these attacks show, see the functions below."""
    rows = with_right(images, attacks)
    rows = rows[rows["right"]]
    sized = _attacks(rows[rows["epsilon"].notna()])
    return [
        *_more_steps_fool_less(sized),
        *_more_room_fools_less(sized),
        *_noise_fools_as_much(sized),
        *_unbounded_ends_early(rows),
        *_transfer_fools_more(images, attacks),
        *_nothing_moves(rows),
    ]


def _attacks(rows: pd.DataFrame) -> list[_Attack]:
    """The attacks of each norm and size."""
    found = []
    for (norm, epsilon, method), cell in rows.groupby(["norm", "epsilon", "method"]):
        fooled = cell.set_index("id")["fooled"]
        fooled = fooled[~fooled.index.duplicated()]
        back = float(cell["backwards"].astype(float).mean())
        if epsilon > 0:
            found.append(_Attack(str(method), str(norm), float(epsilon), fooled, back))
    return found


def _more(a: _Attack, b: _Attack) -> tuple[int, int, int] | None:
    """Images that only a fools, that only b does, and that both met, if a fools surely more."""
    both = a.fooled.index.intersection(b.fooled.index)
    first, second = a.fooled.reindex(both).to_numpy(bool), b.fooled.reindex(both).to_numpy(bool)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    notable = only_a - only_b >= NOTABLE * len(both)
    if len(both) < ENOUGH or not notable or mcnemar(only_a, only_b) >= CHANCE:
        return None
    return only_a, only_b, len(both)


def _more_steps_fool_less(attacks: list[_Attack]) -> Iterator[Flag]:
    """An attack with fewer passes backwards fools more than one with twice as many or more."""
    for a, b in itertools.permutations(attacks, 2):
        if (a.norm, a.epsilon) != (b.norm, b.epsilon) or not 0 < 2 * a.backwards <= b.backwards:
            continue
        if (more := _more(a, b)) is not None:
            yield Flag(
                "fewer steps fool more",
                *(b.method, b.norm, b.epsilon),
                f"{a} (passes backwards: {a.backwards:.3g}) fools {a.share:.1%}, {b.method} with "
                f"{b.backwards:.3g} only {b.share:.1%}: {more[0]} of {more[2]} images are fooled "
                f"by the shorter attack alone, {more[1]} by the longer one alone. Either the "
                "longer one's step does not suit, or the gradient leads astray.",
            )


def _more_room_fools_less(attacks: list[_Attack]) -> Iterator[Flag]:
    """An attack of several steps fools fewer at a larger epsilon. (One step may well overshoot.)"""
    for a, b in itertools.permutations(attacks, 2):
        if (a.method, a.norm) != (b.method, b.norm) or a.epsilon >= b.epsilon or b.backwards < 2:
            continue
        if (more := _more(a, b)) is not None:
            yield Flag(
                "more room fools less",
                *(b.method, b.norm, b.epsilon),
                f"{a} fools {a.share:.1%}, and at {b.size} only {b.share:.1%}: {more[0]} of "
                f"{more[2]} images are fooled in the smaller ball alone, {more[1]} in the larger "
                "one alone. What fools in the smaller ball lies in the larger one too.",
            )


def _noise_fools_as_much(attacks: list[_Attack]) -> Iterator[Flag]:
    """An attack that uses no gradient fools as many as one that does."""
    for noise, gradient in itertools.permutations(attacks, 2):
        same = (noise.norm, noise.epsilon) == (gradient.norm, gradient.epsilon)
        if not same or noise.backwards > 0 or gradient.backwards <= 0:
            continue
        surely = wilson(noise.fooled.sum(), len(noise.fooled))[0]
        if (
            len(noise.fooled) >= ENOUGH
            and surely >= NOTABLE
            and NEARLY_ALL > gradient.share <= noise.share
        ):
            yield Flag(
                "noise fools as much",
                *(gradient.method, gradient.norm, gradient.epsilon),
                f"{noise}, which uses no gradient, fools {noise.share:.1%} of "
                f"{len(noise.fooled)} images, {gradient.method} only {gradient.share:.1%}: its "
                "gradient says nothing that chance would not.",
            )


def _unbounded_ends_early(rows: pd.DataFrame) -> Iterator[Flag]:
    """An attack without a bound on its size does not fool every image."""
    unbounded = rows[rows["epsilon"].isna()]
    for (norm, method), cell in unbounded.groupby(["norm", "method"], sort=False):
        hits, n = int(cell["fooled"].sum()), len(cell)
        if n >= ENOUGH and wilson(hits, n)[1] < REACHED:
            yield Flag(
                "without a bound, and yet not all",
                *(str(method), str(norm), float("nan")),
                f"{method} may change an image as much as it likes, and fools {hits} of {n} "
                f"({hits / n:.1%}): it has too few steps, or its gradients lead nowhere.",
            )


def _transfer_fools_more(images: pd.DataFrame, attacks: pd.DataFrame) -> Iterator[Flag]:
    """Images made on this model fool another one more often than this one."""
    for row in transfers(images, attacks).to_dict("records"):
        surely = row["transfer_low"] > wilson(round(row["success"] * row["both"]), row["both"])[1]
        if row["both"] >= ENOUGH and surely:
            size = epsilon_text(row["epsilon"], row["norm"])
            yield Flag(
                "transfer beats the white box",
                *(str(row["method"]), str(row["norm"]), float(row["epsilon"])),
                f"Of {row['both']} images that both models get right, {row['method']} at "
                f"{row['norm']} {size} fools the model that it was run on in {row['success']:.1%}, "
                f"and the other, which it never saw, in {row['transfer']:.1%}.",
            )


def _nothing_moves(rows: pd.DataFrame) -> Iterator[Flag]:
    """An attack by gradient leaves most images as they were: the gradient is zero there."""
    used = rows[(rows["epsilon"] > 0) & (rows["backwards"].astype(float) > 0)]
    for (norm, epsilon, method), cell in used.groupby(["norm", "epsilon", "method"], sort=False):
        still = int((sizes(cell.assign(epsilon=np.nan), str(norm)) == 0).sum())
        if len(cell) >= ENOUGH and still >= STUCK * len(cell):
            yield Flag(
                "images stay as they were",
                *(str(method), str(norm), float(epsilon)),
                f"{method} at {norm} {epsilon_text(epsilon, str(norm))} returns {still} of "
                f"{len(cell)} images unchanged: the gradient of the loss is zero there (such "
                "as a saturated softmax), so this says nothing about robustness.",
            )


@masking.computed
def rows(results: Results) -> list[dict[str, Any]]:
    """A row a sign (see `flags`)."""
    return [asdict(flag) for flag in flags(results.images, results.attacks)]


@masking.viewed
def view(frame: pd.DataFrame, frames: Frames) -> View:
    """A sentence each; of the same sign of one method at several sizes the first, and how many."""
    remarks = []
    for (sign, _), group in frame.groupby(["sign", "method"], sort=False):
        first = records(group)[0]
        more = f" ({len(group) - 1} more of this sign.)" if len(group) > 1 else ""
        remarks.append(f"{str(sign).capitalize()}. {first['sentence']}{more}")
    return View(remarks=remarks)
