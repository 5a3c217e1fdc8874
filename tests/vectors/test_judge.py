"""Outputs computed anywhere are judged without a model, and their mistakes are named."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import bridge
from bridge.cli import main
from tests.vectors import numpy_reader
from tests.vectors.mistakes import MISTAKES

HERE = ("logits", "gradient", "saliency", "smooth_grad", "guided_backprop", "fgsm", "pgd")
PLANTED = [m for m in MISTAKES if m.method in HERE]


@pytest.fixture(scope="module")
def right(few):
    return numpy_reader.answers(few)


def saliency_of(right):
    return {name: output for name, output in right.items() if name.startswith("saliency/")}


@pytest.mark.parametrize("planted", PLANTED, ids=[f"{m.method}: {m.name}" for m in PLANTED])
def test_a_planted_mistake_is_caught_and_named(planted, few):
    report = bridge.check_outputs(planted.outputs(few), planted.method, vectors=few)
    assert not report.passed
    assert planted.words in report.cause


def test_more_than_thirty_mistakes_are_planted():
    assert len(PLANTED) >= 40
    assert len({planted.name for planted in PLANTED}) >= 30


def test_right_outputs_pass(right, few):
    for method in HERE:
        assert bridge.check_outputs(right, method, vectors=few).passed


def test_a_case_without_output_fails_unless_some_are_enough(right, few):
    some = saliency_of(right)
    del some["saliency/plain/0"]
    report = bridge.check_outputs(some, "saliency", vectors=few)
    assert [check.name for check in report.failures] == ["saliency/plain/0"]
    assert report.cause == "1 cases have no output"
    assert bridge.check_outputs(some, "saliency", vectors=few, partial=True).passed


def test_failures_that_gather_in_a_trap_are_told(right, few):
    class Ties(numpy_reader.Methods):
        def gradient(self, x, target, relu=numpy_reader.plain_relu):
            def lenient(x, g):
                return g * np.where(x == 0, 0.3, x > 0)

            return super().gradient(x, target, lenient)

    outputs = numpy_reader.answers(few, Ties, methods=["saliency"])
    report = bridge.check_outputs(outputs, "saliency", vectors=few)
    assert "relu-at-zero" in report.cause


def test_a_building_block_that_is_wrong_already_is_named_first(right, few):
    outputs = {name: 2 * output for name, output in right.items()}
    report = bridge.check_outputs(outputs, "saliency", vectors=few)
    assert report.cause.startswith("begin with its logits, wrong in 7 of 7 cases")


def test_float32_outputs_are_judged_by_their_own_tolerance(right, few):
    single = {name: np.asarray(v, np.float32) for name, v in saliency_of(right).items()}
    assert bridge.check_outputs(single, "saliency", vectors=few).passed
    double = {name: v.astype(np.float64) for name, v in single.items()}
    report = bridge.check_outputs(double, "saliency", vectors=few)
    assert "float32 somewhere inside" in report.cause


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v.astype(np.float16), "it is float16, expected float64 or float32"),
        (lambda v: (v * 255).astype(np.uint8), "it is uint8, expected float64 or float32"),
        (lambda v: v[:, :, :-1], "it has shape"),
        (lambda v: v[0], "it has shape"),
        (lambda v: np.where(v == v.max(), np.nan, v), "values that are not finite"),
        (lambda v: np.full_like(v, np.inf), "values that are not finite"),
        (lambda v: np.float64(3.0), "it has shape (), expected (3, "),
        (lambda v: np.zeros((0, *v.shape[1:])), "it has shape (0, "),
        (lambda v: v.astype(complex), "it is complex128"),
        (lambda v: v.astype(str), "expected float64 or float32"),
    ],
)
def test_an_output_that_cannot_be_compared_says_why(right, few, change, words):
    outputs = {name: change(v) for name, v in saliency_of(right).items()}
    report = bridge.check_outputs(outputs, "saliency", vectors=few)
    assert not report.passed
    assert any(words in check.message for check in report.failures)


@pytest.mark.parametrize(
    "outputs, words",
    [
        ({}, "holds nothing: expected arrays by case id"),
        ({"mine": np.zeros(3)}, "holds mine: expected arrays by case id, saliency/plain/0"),
        ({"saliency/plain/99": np.zeros(3)}, "there is no case saliency/plain/99"),
    ],
)
def test_outputs_of_other_names_are_refused(few, outputs, words):
    with pytest.raises(ValueError, match=words):
        bridge.check_outputs(outputs, "saliency", vectors=few)


def test_a_method_without_vectors_is_refused_with_those_that_there_are(few):
    with pytest.raises(KeyError, match="no test vectors of 'nonsense', only of: fgsm"):
        bridge.check_outputs({}, "nonsense", vectors=few)


def file_with(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("mine.npz", b"not a zip", "cannot be read"),
        ("mine.npz", b"", "cannot be read"),
        ("mine.safetensors", b"not safe", "cannot be read"),
        ("mine.csv", b"1,2", "is no .safetensors or .npz file"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(tmp_path, few, name, data, words):
    with pytest.raises(ValueError, match=words):
        bridge.check_outputs(file_with(tmp_path, name, data), "saliency", vectors=few)


def test_a_file_that_is_not_there_says_so(few):
    with pytest.raises(ValueError, match=r"there is no file nowhere\.npz"):
        bridge.check_outputs("nowhere.npz", "saliency", vectors=few)


def test_objects_in_a_file_are_not_unpickled(tmp_path, few):
    np.savez(tmp_path / "mine.npz", **{"saliency/plain/0": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="cannot be read"):
        bridge.check_outputs(tmp_path / "mine.npz", "saliency", vectors=few)


def test_a_dtype_that_numpy_has_not_says_so(tmp_path, few):
    import torch
    from safetensors.torch import save_file

    save_file(
        {"saliency/plain/0": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "a.safetensors"
    )
    with pytest.raises(ValueError, match="save float64 or float32"):
        bridge.check_outputs(tmp_path / "a.safetensors", "saliency", vectors=few)


def test_vectors_that_were_changed_are_refused(tmp_path, few):
    for file in few.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = (tmp_path / "saliency.safetensors").read_bytes()
    (tmp_path / "saliency.safetensors").write_bytes(data[:-1] + b"\x01")
    with pytest.raises(ValueError, match="is not what the index says"):
        bridge.check_outputs({}, "saliency", vectors=tmp_path)


def test_vectors_of_a_format_to_come_are_refused(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps({"format": 2, "files": {}}))
    with pytest.raises(ValueError, match="has the format 2, expected 1"):
        bridge.check_outputs({}, "saliency", vectors=tmp_path)


def test_without_a_folder_the_vectors_are_made_anew(right):
    report = bridge.check_outputs(right, "saliency")
    assert report.passed


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_command_line_says_by_its_exit_code_whether_outputs_are_right(
    tmp_path, few, right, suffix
):
    from safetensors.numpy import save_file

    file = tmp_path / f"mine.{suffix}"

    def judged(outputs, *more):
        if suffix == "npz":
            np.savez(file, **outputs)
        else:
            save_file(outputs, file)
        arguments = ["check", "--outputs", str(file), "--as", "saliency", "--vectors", str(few)]
        return CliRunner().invoke(main, [*arguments, *more])

    assert judged(saliency_of(right)).exit_code == 0
    wrong = judged({name: v / 2 for name, v in saliency_of(right).items()})
    assert wrong.exit_code == 1
    assert "diagnosis: it is the right answer times a constant factor" in wrong.output
    assert "reproduce: gradbridge check --outputs" in wrong.output
    assert json.loads(judged(saliency_of(right), "--json").output)["passed"]
    assert judged({"mine": np.zeros(3)}).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--as", "fgsm"],
        ["check", "mine.py:f", "--as", "fgsm", "--outputs", "mine.npz"],
        ["check", "mine.py:f", "--as", "fgsm", "--partial"],
        ["check", "--as", "fgsm", "--outputs", "nowhere.npz"],
    ],
)
def test_wrong_usage_of_the_command_line_is_refused(arguments):
    assert CliRunner().invoke(main, arguments).exit_code == 2
