"""What `compare` found: a record, with its verdicts, figure and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from bridge.record.record import Record
from bridge.tables import block
from bridge.tables.agreement import headline, verdict_matrix

PICTURED = 3  # images, in a notebook


class Comparison(Record):
    """What `compare` found: its tables, the outputs that they rest on, and how to do it again.

    `agreement`: a row a method, implementation and epsilon. `attacks`: audited success and norms.
    `runtime`: medians in seconds, ratio to the reference, images through the model forwards and
    backwards. `similarity`: pairs of attributions by the reference. `shift`: how alike an
    attribution is before and after each attack's largest epsilon; `robustness`: the same of images
    that kept their class, that changed it, and under noise. `predictions`: a row an image, clean
    (method "clean") and after each attack. `failures`: what could not be had, and why. `tables` has
    them all by name, also those of plug-ins.
    """

    def verdicts(self) -> pd.DataFrame:
        """Methods x implementations: the worst verdict over epsilons, "" where there is none."""
        return verdict_matrix(self.agreement, self.failures)

    def figure(self, path: str | Path, *, dpi: int = 100) -> Path:
        """Write a PNG or SVG: images, attributions, each attack's images and what it changed.

        By the reference, at each attack's largest epsilon. Returns the path.
        """
        from bridge.report.figures import write_panels

        return write_panels(self, path, dpi=dpi)

    def report(self, path: str | Path = "report.html", **options: Any) -> Path:
        """Write a report to send on: `.html`, `.md`, `.tex`, `.pdf`, or a folder with everything.

        See `bridge.report.report` for the options. Returns the path.
        """
        from bridge.report import report

        return report(self, path, **options)

    def explore(self, model: Any = None, *, port: int = 0, browser: bool = True) -> Any:
        """A live page of these images on this machine: move a parameter, and the maps follow.

        `model` is the adapter, module or source that was compared; without it the run's own is
        loaded by its name. Returns the `Page`, with its `url` and `stop()`. Needs the extra
        `explore`. Raises ValueError for a model that cannot be loaded, or does not fit.
        """
        from bridge.core.preflight import check_model
        from bridge.explore.opened import Model
        from bridge.explore.serving import Page, opened_run
        from bridge.study.compare import compare

        if isinstance(model, str):
            opened = opened_run(self, model=Model(model))
        else:
            opened = opened_run(self, adapter=None if model is None else check_model(model))
        page = Page(opened, compare, port=port).start()
        return page.show() if browser else page

    def _repr_html_(self) -> str:
        """The verdict, the first images with each method's picture, and the agreement."""
        from bridge.core.notebook import gallery, pictures
        from bridge.report import fragment

        columns = {"image": pictures("", self.x[:PICTURED])[0]}
        for name, key in self.chosen().items():
            columns[name] = pictures(name, self.outputs[key][:PICTURED])[0]
        return fragment(self) + gallery(columns)

    def __str__(self) -> str:
        """All tables for a terminal, verdicts first; needs no knowledge of the project."""
        blocks = [block(table, view) for table, view in self.views()]
        return "\n\n".join(["\n".join(self.first_lines()), *blocks])

    def first_lines(self) -> list[str]:
        """The verdict, and what must be known before it where the run is not whole."""
        known, verdict = self.preamble(), headline(self.agreement)
        return [verdict, *known] if self.finished else [known[0], verdict, *known[1:]]
