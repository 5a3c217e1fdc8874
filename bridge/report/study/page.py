"""The page of a study: the summary first, curves, and the few images that are worth a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.report.content import Metrics, further
from bridge.report.drawings import chart, percent
from bridge.report.overview import PICTURES, Tile, tiles, verdicts
from bridge.report.page import heat, rendered, shown
from bridge.report.pictures import webp
from bridge.report.study.album import Group, Strip
from bridge.report.study.content import PROOF, card, curves, sections
from bridge.report.study.figures import similarity_matrix
from bridge.statistics.robustness import WORST
from bridge.tables import records
from bridge.tables.study import Measured, Summary
from bridge.tables.study.accuracy import CLEAN

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
    drawn, made = [_group(group) for group in groups], card(study)
    proofs = [section.view for section in found if section.name == PROOF]
    similar = _matrix(summary)
    drawn_curves = charts(summary, KEPT[study.manifest.get("labels") != "predicted"])
    return rendered(
        "study.html",
        title=title or TITLE,
        overview_of={
            "lines": list(summary.first_lines),
            "finished": study.finished,
            "subject": "; ".join(made[key] for key in ("Model", "Data") if key in made),
            "tiles": accuracies(summary),
            "verdicts": verdicts(proofs[0]) if proofs else None,
            "remaining": {"curves": drawn_curves} if drawn_curves else {"heat": similar},
        },
        lead=_lead(drawn),
        card=made,
        sections=[shown(section, i) for i, section in enumerate(found)],
        matrices={"similarity": similar},
        groups=drawn,
        further=[shown(section, f"further{i}") for i, section in enumerate(further(metrics))],
    )


def accuracies(summary: Summary) -> list[Tile]:
    """How many images are right before any attack, and in the worst case of each size."""
    found = []
    for row in records(summary.accuracy[summary.accuracy["method"] == CLEAN]):
        share = percent(row["accuracy"])
        found.append(Tile(share, f"right before any attack: {row['right']:,}/{row['images']:,}"))
    worst = {
        (row["norm"], float(row["epsilon"])): (float(row["accuracy"]), "the worst case")
        for row in records(summary.worst_case)
        if row["epsilon"] and row["accuracy"] == row["accuracy"]
    }
    return found + tiles(worst, "right")


def charts(summary: Summary, what: str) -> list[dict[str, Any]]:
    """A chart a norm, with the intervals as bands and the worst case in the text's own colour."""
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
            "parts": _parts(strip),
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


def _parts(strip: Strip) -> list[list[dict[str, Any]]]:
    """The pictures of a strip, from image to image: what belongs together is never torn apart."""
    parts: list[list[dict[str, Any]]] = []
    for shot in strip.shots:
        if shot.kind == "image" or not parts:
            parts.append([])
        parts[-1].append(
            {
                "kind": shot.kind,
                "name": shot.name.replace("_", " ") if shot.kind != "change" else "",
                "alt": f"{shot.name} ({shot.kind}), {strip.title}" + ": fooled" * shot.hit,
                "caption": shot.caption,
                "hit": shot.hit,
                "data": webp(shot.rgb),
            }
        )
    return parts


def _lead(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for the first screen: an image with its maps, and one that was attacked."""
    firsts = [group["strips"][0]["parts"][0] for group in groups]
    mapped = [part for part in firsts if part[-1]["kind"] == "map"]
    attacked = [part for part in firsts if part[-1]["kind"] == "change"]
    return [shot for part in (*mapped[:1], *attacked[:1]) for shot in part[:PICTURES]]
