"""The report of a study: the summary first, few images of many, whole without a network."""

from __future__ import annotations

import dataclasses
import html
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bridge.report.study import report_study
from bridge.report.study.album import groups
from bridge.tables.study import Results, summary
from tests.statistics.studies import METHODS, drawn

EVIL = "<img src=x onerror=\"document.title='owned'\">"
CARD = {
    "created": "2026-01-01T00:00:00+00:00",
    "model": {"name": "net & co", "class": "Net", "bounds": [0.0, 1.0], "parameters": 1234},
    "images": {"shape": [1, 3, 12, 12]},
    "device": {"type": "cpu", "name": "x86"},
    "versions": {"torch": "2.0"},
}


@dataclass
class Drawn:
    """A study that never ran; it counts the pictures that it is asked for."""

    results: Results
    finished: bool = True
    proof: Any = None
    kept: bool = True
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["results"], name)

    @property
    def manifest(self) -> dict[str, Any]:
        names = [EVIL, *(f"class {i}" for i in range(1, 100))]
        card = {**CARD, "model": {**CARD["model"], "class_names": names}}
        configuration = {"seed": 3, "methods": {m: {} for m in METHODS}, "data": {"source": EVIL}}
        return {"card": card, "configuration": configuration, "labels": "given", "images": 400}

    def _drawn(self, *key: Any) -> torch.Tensor:
        self.asked.append(key)
        if not self.kept and key[0] != "image":
            raise ValueError(f"the {key[0]}s of this study were not kept")
        seed = int(self.results.images.set_index("id").loc[key[1], "index"])
        return torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(seed))

    def thumbnail(self, identity: str) -> torch.Tensor:
        return self._drawn("image", identity)

    def map(self, identity: str, method: str) -> torch.Tensor:
        return self._drawn("map", identity, method) - 0.5

    def adversarial(self, identity: str, method: str, epsilon: float | None = None) -> torch.Tensor:
        return (self._drawn("adversarial", identity, method, epsilon) + 0.1).clamp(0, 1)


@pytest.fixture(scope="module")
def study() -> Drawn:
    return Drawn(drawn(300))


@pytest.fixture(scope="module")
def written(study, tmp_path_factory) -> Path:
    return report_study(study, tmp_path_factory.mktemp("report") / "study.html")


def test_the_page_holds_the_summary_first_and_then_the_images(study, written):
    text = html.unescape(written.read_text())
    places = [
        text.index(f'id="{name}"')
        for name in ("table-accuracy", "table-worst_case", "table-failures", "agree", "contrast-l2")
    ]
    assert places == sorted(places)
    assert text.index("300 images, of which the model gets") < places[0]
    for table, view in summary(study).views():
        assert table.heading in text
        assert all(column.title in text for column in view.columns)


def test_the_page_fetches_nothing_and_runs_nothing_of_others(written):
    text = written.read_text()
    assert EVIL not in text
    assert "&lt;img src=x" in text
    assert "no image &lt;b&gt;at all&lt;/b&gt;" in text
    sources = re.findall(r'src="([^"]+)"', text)
    assert len(sources) > 60
    assert all(source.startswith("data:image/webp") for source in sources)
    assert "default-src 'none'" in text


def test_few_images_of_many_are_looked_at(tmp_path):
    many = Drawn(drawn(4000, classes=10))
    report_study(many, tmp_path / "study.html")
    looked = {key[1] for key in many.asked}
    assert 10 < len(looked) <= 6 * 2 + 3 + 2 * 2 * 6
    assert len(many.asked) == len(set(many.asked))  # and each picture is taken once
    assert (tmp_path / "study.html").stat().st_size < 2e6


def test_the_groups_show_what_they_say(study):
    found = {group.name: group for group in groups(study)}
    assert list(found) == ["agree", "disagree", "apart", "contrast-linf", "contrast-l2"]

    def said(name):
        return [float(strip.note.split()[-1]) for strip in found[name].strips]

    assert min(said("agree")) > max(said("disagree"))
    for strip in found["agree"].strips:
        assert [shot.name for shot in strip.shots] == ["image", *METHODS]
    for strip in found["contrast-linf"].strips:
        assert [shot.kind for shot in strip.shots] == ["image", "attack", "change"] * 2
        assert [shot.hit for shot in strip.shots if shot.kind == "attack"] == [True, False]


def test_what_was_not_kept_is_said_and_the_rest_is_shown(study, tmp_path):
    bare = Drawn(study.results, kept=False)
    text = report_study(bare, tmp_path / "bare.html").read_text()
    assert "Not shown, map: the maps of this study were not kept" in text
    assert 'class="cell image"' in text
    assert 'class="cell map' not in text


def test_without_pictures_no_image_is_looked_at(study, tmp_path):
    blind = Drawn(study.results)
    text = report_study(blind, tmp_path / "blind.html", pictures=False).read_text()
    assert blind.asked == []
    assert "<img" not in text


def test_an_unfinished_study_says_so_first(study, tmp_path):
    half = Drawn(study.results, finished=False)
    text = report_study(half, tmp_path / "half.html", pictures=False).read_text()
    assert 'class="verdict-line unfinished">UNFINISHED: 300 of 400 images so far.' in text


def test_a_folder_has_all_of_it(study, tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.report.study.groups", lambda of: groups(of, 1))
    folder = report_study(study, tmp_path / "all")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"report.html", "report.md", "tables.tex", "tables/worst_case.parquet"} <= there
    for name in ("accuracy_over_epsilon", "similarity", "agree", "apart", "contrast-linf"):
        assert {f"figures/{name}.png", f"figures/{name}.svg"} <= there
    found = summary(study)
    again = pd.read_parquet(folder / "tables" / "accuracy.parquet")
    pd.testing.assert_frame_equal(again, found.accuracy, check_dtype=False)
    assert len(pd.read_csv(folder / "tables" / "tests.csv")) == len(found.tests)
    markdown = (folder / "report.md").read_text()
    assert "![accuracy_over_epsilon](figures/accuracy_over_epsilon.png)" in markdown
    assert "| method |" in markdown
    assert "<img" not in markdown
    tex = (folder / "tables.tex").read_text()
    assert tex.count(r"\begin{table}") == tex.count(r"\end{table}") >= 10
    assert r"many\_steps" in tex


def test_the_first_screen_has_accuracy_curves_and_one_row_of_pictures(written):
    text = html.unescape(written.read_text())
    first = text[text.index('id="overview"') : text.index('id="table-accuracy"')]
    assert "right before any attack" in first
    assert "under the worst case at" in first
    assert 'class="chart"' in first
    kinds = re.findall(r'<figure class="cell (\w+)', first)
    assert kinds == ["image", *["map"] * len(METHODS), "image", "attack", "change"]
    # An image, its adversarial and the change are one group each time, and none waits for a scroll.
    later = text[text.index('id="contrast-linf"') :]
    groups = re.findall(r'<div class="group">(.+?)</div>', later, re.DOTALL)
    assert groups
    assert all(re.findall(r'"cell (\w+)', each) == ["image", "attack", "change"] for each in groups)
    assert 'loading="lazy"' not in text


def test_other_endings_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match=r"unknown kind of report '\.docx'"):
        report_study(study, tmp_path / "study.docx")


def test_a_study_of_attributions_alone_and_of_nothing(study, tmp_path):
    results = study.results
    alone = Drawn(dataclasses.replace(results, attacks=results.attacks.iloc[:0]))
    text = report_study(alone, tmp_path / "alone.html").read_text()
    assert 'id="agree"' in text
    assert 'id="contrast' not in text
    nothing = Drawn(Results(results.images.iloc[:0]))
    assert "0 images" in report_study(nothing, tmp_path / "nothing.html").read_text()


def test_the_page_fits_a_browser_and_axe_finds_no_serious_fault(tmp_path, monkeypatch):
    """Narrow and light, then wide and dark; the network is cut."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome is installed")
    monkeypatch.setattr("bridge.report.study.groups", lambda of: groups(of, 1))
    results = drawn(60, classes=2)
    few = results.attacks[results.attacks["method"].isin(["one_step", "many_steps"])]
    small = report_study(Drawn(dataclasses.replace(results, attacks=few)), tmp_path / "small.html")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=flags)
        for width, scheme in ((390, "light"), (1280, "dark")):
            size = {"width": width, "height": 900}
            context = chromium.new_context(viewport=size, color_scheme=scheme, offline=True)
            tab, complaints = context.new_page(), []
            tab.on("console", lambda message, to=complaints: to.append(message.text))
            tab.on("pageerror", lambda error, to=complaints: to.append(str(error)))
            tab.goto(small.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert not complaints
        tab.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text())
        found = tab.evaluate("axe.run()")["violations"]
        chromium.close()
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
