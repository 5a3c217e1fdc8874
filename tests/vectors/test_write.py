"""What is written: the same bytes every time, described in full, with traps that bite."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import bridge
from bridge.cli import main
from bridge.core.tags import AN_IMAGE, Cases
from bridge.vectors import blocks, case, draws, read, write
from bridge.vectors.networks import NETWORKS, images
from bridge.vectors.words import CONDITIONS, OPERATIONS

HERE = ["logits", "gradient", "saliency", "smooth_grad", "guided_backprop", "fgsm", "pgd"]


def command(*arguments):
    return CliRunner().invoke(main, ["vectors", *map(str, arguments)])


def test_another_process_writes_the_same_bytes(few, tmp_path):
    code = "import sys; from bridge.vectors import write; write(sys.argv[1], sys.argv[2:])"
    names = ["gradient", "smooth_grad", "fgsm"]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again"), *names], check=True)
    common = ["networks.json", "networks.safetensors", "images.safetensors"]
    for name in [*common, *(f"{n}.{end}" for n in names for end in ("json", "safetensors"))]:
        assert (tmp_path / "again" / name).read_bytes() == (few / name).read_bytes(), name


def test_the_index_has_the_sum_of_every_file(few):
    index = json.loads((few / "index.json").read_text())
    assert {*index["files"], "index.json"} == {file.name for file in few.iterdir()}
    for name, told in index["files"].items():
        data = (few / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == told["sha256"]
        assert len(data) == told["bytes"]
    assert index["licence"].startswith("CC0")


def test_every_method_has_cases_or_a_reason_and_all_is_small(answers_only):
    index = json.loads((answers_only / "index.json").read_text())
    assert set(blocks.covered()) == set(index["cases"])
    assert set(blocks.names()) <= {*index["cases"], *index["left_out"]}
    assert min(index["cases"].values()) >= 5
    assert sum(index["cases"].values()) >= 220
    # Gauss-Legendre points and a trapezoid's, at which a ReLU sees a zero by cancellation.
    assert {name.split("/")[0] for name in index["left_out"] if "/" in name} <= {
        "integrated_gradients"
    }
    assert len([name for name in index["left_out"] if "/" in name]) <= 3
    assert sum(told["bytes"] for told in index["files"].values()) < 3e6


def test_every_operation_and_parameter_is_described(answers_only):
    networks = json.loads((answers_only / "networks.json").read_text())
    used = {layer["op"] for network in networks.values() for layer in network["layers"]}
    assert used == set(OPERATIONS) - {"layout"}
    for name in set(blocks.covered()) & set(bridge.methods()):
        found = read.told(read.reader(answers_only), name)
        for each in found.cases:
            known = {*each["parameters"], *each["tensors"]} - {"target", "expected"}
            assert known == set(bridge.registry.get(name).defaults)


def test_every_trap_bites_in_some_case(few):
    index = json.loads((few / "index.json").read_text())
    told = [read.told(read.reader(few), name) for name in index["cases"]]
    bitten = {trap for each in told for one in each.cases for trap in one["traps"]}
    own = {trap for name in HERE for trap in blocks.find(name).cases.traps}
    assert own <= bitten
    assert {"relu-at-zero", "equal-maxima", "pool-padding", "kernel", "softmax"} <= bitten
    assert "saturated-softmax" in bitten
    assert bitten <= set(index["traps"])


def test_every_sentence_of_a_trap_is_one_that_somebody_says():
    from bridge.conformance import attack_causes, attribution_causes
    from bridge.vectors.modules import WRONG_LAYERS
    from bridge.vectors.words import TRAPS
    from bridge.vectors.wrong import subject_of

    said = {sentence for sentence, _, _ in WRONG_LAYERS} | {"it does not normalise the pixels"}
    traps = list(TRAPS.values())
    for name in blocks.covered():
        method = blocks.find(name)
        both = attack_causes if method.kind == "attack" else attribution_causes
        said |= {sentence for sentence, _ in both.causes(subject_of(method))}
        said |= {twin.differs.partition(":")[0] for twin in method.twins.values()}
        traps += method.cases.traps.values()
    said.add("it does not clip the start")
    assert {sentence for trap in traps for sentence in trap.mistakes} <= said
    assert not {"saturated-softmax", "zero-norm"} ^ set(CONDITIONS)


def test_all_inputs_are_the_same_in_float32(few):
    for name in NETWORKS:
        assert (images(name) == images(name).astype(np.float32)).all()
    for name in ("smooth_grad", "pgd"):
        for key, value in read.told(read.reader(few), name).tensors.items():
            if key.rpartition("/")[2] in ("noise", "start"):
                assert (value == value.astype(np.float32)).all()


def test_draws_do_not_depend_on_torchs_generators():
    method, x = bridge.registry.get("expected_gradients"), torch.tensor(images("plain"))
    torch.manual_seed(1)
    one = draws.drawn(method, {"n_samples": 3, "baselines": AN_IMAGE}, x, "plain", "a")
    torch.manual_seed(2)
    two = draws.drawn(method, {"n_samples": 3, "baselines": AN_IMAGE}, x, "plain", "a")
    assert set(one) == {"alphas", "baselines", "chosen"}
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = draws.drawn(method, {"n_samples": 3, "baselines": AN_IMAGE}, x, "plain", "b")
    assert not torch.equal(one["alphas"], other["alphas"])
    assert bool((one["chosen"] >= 0).all() and (one["chosen"] < len(x)).all())


def test_an_answer_that_hangs_by_a_thread_is_left_out():
    method = bridge.registry.get("integrated_gradients")
    with pytest.raises(case.LeftOut, match="where sums are taken in another order"):
        case.make(method, "exact", 0, {"n_steps": 4, "method": "gausslegendre"})


def test_a_method_that_needs_what_no_network_has_is_left_out_with_a_sentence():
    method = blocks.Method("rollout", "attribution", blocks.logits, needs=frozenset({"attention"}))
    method.cases = Cases("")
    assert blocks.uncovered(method) == "it needs attention, which no network here has"
    method.needs, method.cases = frozenset(), None
    assert blocks.uncovered(method) == "its file brings no cases"


def test_older_vectors_are_replaced_and_nothing_else_is(tmp_path):
    folder = tmp_path / "vectors"
    assert command("--out", folder, "--method", "logits").exit_code == 0
    told = command("--out", folder, "--method", "gradient")
    assert "7 cases of 1 methods" in told.output
    assert not (folder / "logits.json").exists()
    (folder / "thesis.txt").write_text("mine")
    refused = command("--out", folder, "--method", "logits")
    assert refused.exit_code == 2
    assert "holds thesis.txt, which is no test vector" in refused.output
    assert (folder / "gradient.json").exists()


def test_unknown_methods_and_files_in_the_way_are_refused(tmp_path):
    assert "no method 'nonsense'" in command("--out", tmp_path, "--method", "nonsense").output
    (tmp_path / "file").write_text("")
    assert command("--out", tmp_path / "file", "--method", "logits").exit_code == 2
    with pytest.raises(ValueError, match="expected a folder"):
        write(tmp_path / "file", ["logits"])
    with pytest.raises(TypeError, match="expected several"):
        write(tmp_path / "new", "logits")
