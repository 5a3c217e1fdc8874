"""Transfer counts what the second model got right before and gets wrong now."""

from __future__ import annotations

import pytest
import torch

import bridge
from bridge.metrics.transfer import transferred


def test_transfer_is_what_the_second_model_says(fashion):
    model, x, labels = fashion
    run = bridge.run("fgsm", model, x, labels, epsilon=0.2)
    found = transferred(model, x, labels, run.output)
    with torch.no_grad():
        clean, after = model(x).argmax(1), model(run.output).argmax(1)
    assert found["transfer_right"].tolist() == (clean == labels).tolist()
    assert found["transfer_predicted"].tolist() == after.tolist()
    assert found["transferred"].tolist() == ((clean == labels) & (after != labels)).tolist()
    assert found["transferred"].any()
    assert not transferred(model, x, labels, x)["transferred"].any()


def test_other_shapes_are_refused(fashion):
    model, x, labels = fashion
    with pytest.raises(ValueError, match="as many adversarial images"):
        transferred(model, x, labels, x[:1])
