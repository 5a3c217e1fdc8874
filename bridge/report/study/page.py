"""The page of a study: the summary first, curves, and the few images that are worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.report.content import Metrics, further
from bridge.report.page import chart, heat, rendered, shown
from bridge.report.pictures import webp
from bridge.report.study.album import Group
from bridge.report.study.content import card, curves, sections
from bridge.report.study.figures import similarity_matrix
from bridge.statistics.robustness import WORST
from bridge.tables.study import Measured, Summary

TITLE = "A study of attributions and attacks"
KEPT = {True: "Accuracy", False: "Predictions that stay"}


def page(
    study: Measured,
    summary: Summary,
    groups: Sequence[Group],
    *,
    title: str | None = None,
    metrics: Metrics | None = None,
) -> str:
    """The whole page as text, see `bridge.report.page.page`."""
    found = sections(summary, study.proof)
    lines = list(summary.first_lines)
    return rendered(
        "study.html",
        title=title or TITLE,
        lines=lines,
        finished=study.finished,
        card=card(study),
        sections=[shown(section, i) for i, section in enumerate(found)],
        curves={"accuracy": charts(study, summary)},
        matrices={"similarity": _matrix(summary)},
        groups=[_group(group) for group in groups],
        further=[shown(section, f"further{i}") for i, section in enumerate(further(metrics))],
    )


def charts(study: Measured, summary: Summary) -> list[dict[str, Any]]:
    """A chart a norm, with the intervals as bands and the worst case in the text's own colour."""
    what = KEPT[study.manifest.get("labels") != "predicted"]
    drawn = []
    for norm, by_method in curves(summary).items():
        points = {
            m: list(zip(f["epsilon"], f["accuracy"], strict=True)) for m, f in by_method.items()
        }
        bands = {
            m: list(zip(f["accuracy_low"], f["accuracy_high"], strict=True))
            for m, f in by_method.items()
        }
        drawn.append(chart(what, norm, points, bands=bands, styles={WORST: "worst"}))
    return drawn


def _matrix(summary: Summary) -> dict[str, Any] | None:
    names, matrix = similarity_matrix(summary)
    return heat(names, matrix) if len(names) > 2 else None


def _group(group: Group) -> dict[str, Any]:
    strips = [
        {
            "title": strip.title,
            "note": strip.note,
            "shots": [
                {
                    "kind": shot.kind,
                    "name": shot.name.replace("_", " ") if shot.kind != "change" else "",
                    "alt": f"{shot.name} ({shot.kind}), {strip.title}" + ": fooled" * shot.hit,
                    "caption": shot.caption,
                    "hit": shot.hit,
                    "data": webp(shot.rgb),
                }
                for shot in strip.shots
            ],
        }
        for strip in group.strips
    ]
    return {
        "slug": group.name,
        "heading": group.heading,
        "note": group.note,
        "missing": group.missing,
        "strips": strips,
    }
