"""The command line as a newcomer meets it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import bridge.cli
from bridge.cli import main
from bridge.conformance import self_test

QUICK = ["-n", "2", "--repeats", "1"]


def gradbridge(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_compare_prints_tables_and_saves_the_run(tmp_path):
    done = gradbridge(
        "compare",
        *QUICK,
        "--methods",
        "saliency,pgd,uniform_noise_linf",
        "--epsilons",
        "8/255",
        "--out",
        str(tmp_path / "r"),
    )
    assert done.exit_code == 0, done.output
    assert "2 images of samples:fashion_mnist through zoo:fashion_cnn" in done.output
    assert "pairs agree with our reference" in done.output
    assert "8/255" in done.output
    assert {"run.json", "panels.png", "tensors.safetensors", "attacks.parquet"} <= {
        p.name for p in (tmp_path / "r").iterdir()
    }
    recorded = bridge.Comparison.load(tmp_path / "r").manifest
    assert recorded["data"]["source"] == "samples:fashion_mnist"


def test_compare_names_its_run_directory_after_time_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gradbridge("compare", *QUICK, "--methods", "saliency").exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-zoo_fashion_cnn")


def test_compare_as_json_is_json(tmp_path):
    done = gradbridge(
        "compare", *QUICK, "--methods", "saliency,fgsm", "--json", "--out", str(tmp_path)
    )
    tables = json.loads(done.stdout)
    assert {row["verdict"] for row in tables["agreement"]} == {"equal"}
    assert len(tables["attacks"]) == 3 * 2


def test_compare_runs_a_users_network_images_and_function(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def network():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
        "def half_fgsm(model, x, labels, *, epsilon):\n"
        "    from bridge import registry\n"
        "    return registry.get('fgsm')(model, x, labels, epsilon=epsilon / 2)\n"
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    done = gradbridge(
        "compare",
        *QUICK,
        "--model",
        f"python:{tmp_path}/mine.py:network",
        "--weights",
        str(tmp_path / "w.safetensors"),
        "--data",
        "samples:mnist",
        "--mean",
        "0.1307",
        "--std",
        "0.3081",
        "--methods",
        "saliency,fgsm",
        "--dtype",
        "float64",
        "--function",
        f"fgsm={tmp_path}/mine.py:half_fgsm",
        "--out",
        str(tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    assert "half_fgsm's fgsm differs" in done.output
    saved = bridge.Comparison.load(tmp_path / "run")
    assert saved.x.dtype == torch.float64
    assert saved.manifest["functions"] == {"fgsm": ["half_fgsm"]}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "zoo:nope"], "fashion_cnn"),
        (["--methods", "nope"], "integrated_gradients"),
        (["--implementations", "nope"], "captum"),
        (["--epsilons", "a/b"], "8/255"),
        (["--param", "pgd"], "pgd.steps=10"),
        (["--param", "pgd.stepz=3"], "steps=40"),
        (["--data", "folder:/nope"], "not a folder"),
        (["--function", "fgsm"], "FILE"),
        (["--data", "samples:cifar10"], "channels"),
        (["--weights", "none.safetensors"], "no weight file"),
    ],
)
def test_wrong_usage_exits_with_2_and_one_clear_line(arguments, words, tmp_path):
    done = gradbridge("compare", "-n", "2", "--out", str(tmp_path), *arguments)
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "Traceback" not in done.output


def test_methods_lists_every_method_with_its_definition():
    text = gradbridge("methods").output
    for name in bridge.methods():
        assert name in text
        assert bridge.registry.get(name).summary in text
    listed = json.loads(gradbridge("methods", "--json").output)
    assert [entry["name"] for entry in listed] == list(bridge.methods())
    assert all(entry["definition"] for entry in listed)


def test_doctor_finds_this_installation_sound(monkeypatch):
    monkeypatch.setattr(self_test, "examine", functools.cache(self_test.examine))
    done = gradbridge("doctor")
    assert done.exit_code == 0, done.output
    assert "captum" in done.output
    report = json.loads(gradbridge("doctor", "--json").output)
    assert set(report["self-test"].values()) == {"passed"}
    assert "occlusion/captum" in report["self-test"]


def test_doctor_finds_a_wrong_method(monkeypatch):
    method = bridge.registry.get("saliency")
    monkeypatch.setitem(
        method.twins, "captum", type(method.twins["captum"])("captum", lambda m, x, t: x)
    )
    monkeypatch.setattr(self_test, "methods", lambda: ("saliency",))
    done = gradbridge("doctor")
    assert done.exit_code == 1
    assert "off by" in done.output


def test_every_file_of_the_command_line_is_a_command():
    files = {path.stem for path in Path(bridge.cli.__file__).parent.glob("[!_]*.py")}
    assert files == set(main.commands)
    for name in files:
        done = gradbridge(name, "--help")
        assert done.exit_code == 0, done.output
        assert "Options:" in done.output


def test_help_and_version_are_there_and_do_not_import_torch():
    code = (
        "import sys; from bridge.cli import main; main(['--help'], standalone_mode=False); "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout
    assert time.perf_counter() - start < 5
    assert bridge.__version__ in gradbridge("--version").output
