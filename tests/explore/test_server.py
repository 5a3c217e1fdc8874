"""The server of the live page: who may ask, what is refused, and that what is seen is exact."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shlex
import struct
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

import bridge
from bridge.cli import main
from bridge.core.registry import get
from bridge.explore import Model, Opened, View
from bridge.explore import opened as limits
from bridge.explore.app import app
from bridge.explore.seen import Eye

PORT = 8123
TOKEN = "t" * 32
OURS = f"http://127.0.0.1:{PORT}"
FASHION = Model("zoo:fashion_cnn", {"device": "cpu"})


def client(opened: Opened, **headers: str) -> TestClient:
    guarded = app(opened, None, bridge.compare, TOKEN, PORT)
    return TestClient(guarded, base_url=f"{OURS}/{TOKEN}/", headers=headers)


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened(FASHION, "samples:fashion_mnist")


@pytest.fixture
def page(opened) -> TestClient:
    return client(opened)


@pytest.fixture(scope="module")
def view() -> dict[str, Any]:
    return {
        "model": "zoo:fashion_cnn",
        "data": "samples:fashion_mnist",
        "image": 3,
        "attribution": "integrated_gradients",
        "attack": "pgd",
        "params": {
            "integrated_gradients": {"n_steps": 7, "baseline": 0.25},
            "pgd": {"steps": 3, "epsilon": 0.05, "step_size": 0.02},
        },
        "target": 7,
        "cover": {"row": 12, "column": 3, "size": 5, "baseline": 0.5},
        "seed": 4,
    }


def asked(page: TestClient, what: str, view: Any, **more: Any) -> Any:
    return page.post(what, json={"view": view, **more})


def block(answer: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The facts and the arrays of an answer."""
    assert answer.status_code == 200, answer.text
    (length,) = struct.unpack("<I", answer.content[:4])
    header = json.loads(answer.content[4 : 4 + length])
    place, arrays = 4 + length, {}
    for name, shape in header["arrays"].items():
        count = int(np.prod(shape))
        values = np.frombuffer(answer.content, "<f4", count, place).reshape(shape).copy()
        arrays[name], place = torch.from_numpy(values), place + 4 * count
    assert place == len(answer.content)
    return header["facts"], arrays


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# Who may ask.


@pytest.mark.parametrize(
    "headers",
    [
        {"host": f"evil.example:{PORT}"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_pages_and_other_names_are_refused(page, view, headers):
    for answer in (
        page.get("", headers=headers),
        page.get("alive", headers=headers),
        page.post("clean", json={"view": view}, headers=headers),
    ):
        assert answer.status_code == 403
        assert "message" in answer.json()


def test_without_the_token_nothing_is_answered(page):
    for path in ("/", "/alive", "/offer", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "//alive", "/é/"):
        assert page.get(f"{OURS}{path}").status_code == 403, path
    assert page.get("").status_code == 200
    assert page.get("alive", headers={"origin": OURS}).status_code == 200


def test_every_answer_forbids_what_the_page_does_not_need(page):
    for answer in (page.get(""), page.get("alive"), page.get(f"{OURS}/"), page.get("nothing")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
    text = page.get("").text
    assert "://" not in text  # nothing from elsewhere
    assert "style=" not in text


# What may be looked at.


@pytest.mark.parametrize(
    "path", ["../bridge/__init__.py", "%2e%2e/app.py", "app.py", "/etc/passwd"]
)
def test_no_file_can_be_reached(page, path):
    answer = page.get(f"{OURS}/{TOKEN}/{path}")
    assert answer.status_code in (403, 404, 405)  # 403 where the client walked up by itself
    assert "import" not in answer.text


@pytest.mark.parametrize(
    "data", ["folder:/", "npz:/etc/passwd", "file:/etc/hostname", "run", "..", ""]
)
def test_images_that_were_not_opened_cannot_be_reached(page, view, data):
    answer = asked(page, "clean", {**view, "data": data})
    assert answer.status_code == 400
    assert "was not opened" in answer.json()["message"]
    named = page.get("thumbnail", params={"model": view["model"], "data": data, "index": 0})
    assert named.status_code == 400


@pytest.mark.parametrize("model", ["python:/tmp/evil.py:main", "torchscript:/x.pt", "zoo:nothing"])
def test_models_that_were_not_opened_cannot_be_loaded(page, view, model):
    answer = asked(page, "clean", {**view, "model": model})
    assert answer.status_code == 400
    assert "was not opened" in answer.json()["message"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"attribution": "salience"}, "did you mean saliency"),
        ({"attack": "saliency"}, "is an attribution, expected an attack"),
        ({"params": {"pgd": {"stepps": 3}}}, "pgd has no parameter 'stepps'"),
        ({"params": {"pgd": {"steps": 0}}}, "steps must be a whole number of 1 or more"),
        ({"params": {"pgd": {"epsilon": [0.1, 0.2]}}}, "epsilon must be a number"),
        ({"params": {"integrated_gradients": {"method": "x"}}}, "unknown method 'x'"),
        ({"params": 3}, "expected parameters by method"),
        ({"image": 20}, "image 20 of 20"),
        ({"image": -1}, "image must be a whole number"),
        ({"target": 10}, "the model has 10 classes"),
        ({"target": "mine"}, "expected 'label', 'predicted'"),
        ({"layer": "features.nothing"}, "features.nothing"),
        ({"cover": {"row": 1}}, "expected row, column, size"),
        ({"seed": -1}, "seed must be"),
        ({"colour": "red"}, "a view has no 'colour'"),
        ({"attribution": "attention_rollout"}, "looks at attention"),
    ],
)
def test_a_view_that_makes_no_sense_is_refused_in_words(page, view, change, text):
    answer = asked(page, "clean", {**view, **change})
    if answer.status_code == 200:
        answer = asked(page, "attacked", {**view, **change})
    assert answer.status_code == 400
    assert text in answer.json()["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"view": []}', b"[" * 30000, b'{"view":{}}'])
def test_a_request_that_is_none_is_refused_in_words(page, body):
    answer = page.post("clean", content=body)
    assert answer.status_code == 400
    assert answer.json()["message"]


def test_a_request_that_is_too_long_is_not_read(page):
    assert page.post("clean", content=b" " * 70_000).status_code == 413
    assert page.post("clean", content=(b" " * 9_000 for _ in range(9))).status_code == 413
    assert page.post("nothing", json={}).status_code == 404


# Images that are dropped.


def test_a_dropped_image_is_what_a_file_is(page, view, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    (tmp_path / "é ' <b>.png").write_bytes(png(pixels))
    answer = page.post("upload", params={"name": "../../é ' <b>.png"}, content=png(pixels))
    key = answer.json()["data"]
    _, arrays = block(asked(page, "image", {**view, "data": key, "image": 0, "target": "label"}))
    path = tmp_path / "é ' <b>.png"
    (x, _) = bridge.load_data(f"file:{path}", size=28, channels=1)[0]
    assert torch.equal(arrays["x"], x)
    said = page.get("offer", params={"data": key}).json()["datas"]
    assert {"key": key, "name": "é ' <b>.png"} in said  # the name, without its folders
    again = page.post("upload", params={"name": "x"}, content=png(pixels))
    assert again.json()["data"] == key


def test_what_is_dropped_is_limited_and_decoded_as_files_are(page, monkeypatch):
    image = png(np.zeros((100, 100), dtype=np.uint8))

    def refused(content: bytes) -> str:
        answer = page.post("upload", params={"name": "mine.png"}, content=content)
        assert answer.status_code in (400, 413)
        return str(answer.json()["message"])

    assert "not a readable image" in refused(b"no image at all")
    assert "not a readable image" in refused(image[: len(image) // 2])
    assert "not a readable image" in refused(b"")
    assert "transparency" in refused(png(np.zeros((4, 4, 4), dtype=np.uint8)))
    assert "not a readable image" in refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    monkeypatch.setattr(limits, "PIXELS", 9_999)
    assert "more than the 9,999" in refused(image)
    assert "bytes" in refused(b"x" * (limits.BYTES + 1))


# What is seen.


def test_maps_and_attacks_are_the_engines_own(page, view, fashion):
    model = fashion[0]
    x, labels = bridge.load_batch("samples:fashion_mnist", 4)
    x, labels, target = x[3:], labels[3:], torch.tensor([7])
    given = view["params"]
    map_ = bridge.run(
        "integrated_gradients",
        model,
        x,
        target,
        implementation="fused",
        seed=4,
        **given["integrated_gradients"],
    ).output
    adversarial = bridge.run(
        "pgd", model, x, labels, implementation="fused", seed=4, **given["pgd"]
    ).output
    facts, arrays = block(asked(page, "clean", view))
    assert torch.equal(arrays["map"], map_.sum(1)[0])
    assert facts["label"] == int(labels)
    assert facts["classes"]["predicted"] == int(model(x).argmax())
    assert {row["class"] for row in facts["classes"]["rows"]} >= {7, int(labels)}
    facts, arrays = block(asked(page, "attacked", view))
    assert torch.equal(arrays["adversarial"], adversarial[0])
    assert facts["linf"] <= 0.05 + 1e-6
    assert facts["fooled"] == bool(model(adversarial).argmax() != model(x).argmax())


def test_the_shift_is_that_of_the_table(page, view, fashion):
    x, labels = bridge.load_batch("samples:fashion_mnist", 4)
    found = bridge.compare(
        fashion[0],
        x[3:],
        labels[3:],
        methods=["saliency", "fgsm"],
        params={"fgsm": {"epsilon": 0.05}},
        judged=0,
        progress=False,
    ).shift
    plain = {**view, "attribution": "saliency", "attack": "fgsm", "target": "label"}
    plain["params"] = {"fgsm": {"epsilon": 0.05}}
    facts, _ = block(asked(page, "attacked", plain))
    (row,) = found.to_dict("records")
    assert facts["shift"]["spearman"] == pytest.approx(row["spearman"], abs=1e-12)
    assert facts["shift"]["top10_iou"] == pytest.approx(row["top10_iou"], abs=1e-12)


def test_a_covered_square_moves_the_logit(page, view, fashion):
    x, _ = bridge.load_batch("samples:fashion_mnist", 4)
    facts, arrays = block(asked(page, "covered", view))
    hidden = x[3:].clone()
    hidden[:, :, 10:15, 1:6] = 0.5
    assert torch.equal(arrays["x"], hidden[0])
    with torch.no_grad():
        before, after = (fashion[0](each)[0, 7] for each in (x[3:], hidden))
    assert (facts["before"], facts["after"]) == (float(before), float(after))
    edge = {**view, "cover": {"row": 0, "column": 27, "size": 40}}
    assert (block(asked(page, "covered", edge))[1]["x"][0, :20, 7:] == 0).all()
    assert asked(page, "covered", {**view, "cover": None}).status_code == 400
    outside = {**view, "cover": {"row": 28, "column": 0, "size": 2}}
    assert "outside" in asked(page, "covered", outside).json()["message"]


def test_an_attack_aims_where_it_is_told(page, view):
    params = {"pgd": {**view["params"]["pgd"], "targeted": True, "epsilon": 0.3, "steps": 20}}
    facts, _ = block(asked(page, "attacked", {**view, "params": params, "reach": 2}))
    assert facts["attacked"] == 2
    assert facts["classes"]["predicted"] == 2


def test_another_layer_is_another_map(page, view):
    first = {**view, "attribution": "layer_gradcam"}
    _, own = block(asked(page, "clean", first))
    _, other = block(asked(page, "clean", {**first, "layer": "features.conv3"}))
    assert own["map"].shape != other["map"].shape


def test_every_method_that_can_run_has_its_controls(page, opened):
    offered = page.get("offer").json()
    assert {each["name"] for each in offered["methods"]} == set(bridge.methods())
    for each in offered["methods"]:
        method = get(each["name"])
        assert {c["name"] for c in each["controls"]} <= set(method.defaults)
        for control in each["controls"]:
            domain = method.domains[control["name"]]
            for value in (control["low"], control["high"]) if control["kind"] == "number" else ():
                domain.check(control["name"], int(value) if control["whole"] else value)
    assert "looks at attention" in next(
        each["why_not"] for each in offered["methods"] if each["name"] == "attention_rollout"
    )
    assert View.of(offered["view"]).attribution in bridge.methods("attribution")


def test_of_several_requests_in_flight_only_the_newest_starts(opened, view):
    guarded = app(opened, None, bridge.compare, TOKEN, PORT)
    server = guarded.app.routes[0].endpoint.__self__
    started, go = [], threading.Event()

    def slow(view: View) -> Any:
        started.append(view.given("pgd")["steps"])
        go.wait(20)
        return Eye.attacked(server.eye, view)

    server.eye.attacked = slow

    async def five() -> list[int]:
        transport = httpx.ASGITransport(guarded)
        async with httpx.AsyncClient(transport=transport, base_url=f"{OURS}/{TOKEN}/") as page:

            async def send(number: int, steps: int) -> int:
                params = {"pgd": {"steps": steps, "epsilon": 0.05}}
                body = {"view": {**view, "params": params}, "page": "a", "number": number}
                return (await page.post("attacked", json=body)).status_code

            sent = [asyncio.create_task(send(number, number)) for number in (1, 2, 3)]
            while len(server.newest._newest) < 1 or len(started) < 1:
                await asyncio.sleep(0.01)
            while server.newest._newest["a", "attacked"] < 3:
                await asyncio.sleep(0.01)
            late = await send(2, 9)  # it was overtaken on the way
            go.set()
            return [*[await each for each in sent], late]

    assert asyncio.run(five()) == [200, 204, 200, 204]
    assert started == [1, 3]


# What is seen, again.


def run_python(text: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    found = dict(names or {})
    exec(compile(text, "copied", "exec"), found)
    return found


def compare_with_page(page: TestClient, view: dict[str, Any], found: dict[str, Any]) -> None:
    """What the copied Python computes is what the page shows, to the bit."""
    clean, arrays = block(asked(page, "clean", view))
    assert torch.equal(found["map_"].sum(1)[0], arrays["map"])
    for row in clean["classes"]["rows"]:
        assert float(found["probabilities"][0, row["class"]]) == row["probability"]
        assert float(found["logits"][0, row["class"]]) == row["logit"]
    attacked, arrays = block(asked(page, "attacked", view))
    assert torch.equal(found["attacked"][0], arrays["adversarial"])
    assert torch.equal(found["map_attacked"].sum(1)[0], arrays["map"])
    for row in attacked["classes"]["rows"]:
        assert float(found["probabilities_attacked"][0, row["class"]]) == row["probability"]
    if view["cover"]:
        facts, arrays = block(asked(page, "covered", view))
        assert torch.equal(found["covered"][0], arrays["x"])
        assert float(found["logits_covered"][0, facts["target"]]) == facts["after"]


CHANGES: list[dict[str, Any]] = [
    {},
    {"target": "predicted", "cover": None, "seed": 0},
    {"attribution": "layer_gradcam", "layer": "features.conv3", "attack": "deepfool_l2"},
    {"attribution": "smooth_grad", "params": {"smooth_grad": {"n_samples": 3}}},
    {"attribution": "occlusion", "params": {"occlusion": {"window": 7, "stride": 3}}},
    {"params": {"pgd": {"targeted": True, "steps": 2}}, "reach": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_copied_python_computes_what_is_seen(page, view, change):
    chosen = {**view, **change}
    text = asked(page, "reproduce", chosen).json()["python"]
    compare_with_page(page, chosen, run_python(text))


@pytest.mark.parametrize("change", CHANGES)
def test_the_copied_command_computes_what_is_seen(page, view, change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = {**view, **change}
    command = asked(page, "reproduce", chosen).json()["command"]
    check_command(page, chosen, command)


def check_command(page: TestClient, view: dict[str, Any], command: str) -> None:
    name, *words = shlex.split(command)
    assert (name, words[0]) == ("gradbridge", "explore")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main([*words, "--out", "again"], standalone_mode=False)
    assert "Saved in again" in printed.getvalue()
    run = bridge.Comparison.load("again")
    seen = run.manifest["explore"]
    clean, arrays = block(asked(page, "clean", view))
    attacked, more = block(asked(page, "attacked", view))
    for said, shown in ((seen["clean"], clean), (seen["attacked"], attacked)):
        assert {**said, "seconds": 0} == {**shown, "seconds": 0}
    kept = {key[:2]: output for key, output in run.outputs.items()}
    map_ = kept[view["attribution"], clean["implementation"]]
    assert torch.equal(map_.sum(1)[0], arrays["map"])
    adversarial = kept[view["attack"], attacked["implementation"]]
    assert torch.equal(adversarial[0], more["adversarial"])


def test_a_dropped_image_is_reproduced_from_its_file(page, view, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).integers(0, 256, (33, 50), dtype=np.uint8)
    Path("my shoe.png").write_bytes(png(pixels))
    sent = page.post("upload", params={"name": "my shoe.png"}, content=png(pixels))
    chosen = {**view, "data": sent.json()["data"], "image": 0}
    texts = asked(page, "reproduce", chosen).json()
    compare_with_page(page, chosen, run_python(texts["python"]))
    check_command(page, chosen, texts["command"])


def test_save_as_run_keeps_what_is_seen_and_opens_again(page, view, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = asked(page, "save", view).json()["folder"]
    assert Path(said).parent == Path("runs")
    run = bridge.Comparison.load(said)
    assert set(run.verdicts().index) == {"integrated_gradients", "pgd"}
    assert asked(page, "check", view).json()["verdicts"] == {
        name: {k: v for k, v in row.items() if v}
        for name, row in run.verdicts().to_dict("index").items()
    }
    again = client(Opened(FASHION, run=run, folder=said))
    offered = again.get("offer").json()
    assert offered["data"] == "run"
    assert offered["verdicts"]["pgd"]["fused"] == "equal"
    chosen = {**view, "data": "run", "image": 0}
    compare_with_page(again, chosen, run_python(asked(again, "reproduce", chosen).json()["python"]))
    check_command(again, chosen, asked(again, "reproduce", chosen).json()["command"])
    assert torch.equal(
        block(asked(again, "clean", chosen))[1]["map"], block(asked(page, "clean", view))[1]["map"]
    )


def test_a_run_in_memory_is_reproduced_with_its_own_objects(view, fashion, tmp_path):
    model, x, labels = fashion
    c = bridge.compare(model, x, labels, methods=["saliency"], judged=0, progress=False)
    page = c.explore(model, browser=False)
    try:
        with httpx.Client(base_url=page.url) as asks:
            chosen = {**view, "data": "run", "model": model.name, "cover": None}
            chosen["layer"] = "features.conv3"
            texts = asks.post("reproduce", json={"view": chosen}).json()
            assert texts["command"] == ""
            found = run_python(texts["python"], {"c": c, "model": model})
            compare_with_page(asks, chosen, found)
            assert page.url in repr(page)
            assert page.url in page._repr_html_()
    finally:
        page.stop()


def test_a_model_that_is_not_the_runs_is_noticed(fashion):
    model, x, labels = fashion
    c = bridge.compare(model, x, labels, methods=["saliency"], judged=0, progress=False)
    c.predictions["predicted"] = 3
    page = client(Opened(FASHION, run=c))
    view = page.get("offer").json()["view"]
    facts, _ = block(asked(page, "clean", view))
    assert "another model" in facts["remarks"][0]


def test_hostile_names_are_text_in_what_is_copied(fashion, view):
    model, x, labels = fashion
    evil = ["<script>alert(1)</script>", "a\nimport os; os._exit(3)  #", *"cdefghij"]
    named = bridge.wrap(model.module, mean=model.mean, std=model.std, class_names=evil, name="n")
    c = bridge.compare(named, x, labels, methods=["saliency"], judged=0, progress=False)
    page = client(Opened(Model("n", given=named), run=c))
    chosen = {**view, "data": "run", "model": "n", "target": 1, "cover": None}
    text = asked(page, "reproduce", chosen).json()["python"]
    compare_with_page(page, chosen, run_python(text, {"c": c, "model": named}))


# Opening.


def test_a_missing_extra_says_how_it_is_installed(fashion, monkeypatch):
    from bridge.explore import serving

    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    c = bridge.compare(*fashion, methods=["saliency"], judged=0, progress=False)
    with pytest.raises(ValueError, match=r'pip install "gradbridge\[explore\]"'):
        c.explore(fashion[0])


def test_a_run_whose_model_has_no_source_asks_for_it(fashion):
    model, x, labels = fashion
    named = bridge.wrap(model.module, mean=model.mean, std=model.std, name="my own")
    c = bridge.compare(named, x, labels, methods=["saliency"], judged=0, progress=False)
    with pytest.raises(ValueError, match="say which it is"):
        c.explore(browser=False)


def test_a_token_that_could_be_guessed_is_refused(monkeypatch, opened):
    from bridge.explore.serving import TOKEN as VARIABLE
    from bridge.explore.serving import Page

    monkeypatch.setenv(VARIABLE, "1234")
    with pytest.raises(ValueError, match="32 to 100 letters"):
        Page(opened, bridge.compare)
    monkeypatch.delenv(VARIABLE)
    first, second = Page(opened, bridge.compare), Page(opened, bridge.compare)
    assert first.token != second.token
    assert len(first.token) >= 32
    with pytest.raises(OSError, match="choose another --port"):
        Page(opened, bridge.compare, port=first.port)
    first.stop()
    second.stop()
