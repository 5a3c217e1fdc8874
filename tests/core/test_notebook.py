"""Results in a notebook: pictures and facts, all text escaped, nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

import bridge
from bridge.core.types import Failure, Run

EVIL = "<img src=x onerror=alert(1)>"


def shown(text: str) -> list[np.ndarray]:
    """The pictures in a piece of HTML."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert text.count("<img") == len(found)  # and no other
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def test_a_run_shows_its_maps_and_what_it_took(fashion):
    model, x, labels = fashion
    run = bridge.run("input_x_gradient", model, x, labels)
    text = run._repr_html_()
    pictures = shown(text)
    assert [each.shape for each in pictures] == [(28, 28, 3)] * 4
    at = np.unravel_index(int(run.output[0, 0].argmax()), (28, 28))
    red, _, blue = pictures[0][at].tolist()
    assert red > blue
    at = np.unravel_index(int(run.output[0, 0].argmin()), (28, 28))
    red, _, blue = pictures[0][at].tolist()
    assert blue > red
    assert "blue is below 0" in text
    assert "4 images forwards, 4 backwards" in text


def test_a_run_shows_the_images_of_its_last_epsilon(fashion):
    model, x, labels = fashion
    run = bridge.run("fgsm", model, x, labels, epsilon=[0.1, 0.3])
    text = run._repr_html_()
    assert "at epsilon 0.3, the last of 2" in text
    expected = (run.output[-1, 0, 0] * 255).round().numpy()
    assert (shown(text)[0][..., 0] == expected).all()


def test_many_images_are_few_pictures(fashion):
    model, x, labels = fashion
    run = bridge.run("saliency", model, x.repeat(5, 1, 1, 1), labels.repeat(5))
    assert len(shown(run._repr_html_())) == 8
    assert "the first 8 of 20 images" in run._repr_html_()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_whatever_an_output_holds_it_is_shown(value):
    noticed = (Failure("m", "i", "run", "E", EVIL),)
    run = Run(EVIL, EVIL, {EVIL: EVIL}, torch.full((1, 5, 2, 3), value), 0.1, 1, 1, {}, noticed)
    text = run._repr_html_()
    assert EVIL not in text
    assert shown(text)[0].shape == (2, 3, 3)


def test_a_comparison_shows_its_pictures_and_its_verdicts(fashion):
    model, x, labels = fashion
    c = bridge.compare(model, x, labels, methods=["saliency", "fgsm"], progress=False)
    text = c._repr_html_()
    assert len(shown(text)) == 3 * 3
    assert "equal" in text


def test_a_study_shows_its_summary(fashion, tmp_path):
    data = bridge.load_data("samples:fashion_mnist")
    study = bridge.run_study(
        fashion[0], data, out=tmp_path / "s", methods=["saliency"], judged=0, limit=4
    )
    text = study._repr_html_()
    assert "4 of 4 images, finished" in text
    assert "<h4>Accuracy, clean and under attack</h4><table>" in text
    assert shown(text) == []


def test_a_check_shows_its_checks(fashion):
    def mine(model, x, target):
        return bridge.core.gradients.input_gradient(model, x, target)

    report = bridge.check(mine, "saliency")
    text = report._repr_html_()
    assert "failed" in text
    assert "<table>" in text
