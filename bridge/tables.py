"""The tables of a comparison: their columns, and how they read in a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bridge.metrics.agreement import ORDER

COLUMNS = {
    "agreement": [
        "method", "implementation", "epsilon", "verdict", "gap", "verdict_float32", "gap_float32", "noise", "images", "cause",
    ],
    "similarity": ["method_a", "method_b", "spearman", "top10_iou", "ssim", "cosine"],
    "runtime": [
        "method", "implementation", "epsilon", "seconds", "ratio", "warm_up", "repeats", "forwards", "backwards",
    ],
    "attacks": [
        "method", "implementation", "epsilon", "norm", "success", "changed", "success_8bit", "correct", "images",
        "l0", "l2", "linf", "unchanged", "invalid", "reasons",
    ],
    "predictions": ["image", "label", "method", "implementation", "epsilon", "predicted", "confidence"],
    "shift": ["attack", "epsilon", "method", "spearman", "top10_iou"],
    "failures": ["method", "implementation", "stage", "error", "message"],
}  # fmt: skip


def verdict_matrix(agreement: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """Methods x implementations: the worst verdict over epsilons, "unsupported" or "" where there is none."""
    cells: dict[tuple[str, str], str] = {}
    for row in failures.itertuples():
        if row.stage == "unsupported":
            cells[row.method, row.implementation] = "unsupported"
    for row in agreement.itertuples():
        before = cells.get((row.method, row.implementation))
        if before not in ORDER or ORDER.index(row.verdict) > ORDER.index(before):
            cells[row.method, row.implementation] = row.verdict
    methods = list(dict.fromkeys(method for method, _ in cells))
    implementations = list(dict.fromkeys(implementation for _, implementation in cells))
    rows = [[cells.get((m, i), "") for i in implementations] for m in methods]
    return pd.DataFrame(rows, index=pd.Index(methods, name="method"), columns=implementations)


def headline(agreement: pd.DataFrame) -> str:
    """The verdict in one sentence: how many pairs agree, and which do not."""
    worst = agreement.assign(rank=agreement["verdict"].map(ORDER.index)) if len(agreement) else agreement
    if not len(worst):
        return "Nothing to judge: no implementation besides the reference ran."
    worst = worst.sort_values("rank", kind="stable").groupby(["method", "implementation"], sort=False).tail(1)
    agree = worst["verdict"].isin(["equal", "rounding"])
    text = f"{int(agree.sum())} of {len(worst)} pairs agree with our reference (equal, or within rounding)."
    for verdict, verb in (("differs", "differs"), ("failed", "failed")):
        names = [f"{r.implementation}'s {r.method}" for r in worst[worst["verdict"] == verdict].itertuples()]
        if names:
            text += f" {'; '.join(names)} {verb if len(names) == 1 else verb.replace('differs', 'differ')}."
    return text


def summary(tables: Mapping[str, pd.DataFrame], together: Mapping[str, Any] | None = None) -> str:
    """All tables as text for a terminal, verdicts first; needs no knowledge of the project to be read.

    `together` is what the manifest says of all fused methods in one plan.
    """
    parts = [
        headline(tables["agreement"]),
        _agreement(tables["agreement"], tables["failures"]),
        _attacks(tables["attacks"]),
        _runtime(tables["runtime"]) + _together(together or {}),
        _similarity(tables["similarity"]),
        _failures(tables["failures"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _block(title: str, note: str, header: list[str], rows: list[list[str]]) -> str:
    """A table with the first column left-aligned and the others right-aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        first, *rest = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(["  " + first, *rest]).rstrip()

    head = line(header)
    rule = "  " + "-" * (len(head) - 2)
    return "\n".join([title.upper(), *([f"  {note}"] if note else []), head, rule, *map(line, rows)])


def _number(value: Any, form: str = ".1e") -> str:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else format(value, form)


def epsilon_text(value: Any, norm: str | None) -> str:
    """An epsilon as people write it: Linf sizes as steps of 255 where they are whole, "smallest" where none was given."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "smallest"
    steps = value * 255
    return f"{round(steps)}/255" if norm == "linf" and abs(steps - round(steps)) < 1e-6 else f"{value:.4g}"


def _agreement(agreement: pd.DataFrame, failures: pd.DataFrame) -> str:
    if not len(agreement):
        return ""
    matrix = verdict_matrix(agreement, failures)
    worst = agreement.groupby("method", sort=False)[["gap", "gap_float32", "noise"]].max()
    rows = [
        [method, *matrix.loc[method], *(_number(worst.loc[method, c]) if method in worst.index else "" for c in worst)]
        for method in matrix.index
    ]
    header = ["method", *matrix.columns, "gap float64", "gap float32", "noise float32"]
    note = (
        "Judged in float64. Gap: largest difference from our reference; noise: the reference's own float32 rounding.\n"
        "  Maps: relative to each image's largest value. Images: relative to the range of pixel values."
    )
    text = _block("agreement with our reference", note, header, rows)
    differing = agreement[agreement["verdict"] == "differs"].sort_values("gap", ascending=False)
    for row in differing.drop_duplicates(["method", "implementation"]).itertuples():
        text += (
            f"\n  ! {row.implementation}'s {row.method} differs on {row.images} images by up to {row.gap:.1e}: "
            f"{row.cause or 'cause not recognised'}."
        )
    return text


def _attacks(attacks: pd.DataFrame) -> str:
    if not len(attacks):
        return ""
    rows = []
    for row in attacks.itertuples():
        fooled = "" if math.isnan(row.success) else f"{row.success:.0%}"
        eight = "" if math.isnan(row.success_8bit) else f"{row.success_8bit:.0%}"
        rows.append([
            row.method, row.implementation, epsilon_text(row.epsilon, row.norm), fooled, eight, f"{row.changed:.0%}",
            _number(row.linf, ".4f"), _number(row.l2, ".3f"), _number(row.l0, ".0f"), row.reasons or "none",
        ])  # fmt: skip
    correct, images = int(attacks["correct"].iloc[0]), int(attacks["images"].iloc[0])
    note = (
        f"Fooled: share of the {correct} of {images} images that the model gets right, checked again by us; 8-bit: after\n"
        "  rounding to 256 levels; changed: against the model's own prediction. Norms: medians of the perturbations."
    )
    header = ["method", "by", "epsilon", "fooled", "8-bit", "changed", "linf", "l2", "l0", "invalid"]
    text = _block("attacks", note, header, rows)
    for row in attacks.itertuples():
        stuck = row.unchanged - (row.images - row.correct)  # of the images that there was a reason to change
        if stuck > 0 and stuck >= row.correct / 2 and row.epsilon != 0:
            text += (
                f"\n  ! {row.implementation}'s {row.method} at {epsilon_text(row.epsilon, row.norm)} left {stuck} of "
                f"{row.correct} images untouched: the loss gradient is zero there (gradient masking, such as a saturated "
                "softmax), so this says nothing about robustness."
            )
    return text


def _runtime(runtime: pd.DataFrame) -> str:
    if not len(runtime):
        return ""
    summed = runtime.groupby(["method", "implementation"], sort=False)[["seconds", "forwards", "backwards"]].sum()
    implementations = list(dict.fromkeys(runtime["implementation"]))
    rows = []
    for method in dict.fromkeys(runtime["method"]):
        here = {i: summed.loc[(method, i)] for i in implementations if (method, i) in summed.index}
        seconds = [f"{here[i]['seconds'] * 1000:.1f}" if i in here else "" for i in implementations]
        passes = [f"{here[i]['forwards']:.0f}/{here[i]['backwards']:.0f}" if i in here else "" for i in implementations]
        rows.append([method, *seconds, *passes])
    header = ["method", *(f"{i} ms" for i in implementations), *(f"{i} F/B" for i in implementations)]
    fewest, most = int(runtime["repeats"].min()), int(runtime["repeats"].max())
    runs = f"Median of {most if fewest == most else f'{fewest} to {most}'} timed run{'s' * (most > 1)} after a warm-up"
    runs += " (of slow ones the only run)" if fewest < most else ""
    note = f"{runs}, summed over epsilons. F/B: images through the model forwards / backwards"
    note += (
        "\n  (without the windows of which fused occlusion computes only what changes)." if "fused" in implementations else "."
    )
    return _block("runtime", note, header, rows)


def _together(together: Mapping[str, Any]) -> str:
    if not together:
        return ""
    text = (
        f"\n  All {len(together['methods'])} fused methods in one plan: {together['seconds']:.2f} s, "
        f"{together['forwards']} / {together['backwards']} passes. One after another:"
    )
    alone = [
        f" {name} {sums['seconds']:.2f} s, {sums['forwards']:.0f} / {sums['backwards']:.0f}"
        for name, sums in together["one_after_another"].items()
    ]
    return text + ";".join(alone) + "."


def _similarity(similarity: pd.DataFrame) -> str:
    if not len(similarity):
        return ""
    ranked = similarity.sort_values("spearman", ascending=False, kind="stable")
    shown = ranked if len(ranked) <= 10 else pd.concat([ranked.head(5), ranked.tail(5)])
    rows = [
        [f"{r.method_a} ~ {r.method_b}", *(_number(v, ".2f") for v in (r.spearman, r.top10_iou, r.ssim, r.cosine))]
        for r in shown.itertuples()
    ]
    note = "Do two methods point at the same pixels? 1 is the same map; mean over the images."
    if len(ranked) > len(shown):
        note += f" The 5 most and 5 least similar of {len(ranked)} pairs."
    return _block("similarity between methods", note, ["pair", "spearman", "top-10% iou", "ssim", "cosine"], rows)


def _failures(failures: pd.DataFrame) -> str:
    if not len(failures):
        return ""
    lines = [
        f"  {' '.join(filter(None, [row.method, row.implementation]))} ({row.stage}): {row.error}: {row.message}"
        for row in failures.drop_duplicates(["method", "implementation", "stage"]).itertuples()
    ]
    return "\n".join(["NOT AVAILABLE", *lines])
