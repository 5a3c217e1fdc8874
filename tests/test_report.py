"""The report: complete without a network, hostile names are text; it works in a real browser."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import bridge
from bridge.cli import main
from bridge.report import report
from bridge.report.overview import verdicts
from bridge.report.page import page
from bridge.report.pictures import gallery
from bridge.report.text import markdown
from bridge.tables import Column, _table, table
from bridge.tables.agreement import agreement

EVIL = "<img src=x onerror=\"document.title='owned'\">"
BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)


def wrong(model, x, labels, *, epsilon):
    return (x + epsilon / 2).clamp(0, 1)


def unlucky(model, x, labels, *, epsilon):
    raise RuntimeError(f"could not open {EVIL}")


@pytest.fixture(scope="module")
def run() -> bridge.Comparison:
    """A small comparison with a disagreement, a failure, and names that would like to run."""
    model = bridge.load_model("zoo:fashion_cnn", class_names=[EVIL, *"bcdefghij"])
    x, labels = bridge.load_batch("samples:fashion_mnist", 8)
    labels[0] = 0  # called EVIL, and predicted as another
    wrong.__name__ = "mine & <b>yours</b>"
    return bridge.compare(
        model,
        x,
        labels,
        methods=[
            "saliency",
            "layer_gradcam",
            "input_x_gradient",
            "fgsm",
            "pgd",
            "uniform_noise_linf",
        ],
        functions={"fgsm": [wrong, unlucky]},
        params={"pgd": {"steps": 5}},
        epsilons=[4 / 255, 24 / 255],
        repeats=1,
        progress=False,
    )


@pytest.fixture(scope="module")
def written(run, tmp_path_factory) -> Path:
    return run.report(tmp_path_factory.mktemp("report") / "report.html")


class Reader(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_is_fetched_from_anywhere(written):
    reader = Reader(written.read_text())
    links = [
        v
        for _, attributes in reader.tags
        for k, v in attributes.items()
        if k in ("src", "href", "srcset", "action")
    ]
    assert links
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in links)
    assert "http://" not in written.read_text()
    assert "https://" not in written.read_text()
    (policy,) = [
        a["content"] for t, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_hostile_names_and_messages_are_text(written):
    reader = Reader(written.read_text())
    assert not [t for t, attributes in reader.tags if "onerror" in attributes or t == "b"]
    assert not [
        t for t, attributes in reader.tags if "style" in attributes
    ]  # the policy would refuse it
    assert f"could not open {EVIL}" in reader.text
    assert "mine & <b>yours</b>" in reader.text


def test_the_verdict_comes_first_and_the_worst_disagreement_is_named(run, written):
    text = Reader(written.read_text()).text
    assert "of 13 pairs are equal to the reference or within rounding" in text
    assert re.findall(r'<h2 id="run0-([\w-]+)-h"', written.read_text()) == [
        "gallery",
        "table-runtime",
        "table-agreement",
        "table-attacks",
        "table-similarity",
        "table-shift",
        "table-robustness",
        "table-failures",
        "card",
        "again",
    ]
    assert re.search(r"mine & <b>yours</b>'s fgsm differs on \d+ images", text)
    assert "bridge.compare(model, x, labels" in text  # how to make it again


def test_every_number_of_the_page_is_the_tables(run, written):
    text = Reader(written.read_text()).text
    for row in run.attacks.itertuples():
        assert f"{row.success:.0%}" in text
    for row in run.runtime.itertuples():
        assert f"{1000 * row.seconds:.1f}" in text
    for row in run.shift.itertuples():
        assert f"{row.spearman:.2f} " in text
    for row in run.similarity.itertuples():
        assert f"{row.ssim:.2f}" in text
    for row in run.agreement.itertuples():
        assert f"{row.gap:.1e}" in text or row.verdict == "failed"


def test_a_new_table_shows_up_everywhere(run, tmp_path, monkeypatch):
    monkeypatch.setattr(_table, "_TABLES", dict(_table._TABLES))
    monkeypatch.setattr("bridge.report.write_figures", lambda *_, **__: [])
    table(
        "deletion",
        heading=f"Deletion {EVIL}",
        columns=[Column("method"), Column("auc", heading="AUC", format=".3f", better="lower")],
        note="Area under the curve.",
    )
    frame = pd.DataFrame({"method": ["saliency", "pgd"], "auc": [0.25, None]})
    stranger = pd.DataFrame({"of": ["nobody"], "value": [1 / 3]})
    tables = {**run.tables, "deletion": frame, "from a plug-in": stranger}
    folder = dataclasses.replace(run, tables=tables).report(tmp_path / "all")
    text = (folder / "report.html").read_text()
    headings = re.findall(r'<h2 id="run0-table-([\w-]+)-h"', text)
    ours = ["runtime", "agreement", "attacks", "similarity", "shift", "robustness"]
    assert headings == [*ours, "deletion", "7", "failures"]
    assert "0.250" in Reader(text).text
    assert "0.3333" in Reader(text).text
    assert not [t for t, attributes in Reader(text).tags if "onerror" in attributes]
    markdown = (folder / "report.md").read_text()
    assert "Area under the curve.\n\n| method | AUC ↓ |\n| --- | ---: |" in markdown
    assert "| saliency | 0.250 |\n| pgd |  |" in markdown
    assert r"saliency & 0.250 \\" in (folder / "tables.tex").read_text()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "deletion.csv"), frame)
    assert (folder / "tables" / "from_a_plug-in.parquet").is_file()


def test_a_saved_run_reports_what_the_run_itself_does(run, tmp_path):
    folder = run.save(tmp_path / "run")
    assert list(gallery(bridge.Comparison.load(folder))) == list(gallery(run))


def test_a_run_of_an_older_version_opens_without_what_it_lacks(run, tmp_path):
    folder = run.save(tmp_path / "run")
    manifest = json.loads((folder / "run.json").read_text())
    manifest.pop("tables", None)  # older ones did not list them
    (folder / "run.json").write_text(json.dumps(manifest))
    for name in ("similarity", "shift", "predictions"):
        (folder / f"{name}.parquet").unlink()
    text = report(folder, tmp_path / "report.html").read_text()
    assert "run0-table-runtime" in text
    assert "run0-table-similarity" not in text
    assert len([t for t, _ in Reader(text).tags if t == "image"]) == 8 * (1 + 3 + 2 * 3)
    assert report(folder, tmp_path / "report.md").is_file()


def test_every_image_has_its_maps_attacks_and_changes_with_alternative_texts(run, written):
    tags = Reader(written.read_text()).tags
    images = [a for t, a in tags if t == "image"]
    assert len(images) == 8 * (1 + 3 + 2 * 3)
    assert len({a["id"] for a in images}) == len(images)
    shown = [a for t, a in tags if t == "svg" and "pic" in str(a.get("class"))]
    # The image stands again before each attack's, and one of them all on the first screen.
    assert len(shown) == len(images) + 8 * 3 + (1 + 3 + 2)
    assert all(a["role"] == "img" and a["aria-label"] for a in shown)
    again = [a["href"] for t, a in tags if t == "use"]
    assert {str(link).removeprefix("#") for link in again} <= {a["id"] for a in images}
    # Nothing waits to be scrolled to: what is printed or captured whole has it all.
    assert not [t for t, a in tags if a.get("loading")]
    assert "content-visibility: auto" not in written.read_text()


def test_the_default_size_stays_small(written):
    assert written.stat().st_size < 400_000


def test_two_runs_stand_side_by_side_with_their_differences_marked(run, tmp_path):
    verdicts = run.agreement["verdict"].where(run.agreement["method"] != "saliency", "differs")
    changed_tables = {**run.tables, "agreement": run.agreement.assign(verdict=verdicts)}
    other = dataclasses.replace(run, tables=changed_tables)
    text = page({"before": run, "after": other})
    reader = Reader(text)
    changed = [a for t, a in reader.tags if t == "tr" and a.get("class") == "changed"]
    assert len(changed) == len(run.agreement.query("method == 'saliency'"))
    assert "before: verdict" in reader.text
    assert "before: verdict" in markdown({"before": run, "after": other})
    assert len({a["id"] for _, a in reader.tags if "id" in a}) == sum(
        "id" in a for _, a in reader.tags
    )


def test_the_command_line_reads_run_directories(run, tmp_path):
    run.save(tmp_path / "first")
    run.save(tmp_path / "second")
    runner = CliRunner()
    out = tmp_path / "both.html"
    done = runner.invoke(
        main, ["report", str(tmp_path / "first"), str(tmp_path / "second"), "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "side by side" in out.read_text()
    assert runner.invoke(main, ["report", str(tmp_path / "none"), "-o", str(out)]).exit_code == 2
    assert (
        runner.invoke(main, ["report", str(tmp_path / "first"), "-o", "report.docx"]).exit_code == 2
    )


def test_a_folder_holds_everything(run, tmp_path):
    folder = run.report(
        tmp_path / "all", metrics={"my metric": pd.DataFrame({"name": [EVIL], "value": [0.5]})}
    )
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert {
        "report.html",
        "report.md",
        "tables.tex",
        "tables/agreement.csv",
        "tables/my_metric.parquet",
    } <= names
    assert {
        "figures/panels.svg",
        "figures/runtime.svg",
        "figures/robust_accuracy.png",
        "figures/similarity.svg",
    } <= names
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "tables" / "runtime.parquet"), run.runtime
    )
    assert len(pd.read_csv(folder / "tables" / "attacks.csv")) == len(run.attacks)
    assert "my metric" in Reader((folder / "report.html").read_text()).text


def test_markdown_shows_tables_and_links_pictures(run, tmp_path):
    path = run.report(tmp_path / "report.md")
    text = path.read_text()
    assert "<img" not in text
    assert "| saliency | equal | equal |" in text
    for link in re.findall(r"!\[\w+\]\((.+?)\)", text):
        assert (tmp_path / link).is_file()
    assert "![panels]" in text


def test_latex_is_booktabs_and_escaped(run, tmp_path):
    text = run.report(tmp_path / "tables.tex").read_text()
    assert (
        text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\begin{table}") >= 4
    )
    assert r"input\_x\_gradient" in text
    assert r"mine \& \textless{}b\textgreater{}yours" in text  # so is the name of a function
    assert not re.search(r"(?<!\\)_", text.replace("booktabs", ""))


def test_a_notebook_shows_the_verdict_and_the_matrix(run):
    shown = run._repr_html_()
    assert "<strong>" in shown
    assert "<b>yours" not in shown
    assert "saliency" in shown


def test_reports_say_what_makes_no_sense(run, tmp_path):
    with pytest.raises(ValueError, match=r"unknown kind of report '.docx'"):
        run.report(tmp_path / "report.docx")
    with pytest.raises(ValueError, match="no complete run directory"):
        report(tmp_path / "nowhere", tmp_path / "report.html")
    with pytest.raises(ValueError, match="no run to report"):
        report([], tmp_path / "report.html")


def test_without_a_browser_a_pdf_is_refused_in_words(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="printed by a browser"):
        run.report(tmp_path / "report.pdf")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, written) -> Iterator[Any]:
    """The page in a browser whose network is cut; it must not complain."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab, complaints, requests = context.new_page(), [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(written.as_uri())
    yield tab
    assert not complaints
    assert not [url for url in requests if not url.startswith(("file:", "data:"))]
    context.close()


DECODED = "Promise.all([...document.querySelectorAll('.row image')].map((each) => each.decode()))"


def eventually(tab: Any, condition: str) -> None:
    """Wait until it is so.

    Playwright's own waiting evaluates a string in the page, which the page's policy refuses.
    """
    for _ in range(100):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never so: {condition}")


def test_the_page_is_complete_with_the_network_cut(opened):
    assert (
        opened.title() == "Attributions and attacks, cross-checked"
    )  # and nothing of EVIL has run
    opened.evaluate("document.querySelector('.gallery').scrollIntoView()")
    opened.evaluate(DECODED)  # fails where one of them is no picture
    assert opened.evaluate("document.documentElement.scrollWidth") <= 1280


def test_tables_sort_by_a_click_and_say_so(opened, run):
    opened.locator("#run0-table-runtime summary").click()
    table = opened.locator("#run0-table-runtime details table")
    table.locator("th button", has_text="ms").first.click()
    column = [float(t) for t in table.locator("tbody tr td:nth-child(4)").all_inner_texts()]
    assert len(column) == len(run.runtime)
    assert column == sorted(column)
    assert table.locator("th[aria-sort=ascending]").count() == 1
    table.locator("th button", has_text="ms").first.click()
    column = [float(t) for t in table.locator("tbody tr td:nth-child(4)").all_inner_texts()]
    assert column == sorted(column, reverse=True)


@pytest.mark.parametrize("clicks", [1, 2])
def test_what_is_sorted_are_values_and_empty_cells_come_last(opened, clicks):
    """Epsilons read 4/255 and 24/255, gaps 1.3e-04; a method without a twin has an empty cell."""
    table = opened.locator("#run0-table-attacks table").first
    for _ in range(clicks):
        table.locator("th button", has_text="epsilon").click()
    sizes = table.locator("tbody tr td:nth-child(3)").all_inner_texts()
    ascending = sorted(sizes, key=lambda text: int(text.removesuffix("/255")))
    assert sizes == ascending[:: 1 if clicks == 1 else -1]
    table = opened.locator("#run0-table-runtime table.sortable").first
    for _ in range(clicks):
        table.locator("th button", has_text="captum").first.click()
    column = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
    known = [float(text) for text in column if text]
    assert len(known) == 3
    assert column[3:] == [""] * 3
    assert known == sorted(known, reverse=clicks == 2)


def test_filters_show_what_was_asked_for(opened, run):
    form = opened.locator(".filters")
    form.locator("[name=right]").select_option("no")
    wrong_now = int(
        (
            run.predictions.query("method == 'clean'")["predicted"].to_numpy() != run.labels.numpy()
        ).sum()
    )
    assert opened.locator(".row:visible").count() == wrong_now >= 1
    assert f"{wrong_now} of 8 images" in form.inner_text()
    form.locator("[name=right]").select_option("")
    form.locator("[name=class]").select_option(EVIL)
    assert opened.locator(".row:visible").count() == 1
    form.locator("[name=class]").select_option("")
    form.locator("[name=fooled]").select_option("pgd")
    fooled = opened.locator(".row:visible")
    assert 0 < fooled.count() < 8
    assert all("pgd" in text for text in fooled.locator("h3").all_text_contents())
    form.locator("[name=fooled]").select_option("")
    form.locator("[name=kind]").select_option("=saliency")
    assert opened.locator(".row").first.locator(".cell:visible").count() == 2
    form.locator("[name=kind]").select_option("")
    form.locator("[name=sort]").select_option("confidence")
    order = [float(r.get_attribute("data-confidence")) for r in opened.locator(".row").all()]
    assert order == sorted(order)
    opened.locator("[name=mark]").select_option("differs")
    # fgsm by the wrong function, the noise by Foolbox
    assert opened.locator("#run0-table-agreement .tips tbody tr:visible").count() == 2


def test_the_slider_lays_the_maps_over_their_image(opened):
    map_ = "document.querySelector('.row .cell.map svg')"
    image = opened.locator(".row").first.locator(".cell.image image").get_attribute("id")
    assert opened.evaluate(f"{map_}.querySelector('use').getAttribute('href')") == f"#{image}"
    assert opened.evaluate(f"getComputedStyle({map_}.lastElementChild).mixBlendMode") == "multiply"
    for percent in (40, 0):
        opened.locator("[name=under]").fill(str(percent))
        opacity = opened.evaluate(f"getComputedStyle({map_}.querySelector('use')).opacity")
        assert float(opacity) == percent / 100


def test_the_gap_shows_on_hover_and_on_focus(opened):
    cell = opened.locator(".tips button.v").first
    tip = cell.locator(".tip")
    assert not tip.is_visible()
    cell.hover()
    assert tip.is_visible()
    opened.mouse.move(0, 0)
    cell.focus()
    assert tip.is_visible()
    assert "noise floor" in tip.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, written, scheme):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text()
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    tab = context.new_page()
    tab.goto(written.as_uri())
    tab.evaluate(source)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    found = tab.evaluate("axe.run()")["violations"]
    serious = [
        f"{v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious, serious
    context.close()


@pytest.mark.parametrize("runs", [1, 2])
def test_a_phone_needs_no_sideways_scrolling(browser, run, tmp_path, runs):
    """Neither do long names: those of methods, images and titles break where they must."""
    manifest = {**run.manifest, "model": {**run.manifest["model"], "class_names": ["x" * 200] * 10}}
    long = dataclasses.replace(run, manifest=manifest)
    path = tmp_path / "phone.html"
    report([long, run][:runs], path, title="A" * 300)
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    wide = "[...document.querySelectorAll('h1, h2, h3')].filter((e) => e.scrollWidth > innerWidth)"
    assert tab.evaluate(f"{wide}.length") == 0
    tab.close()


FIRST = {
    "the sentence": ".verdict-line",
    "accuracy": ".tiles",
    "the verdicts": ".verdicts",
    "what attacks leave": ".beside .charts",
    "a row of pictures": ".lead .cells",
}


def test_the_first_screen_of_a_laptop_has_the_result_in_five_parts(browser, written):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(written.as_uri())
    for what, selector in FIRST.items():
        box = tab.locator(selector).first.bounding_box()
        assert box["height"] > 20, what
        assert box["y"] + box["height"] <= 900, what
    tops = {round(cell.bounding_box()["y"]) for cell in tab.locator(".lead .cell").all()}
    assert len(tops) == 1
    assert "wrong" not in tab.locator(".verdicts").inner_text()  # words or signs: never only colour
    assert "differs" in tab.locator(".verdicts").inner_text()
    tab.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_an_image_its_adversarial_and_the_change_stand_on_one_line(browser, written, width):
    tab = browser.new_page(viewport={"width": width, "height": 900})
    tab.goto(written.as_uri())
    groups = tab.locator(".group").all()
    assert len(groups) == 8 * 3
    for group in groups:
        boxes = [cell.bounding_box() for cell in group.locator(".cell").all()]
        assert len(boxes) == 3
        assert len({round(box["y"]) for box in boxes}) == 1
        assert all(box["width"] > 90 for box in boxes)
    style = "getComputedStyle(document.querySelector('.group')).breakInside"
    assert tab.evaluate(style) == "avoid"
    tab.close()


def test_keys_go_from_image_to_image_and_to_the_filters(opened):
    def here() -> str | None:
        return opened.evaluate("document.activeElement.closest('.row')?.dataset.index ?? null")

    opened.keyboard.press("ArrowRight")
    assert here() == "0"
    assert opened.locator(".row").first.bounding_box()["y"] < 300
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowLeft")
    assert here() == "1"
    for key in ("f", "/"):
        opened.keyboard.press(key)
        assert opened.evaluate("document.activeElement.name") == "class"
        opened.keyboard.press("Escape")
        assert here() == "1"
    opened.locator("[name=fooled]").select_option("*none")
    opened.locator("h1").click()
    unfooled = opened.locator(".row:visible").first.get_attribute("data-index")
    opened.keyboard.press("ArrowRight")
    assert here() == unfooled


def test_what_is_printed_is_all_of_it(browser, written):
    tab = browser.new_page(viewport={"width": 1000, "height": 700})
    tab.goto(written.as_uri())
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details").count() > 3
    assert tab.locator("details:not([open])").count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details[open]").count() == 0
    tab.emulate_media(media="print")
    assert tab.locator(".row:visible").count() == 8
    assert tab.locator(".row .pic:visible").count() == 8 * (1 + 3 + 3 * 3)
    assert not tab.locator(".filters").is_visible()
    tab.close()


def test_one_epsilon_has_bars_and_no_attack_has_similarities(run, tmp_path):
    one = run.attacks[run.attacks["epsilon"] < 10 / 255]
    text = page({"one": dataclasses.replace(run, tables={**run.tables, "attacks": one})})
    assert "fgsm, 4/255" in Reader(text).text
    assert 'class="bars"' in text
    none = {**run.tables, "attacks": run.attacks.iloc[:0]}
    maps = {key: output for key, output in run.outputs.items() if key[2] is None}
    text = page({"none": dataclasses.replace(run, tables=none, outputs=maps)})
    assert 'class="bars"' not in text
    assert text.count('class="heat"') == 2


def test_more_verdicts_than_have_room_become_signs_and_the_wrong_come_first(run, browser, tmp_path):
    many = pd.concat(
        run.agreement.assign(
            method=run.agreement["method"] + f"_{k}",
            implementation=run.agreement["implementation"] + by,
        )
        for k in range(12)
        for by in ("", "_too", "_as_well")
    )
    shown = verdicts(agreement.view(many))
    assert shown["signs"]
    assert sum(map(len, shown["blocks"])) + shown["left"] == many["method"].nunique()
    wrong = [
        name.rpartition("_")[0] in ("fgsm", "uniform_noise_linf")
        for name, _ in (row for block in shown["blocks"] for row in block)
    ]
    assert wrong == sorted(wrong, reverse=True)
    assert sum(wrong) == min(2 * 12, len(wrong))
    full = dataclasses.replace(run, tables={**run.tables, "agreement": many})
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(report(full, tmp_path / "many.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1440
    box = tab.locator(".lead .cells").bounding_box()
    assert box["y"] + box["height"] <= 1000  # the sentence is longer too
    assert tab.locator(".beside .charts").bounding_box()["width"] >= 240
    tab.close()


def test_two_runs_say_first_in_how_many_rows_they_differ(run):
    verdict = run.agreement["verdict"].where(run.agreement["method"] != "saliency", "differs")
    other = dataclasses.replace(
        run, tables={**run.tables, "agreement": run.agreement.assign(verdict=verdict)}
    )
    wrong = len(run.agreement.query("method == 'saliency'"))
    text = Reader(page({"before": run, "after": other})).text
    assert f"before, after: different verdicts or success in {wrong} of " in text
    assert "before, after: the same verdicts" in Reader(page({"before": run, "after": run})).text


def test_without_javascript_tables_and_pictures_are_there(browser, written):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(written.as_uri())
    assert tab.locator("#run0-table-agreement .tips tbody tr").count() == 6
    assert tab.locator(".row image").count() == 8 * 10
    assert tab.evaluate(DECODED) is not None
    assert not tab.locator(".filters").is_visible()
    context.close()


def test_the_first_paint_does_not_wait_for_the_pictures(browser, written):
    tab = browser.new_page()
    start = time.perf_counter()
    tab.goto(written.as_uri(), wait_until="commit")
    tab.wait_for_selector(".verdict-line")
    assert time.perf_counter() - start < 2
    tab.close()


@pytest.mark.slow
def test_two_hundred_images_with_ten_maps_fit_their_budget_and_paint_in_two_seconds(
    run, tmp_path, browser
):
    generator = torch.Generator().manual_seed(0)
    n, side = 200, 224
    # Photographs and maps are smooth, noise is what WebP cannot hold: a mixture of both.
    coarse = torch.rand(n, 3, 14, 14, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    grain = torch.randn(n, 3, side, side, generator=generator)
    x = (x + 0.02 * grain).clamp(0, 1)
    maps = {
        (f"map_{k}", "reference", None): (0.3 * grain[:, :1] * x[:, :1]).roll(k, 0)
        for k in range(10)
    }
    clean = pd.DataFrame(
        {
            "image": range(n),
            "label": 0,
            "method": "clean",
            "implementation": "model",
            "epsilon": None,
            "predicted": 0,
            "confidence": 0.9,
        }
    )
    large = bridge.Comparison(
        {**run.tables, "attacks": run.attacks.iloc[:0], "predictions": clean},
        x,
        torch.zeros(n, dtype=torch.int64),
        maps,
        run.manifest,
    )
    path = large.report(tmp_path / "large.html")
    assert path.stat().st_size < 35e6, path.stat().st_size
    tab = browser.new_page()
    tab.goto(path.as_uri(), wait_until="commit")
    eventually(tab, "performance.getEntriesByName('first-contentful-paint').length > 0")
    assert (
        tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") < 2000
    )  # milliseconds
    tab.close()


def test_a_pdf_is_printed_where_a_browser_is(run, tmp_path):
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    assert run.report(tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
