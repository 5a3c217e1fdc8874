"""A fourth implementation of all methods, in plain numpy, that has seen the vectors alone."""

import subprocess
import sys
from pathlib import Path

import pytest

import bridge
from bridge.vectors import read
from bridge.vectors.blocks import covered
from tests.vectors import numpy_reader


@pytest.fixture(scope="module")
def computed(answers_only):
    return numpy_reader.answers(answers_only)


@pytest.mark.parametrize("method", covered())
def test_numpy_agrees_with_the_reference(method, computed, answers_only):
    report = bridge.check_outputs(computed, method, vectors=answers_only)
    assert report.passed, str(report)
    assert max(check.figures["gap"] for check in report.checks) <= 1e-9


def test_exact_networks_agree_to_the_bit(computed, answers_only):
    exact = 0
    for method in covered():
        found = read.told(read.reader(answers_only), method)
        for case in found.cases:
            if case["tolerance"]["why"] == "exact":
                exact += 1
                expected = found.tensor(case, "expected")
                assert (computed[case["id"]] == expected).all(), case["id"]
    assert exact >= 40


def test_the_reader_needs_neither_torch_nor_bridge():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy_reader; "
        "print([m for m in ('torch', 'bridge', 'captum', 'foolbox') if m in sys.modules])"
    )
    folder = str(Path(numpy_reader.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
