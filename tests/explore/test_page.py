"""The live page in a real browser, whose network is cut but for the page's own server."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bridge
from bridge.explore import Model, Opened
from bridge.explore.serving import TOKEN, Page

BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = "<img src=x onerror=\"document.title='owned'\">"
FASHION = Model("zoo:fashion_cnn", {"device": "cpu"})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Page]:
    page = Page(Opened(FASHION, "samples:fashion_mnist"), bridge.compare).start()
    yield page
    page.stop()


def visit(browser: Any, page: Page, **options: Any) -> tuple[Any, list[str]]:
    """The page in a tab that can reach nothing else, and what it complains of."""
    options = {"viewport": {"width": 1280, "height": 900}, **options}
    tab, complaints = browser.new_context(**options).new_page(), []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))

    def only_ours(route: Any) -> None:
        if route.request.url.startswith(page.url):
            route.continue_()
        else:
            complaints.append(f"it asked for {route.request.url}")
            route.abort()

    tab.route("**/*", only_ours)
    tab.goto(page.url)
    tab.locator("#why", has_text="rank correlation").wait_for(timeout=60_000)
    return tab, complaints


@pytest.fixture
def tab(browser, served) -> Iterator[Any]:
    found, complaints = visit(browser, served)
    yield found
    assert complaints == []
    found.context.close()


def pixels(tab: Any, canvas: str) -> str:
    """What a canvas shows."""
    return tab.evaluate(f"document.getElementById('{canvas}').toDataURL()")


def slide(tab: Any, box: str, name: str, value: str) -> None:
    tab.locator(f"#{box} input[type=range][name={name}]").evaluate(
        "(each, value) => { each.value = value; "
        "each.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


def changed(tab: Any, canvas: str, before: str) -> None:
    """Wait until a canvas shows something else."""
    for _ in range(300):
        if pixels(tab, canvas) != before:
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"{canvas} stays as it was")


def test_a_slider_moves_the_map_and_the_attack(tab):
    tab.select_option("#attribution", "integrated_gradients")
    tab.select_option("#attack", "pgd")
    tab.locator("#cost", has_text="52 forward").wait_for()
    before = pixels(tab, "clean-map")
    slide(tab, "attribution-controls", "baseline", "0.6")
    changed(tab, "clean-map", before)
    before = pixels(tab, "attacked-image")
    slide(tab, "attack-controls", "epsilon", str(32 / 255))
    changed(tab, "attacked-image", before)
    tab.locator("#change-says", has_text="32/255").wait_for()
    tab.get_by_text("another class").wait_for()


def test_what_the_mouse_shows_is_the_number(tab, fashion):
    before = pixels(tab, "clean-map")
    tab.select_option("#attribution", "saliency")
    changed(tab, "clean-map", before)
    model, x, labels = fashion
    map_ = bridge.run("saliency", model, x[:1], labels[:1], implementation="fused").output[0, 0]
    box = tab.locator("#clean-map").bounding_box()
    cell = box["width"] / 28
    tab.mouse.move(box["x"] + 20.5 * cell, box["y"] + 14.5 * cell)
    text = tab.inner_text("#value")
    assert text.startswith("row 14, column 20: map ")
    said = float(text.split("map ")[1].split(",")[0])
    assert said == pytest.approx(float(map_[14, 20]), rel=1e-4)


def test_a_click_covers_and_the_logit_moves(tab):
    box = tab.locator("#clean-image").bounding_box()
    before = pixels(tab, "clean-image")
    tab.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.6)
    tab.locator("#clean-says", has_text="the logit of Ankle boot (9) moves").wait_for()
    assert pixels(tab, "clean-image") != before
    assert tab.locator("#cover-row").input_value() == "16"
    tab.click("#uncover")
    tab.locator("#clean-head", has_text=re.compile("^image$")).wait_for()
    assert pixels(tab, "clean-image") == before


def test_a_dropped_file_is_looked_at_and_a_broken_one_is_refused(browser, served, tmp_path):
    tab, complaints = visit(browser, served)
    square = np.zeros((60, 60, 3), dtype=np.uint8)
    square[20:40, 20:40] = 200
    Image.fromarray(square).save(tmp_path / "mine.png")
    tab.set_input_files("#file", str(tmp_path / "mine.png"))
    tab.locator("#clean-says", has_text="no label").wait_for()
    assert tab.locator("#data option:checked").inner_text() == "mine.png"
    assert complaints == []
    (tmp_path / "broken.png").write_bytes(b"no image")
    tab.set_input_files("#file", str(tmp_path / "broken.png"))
    tab.locator("#wrong", has_text="broken.png is not a readable image").wait_for()
    tab.context.close()


def test_verdicts_and_texts_come_on_demand(tab):
    tab.select_option("#attribution", "saliency")
    tab.select_option("#attack", "fgsm")
    tab.click("#check")
    tab.locator("#lights", has_text="captum: equal").wait_for(timeout=60_000)
    tab.click("#copy-python")
    text = tab.locator("#text")
    text.wait_for()
    assert "bridge.run('fgsm'" in text.inner_text()
    tab.click("#copy-command")
    tab.locator("#text", has_text="gradbridge explore").wait_for()
    slide(tab, "attack-controls", "epsilon", "0.1")
    assert text.is_hidden()  # it would be of what was seen before
    assert tab.inner_text("#lights") == ""


def test_hostile_names_are_text(browser, tmp_path, fashion):
    model, x, labels = fashion
    names = [f"{EVIL}{k}" for k in range(10)]
    named = bridge.wrap(model.module, mean=model.mean, std=model.std, class_names=names, name=EVIL)
    c = bridge.compare(named, x, labels, methods=["saliency"], judged=0, progress=False)
    page = Page(Opened(Model(EVIL, given=named), run=c, folder=EVIL), bridge.compare).start()
    tab, complaints = visit(browser, page)
    file = io.BytesIO()
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(file, "PNG")
    tab.set_input_files(
        "#file", {"name": f"{EVIL}.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    tab.locator("#clean-says", has_text="no label").wait_for()
    assert EVIL in tab.inner_text("#clean-says")
    assert EVIL in tab.inner_text("#what")
    assert EVIL in tab.inner_text("#data")
    assert tab.locator("img[src=x]").count() == 0
    assert tab.title() == "explore: maps and attacks"
    assert complaints == []
    tab.context.close()
    page.stop()


def test_a_server_that_stops_is_noticed_and_comes_back(browser, monkeypatch):
    first = Page(Opened(FASHION, "samples:fashion_mnist"), bridge.compare).start()
    tab, _ = visit(browser, first)
    first.stop()
    slide(tab, "attack-controls", "epsilon", "0.1")
    tab.locator("#gone", has_text="does not answer").wait_for()
    monkeypatch.setenv(TOKEN, first.token)
    opened = Opened(FASHION, "samples:fashion_mnist")
    second = Page(opened, bridge.compare, port=first.port).start()
    assert second.url == first.url
    tab.locator("#gone").wait_for(state="hidden")
    tab.locator("#change-says", has_text="size 25.5/255").or_(
        tab.locator("#change-says", has_text="size 0.1")
    ).wait_for()
    second.stop()
    tab.context.close()


def test_another_server_in_its_place_is_noticed(browser):
    first = Page(Opened(FASHION, "samples:fashion_mnist"), bridge.compare).start()
    tab, _ = visit(browser, first)
    first.stop()
    second = Page(Opened(FASHION, "samples:fashion_mnist"), bridge.compare, port=first.port).start()
    slide(tab, "attack-controls", "epsilon", "0.1")
    tab.locator("[role=alert]", has_text="the token in the address is not this server's").wait_for()
    second.stop()
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, served, scheme):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    source = (Path(axe.__file__).parent / "axe.min.js").read_text()
    tab, _ = visit(browser, served, color_scheme=scheme, bypass_csp=True)
    tab.locator("#clean-image").click()
    tab.click("#check")
    tab.locator("#lights", has_text="equal").wait_for(timeout=60_000)
    tab.click("#copy-python")
    tab.locator("#text").wait_for()
    tab.evaluate(source)
    found = tab.evaluate("axe.run()")["violations"]
    serious = [
        f"{v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious, serious
    tab.context.close()


@pytest.mark.parametrize("width", [390, 1024])
def test_a_phone_needs_no_sideways_scrolling(browser, served, width):
    tab, complaints = visit(browser, served, viewport={"width": width, "height": 844})
    tab.locator("#clean-image").click()
    tab.click("#copy-command")
    tab.locator("#text").wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    tab.context.close()


def test_a_run_opens_with_its_verdicts(browser, fashion, tmp_path):
    model, x, labels = fashion
    c = bridge.compare(model, x, labels, methods=["saliency", "fgsm"], progress=False)
    page = c.explore(model, browser=False)
    tab, complaints = visit(browser, page)
    assert tab.locator("#data option:checked").inner_text() == "the run's own images"
    assert "captum: equal" in tab.inner_text("#lights")
    tab.click("#next")
    tab.locator("#strip button[aria-pressed=true][value='1']").wait_for()
    assert complaints == []
    assert torch.equal(c.x, x)
    tab.context.close()
    page.stop()
