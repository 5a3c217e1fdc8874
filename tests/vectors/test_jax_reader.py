"""All methods in JAX, which has seen the vectors alone: in float64, exact networks in float32."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bridge
from bridge.vectors import read
from bridge.vectors.blocks import covered

pytestmark = pytest.mark.jax
jax = pytest.importorskip("jax", reason="JAX is not installed: pip install gradbridge[jax]")


@pytest.fixture(scope="module", params=["float64", "float32"])
def precision(request):
    return request.param


@pytest.fixture(scope="module")
def computed(precision, answers_only, tmp_path_factory):
    file = tmp_path_factory.mktemp("jax") / "outputs.npz"
    command = [sys.executable, "-m", "tests.vectors.jax_process", str(answers_only), str(file)]
    subprocess.run([*command, precision], check=True, cwd=Path(__file__).parents[2])
    return file


@pytest.mark.parametrize("method", covered())
def test_jax_agrees_with_the_reference(method, computed, precision, answers_only):
    exact_networks_alone = precision == "float32"
    report = bridge.check_outputs(
        computed, method, vectors=answers_only, partial=exact_networks_alone
    )
    assert report.passed, str(report)


def test_exact_networks_agree_to_the_bit(computed, answers_only):
    outputs, exact = read.load_outputs(computed), 0
    for method in covered():
        found = read.told(read.reader(answers_only), method)
        for case in found.cases:
            if case["tolerance"]["why"] == "exact" and case["id"] in outputs:
                exact += 1
                expected = found.tensor(case, "expected").astype(outputs[case["id"]].dtype)
                assert np.array_equal(outputs[case["id"]], expected), case["id"]
    assert exact >= 40
