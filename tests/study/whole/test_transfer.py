"""A second model sees every attack's images; the summary and the report say what became of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import bridge
from bridge.cli import main
from bridge.core.model import ModelAdapter
from bridge.study.whole.study import Study
from tests.networks import Plain, seeded
from tests.study.whole._datasets import CHEAP, digits, network


def second(seed: int = 1) -> ModelAdapter:
    """A network with random weights, which knows some digits by chance."""
    return bridge.wrap(seeded(Plain, 1, 10, seed=seed).double(), name=f"network {seed}")


@pytest.fixture(scope="module")
def transferred(tmp_path_factory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("studies") / "digits"
    study = bridge.run_study(network(), digits(24), out=folder, transfer=second(), **CHEAP)
    return study, folder


def test_rows_say_what_the_second_model_makes_of_each_attacks_images(transferred):
    study, _ = transferred
    data, other = digits(24), second()
    x = torch.stack([data[k][0] for k in range(24)]).double()
    labels = torch.tensor([data[k][1] for k in range(24)])
    run = bridge.run("fgsm", network(), x, labels, implementation="fused", epsilon=0.1)
    rows = study.attacks.merge(study.images[["id", "index"]], on="id").sort_values("index")
    assert rows["transfer_predicted"].tolist() == other(run.output).argmax(1).tolist()
    clean = other(x).argmax(1) == labels
    assert rows["transfer_right"].tolist() == clean.tolist()
    fooled = clean & (other(run.output).argmax(1) != labels)
    assert rows["transferred"].tolist() == fooled.tolist()


def test_without_a_second_model_nothing_is_said_of_one(tmp_path):
    study = bridge.run_study(network(), digits(6), out=tmp_path / "s", **CHEAP)
    assert not [name for name in study.attacks if name.startswith("transfer")]


def test_a_study_goes_on_with_the_same_second_model_only(transferred):
    _, folder = transferred
    for other in (None, second(2)):
        with pytest.raises(ValueError, match="transfer"):
            bridge.run_study(network(), digits(24), out=folder, transfer=other, **CHEAP)


def test_the_summary_and_the_report_name_the_second_model(transferred, tmp_path):
    study, folder = transferred
    text = str(study.summary())
    assert "network 1" in text
    assert "network 1" in study.report(tmp_path / "study.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(main, ["report", str(folder), "-o", str(tmp_path / "study.md")])
    assert done.exit_code == 0, done.output
    assert "network 1" in (tmp_path / "study.md").read_text(encoding="utf-8")
