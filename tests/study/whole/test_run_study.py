"""A whole dataset: the same numbers however it is cut, and nothing lost."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import bridge
from bridge.core.registry import get
from bridge.core.types import BridgeWarning
from bridge.fused import chunks
from bridge.study import interruption
from bridge.study.whole import batch, job, parts
from bridge.study.whole.lock import InUse, locked
from bridge.study.whole.place import Folder
from tests.networks import attentive
from tests.study.whole._datasets import (
    ASKED,
    CHEAP,
    METHODS,
    Digits,
    digits,
    network,
    same,
    tables,
)

EXACT = 1e-9  # what float64 may differ by, relative to values of size one


def test_numbers_do_not_depend_on_batch_size_workers_or_order(tmp_path: Path) -> None:
    order = list(range(30))
    first = bridge.run_study(network(), Digits(order), out=tmp_path / "a", **ASKED)
    others: list[tuple[list[int], dict[str, Any]]] = [
        (order, {"batch_size": 7, "part_size": 10}),
        (order, {"batch_size": 1}),
        (order[::-1], {"batch_size": 4, "workers": 2}),
    ]
    for k, (places, cut) in enumerate(others):
        other = bridge.run_study(
            network(), Digits(places), out=tmp_path / f"b{k}", **{**ASKED, **cut}
        )
        same(first, other, without=("index",), tolerance=EXACT)


def test_every_method_can_be_run(tmp_path: Path) -> None:
    rest = [name for name in bridge.methods() if name not in METHODS]
    names = [name for name in rest if not attentive(get(name))]
    params = {name: dict(get(name).small("tiny", 8)) for name in names}
    for given in params.values():
        given.pop("epsilon", None)
    study = bridge.run_study(
        network(),
        digits(3),
        out=tmp_path,
        methods=names,
        params=params,
        epsilons={"linf": [0.1, 0.2], "l2": [0.5]},
        judged=0,
        progress=False,
    )
    assert study.failures.empty
    assert {*study.attributions["method"], *study.attacks["method"]} == set(names)


def test_tables_say_what_run_and_audit_say(tmp_path: Path) -> None:
    model, data = network(), digits(12)
    study = bridge.run_study(model, data, out=tmp_path, **ASKED)
    x = torch.stack([data[k][0] for k in range(12)]).double()
    labels = torch.tensor([data[k][1] for k in range(12)])
    predicted, confidence = bridge.metrics.attack.classify(model, x)
    assert study.images["index"].tolist() == list(range(12))
    assert study.images["label"].tolist() == labels.tolist()
    assert study.images["predicted"].tolist() == predicted.tolist()
    assert study.images["confidence"].tolist() == pytest.approx(confidence.tolist())
    maps = bridge.run("saliency", model, x, labels).output
    rows = study.attributions[study.attributions["method"] == "saliency"]
    assert rows["total"].tolist() == pytest.approx(maps.flatten(1).sum(1).tolist())
    assert rows["largest"].tolist() == pytest.approx(maps.flatten(1).amax(1).tolist())
    found = study.attacks[(study.attacks["method"] == "fgsm") & (study.attacks["epsilon"] == 0.2)]
    attacked = bridge.run("fgsm", model, x, labels, epsilon=0.2).output
    score = bridge.metrics.attack.audit(model, x, labels, attacked, epsilon=0.2, norm="linf")
    assert found["fooled"].sum() == round(score.success * score.correct)
    assert found["linf"].median() == pytest.approx(score.linf)
    assert (found["forwards"] == 1).all()  # what it costs alone
    assert (found["backwards"] == 1).all()


def test_pairs_are_the_similarities_of_a_comparison(tmp_path: Path) -> None:
    model, data = network(), digits(6)
    names = ["saliency", "input_x_gradient", "layer_gradcam"]
    study = bridge.run_study(model, data, out=tmp_path, methods=names, judged=0, progress=False)
    x = torch.stack([data[k][0] for k in range(6)]).double()
    labels = torch.tensor([data[k][1] for k in range(6)])
    compared = bridge.compare(model, x, labels, methods=names, repeats=1, progress=False)
    mine = study.pairs.groupby(["a", "b"])["spearman"].mean()
    for row in compared.similarity.to_dict("records"):
        pair = row["method_a"], row["method_b"]
        expected = mine.get(pair, mine.get(pair[::-1]))
        assert row["spearman"] == pytest.approx(expected, abs=1e-6)


def test_the_clock_does_not_decide_the_last_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are of one size, not of the one that happens to be fastest."""
    sizes, serve = set(), batch.serve

    def served(*given: Any) -> Any:
        sizes.add(chunks._fixed.get())
        return serve(*given)

    monkeypatch.setattr(batch, "serve", served)
    bridge.run_study(network(), digits(4), out=tmp_path, **CHEAP)
    assert sizes == {batch.CHUNK}


def test_float32_differs_by_its_rounding_only(tmp_path: Path) -> None:
    """A batch of another size is summed in another order."""
    model = network(torch.float32)
    names = ["saliency", "input_x_gradient", "layer_gradcam", "smooth_grad", "fgsm"]
    asked = {**CHEAP, "methods": names}
    first = bridge.run_study(model, digits(30), out=tmp_path / "a", **asked)
    other = bridge.run_study(model, digits(30), out=tmp_path / "b", batch_size=1, **asked)
    same(first, other, tolerance=1e-4)


def test_a_proof_that_cannot_be_made_does_not_end_the_study(tmp_path: Path) -> None:
    class Mislabelled(Digits):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return super().__getitem__(index)[0], 99

    with pytest.warns(BridgeWarning, match="there is no proof: labels reach from 99"):
        study = bridge.run_study(
            network(), Mislabelled([0, 1, 2]), out=tmp_path, **{**CHEAP, "judged": 1}
        )
    assert len(study.failures) == 3
    assert study.proof is None


def test_the_same_command_again_changes_nothing(tmp_path: Path) -> None:
    bridge.run_study(network(), digits(20), out=tmp_path, part_size=8, **CHEAP)
    before = contents(tmp_path)
    bridge.run_study(network(), digits(20), out=tmp_path, **CHEAP)
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_a_signal_ends_after_the_batch_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """And the same command goes on where it stopped."""
    whole = bridge.run_study(
        network(), digits(20), out=tmp_path / "whole", batch_size=3, part_size=9, **CHEAP
    )
    calls, process = 0, job.process

    def counted(*given: Any) -> parts.Part:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            stop.handle(15, None)
        return process(*given)

    monkeypatch.setattr(job, "process", counted)
    with interruption.orderly() as stop, pytest.raises(interruption.Interrupted):
        bridge.run_study(
            network(), digits(20), out=tmp_path / "cut", batch_size=3, part_size=9, **CHEAP
        )
    cut = bridge.Study.open(tmp_path / "cut")
    assert not cut.finished
    assert cut.images["index"].tolist() == list(range(3 * (after + 1)))
    monkeypatch.undo()
    resumed = bridge.run_study(network(), digits(20), out=tmp_path / "cut", **CHEAP)
    assert resumed.finished
    same(whole, resumed)


def test_another_request_for_the_same_folder_is_refused_and_says_why(tmp_path: Path) -> None:
    bridge.run_study(network(), digits(5), out=tmp_path, **CHEAP)
    with pytest.raises(ValueError, match=r"methods\.saliency is not there any more.*seed was 0"):
        bridge.run_study(
            network(), digits(5), out=tmp_path, **{**CHEAP, "methods": ["fgsm"], "seed": 1}
        )
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval().double()
    with pytest.raises(ValueError, match=r"model\.weights was"):
        bridge.run_study(bridge.wrap(plain), digits(5), out=tmp_path, **CHEAP)
    with pytest.raises(ValueError, match=r"data\.images was 5 and is 6"):
        bridge.run_study(network(), digits(6), out=tmp_path, **CHEAP)
    with pytest.raises(ValueError, match=r"data\.listing was"):
        bridge.run_study(network(), Digits([9, 8, 7, 6, 5]), out=tmp_path, **CHEAP)


def test_images_that_cannot_be_read_are_failures_and_tried_again(tmp_path: Path) -> None:
    whole = bridge.run_study(
        network(), digits(12), out=tmp_path / "whole", part_size=4, batch_size=4, **CHEAP
    )
    # The listing is known by images 0, 1, 3, 4, 6, ... of 12, which are whole.
    broken = digits(12, broken=(2, 5, 11))
    study = bridge.run_study(
        network(), broken, out=tmp_path / "b", part_size=4, batch_size=4, **CHEAP
    )
    assert study.finished
    assert study.failures["id"].tolist() == ["@2", "@5", "@11"]
    assert study.failures["message"].str.contains("is broken").all()
    assert len(study.images) == 9
    again = bridge.run_study(network(), digits(12), out=tmp_path / "b", **CHEAP)
    assert again.failures.empty
    same(whole, again, tolerance=EXACT)


def test_a_method_that_raises_for_one_image_fails_for_that_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {**CHEAP, "keep": ["maps:uint8"], "batch_size": 5, "part_size": 10}
    whole = bridge.run_study(network(), digits(12), out=tmp_path / "whole", **asked)
    bad = digits(12)[5][0].double()
    serve = batch.serve

    def raising(task: Any, shared: Any, *rest: Any) -> Any:
        if task.method.name == "saliency" and any(torch.equal(bad, each) for each in shared.x):
            raise RuntimeError("not this one")
        return serve(task, shared, *rest)

    monkeypatch.setattr(batch, "serve", raising)
    study = bridge.run_study(network(), digits(12), out=tmp_path / "b", **asked)
    assert study.failures[["method", "stage", "error"]].values.tolist() == [
        ["saliency", "run", "RuntimeError"]
    ]
    assert len(study.images) == 12
    assert len(study.attributions) == 12 + 11
    assert len(study.pairs) == 11
    monkeypatch.undo()
    again = bridge.run_study(network(), digits(12), out=tmp_path / "b", **asked)
    assert again.failures.empty
    for identity in whole.images["id"]:
        kept, expected = (each.map(identity, "saliency") for each in (again, whole))
        assert torch.allclose(kept, expected, rtol=0, atol=float(expected.max()) / 200)
    same(whole, again, tolerance=EXACT)


def test_the_first_failure_ends_it_where_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(job.Failed, match="image 5 is broken"):
        bridge.run_study(
            network(), digits(12, broken=(5,)), out=tmp_path, batch_size=3, fail_fast=True, **CHEAP
        )
    assert len(bridge.Study.open(tmp_path).images) == 5


def test_too_little_memory_halves_the_batch_of_that_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bridge.run_study(network(), digits(16), out=tmp_path / "whole", **CHEAP)
    sizes: list[int] = []
    serve = batch.serve

    def short(task: Any, shared: Any, *rest: Any) -> Any:
        if task.method.name == "fgsm":
            sizes.append(len(shared.x))
            if len(shared.x) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return serve(task, shared, *rest)

    monkeypatch.setattr(batch, "serve", short)
    study = bridge.run_study(
        network(), digits(16), out=tmp_path / "b", batch_size=16, part_size=16, **CHEAP
    )
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[2:]) == 4
    assert study.failures.empty
    same(whole, study, tolerance=EXACT)


def test_images_of_several_sizes_and_bad_labels(tmp_path: Path) -> None:
    class Odd(Digits):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            if index == 3:
                return image * math.nan, label
            return (image * 7 if index == 4 else image), (99 if index == 2 else label)

    study = bridge.run_study(network(), Odd(list(range(8))), out=tmp_path, **CHEAP)
    messages = dict(zip(study.failures["stage"], study.failures["message"], strict=True))
    assert len(study.images) == 5
    assert len(study.failures) == 3
    assert set(messages) == {"image"}
    texts = " ".join(study.failures["message"])
    assert "labels reach from 99 to 99" in texts
    assert "NaN" in texts
    assert "outside the model's bounds" in texts


def test_images_with_the_same_pixels_are_told_apart_by_their_place(tmp_path: Path) -> None:
    study = bridge.run_study(
        network(), Digits([0, 1, 0, 2, 1, 0]), out=tmp_path, part_size=2, batch_size=2, **CHEAP
    )
    first, second = study.images["id"][0], study.images["id"][1]
    assert study.images["id"].tolist()[2:] == [
        f"{first}@2",
        study.images["id"][3],
        f"{second}@4",
        f"{first}@5",
    ]
    assert study.images["id"].is_unique
    assert not study.attacks.duplicated(["id", "method", "epsilon"]).any()


def test_kept_maps_and_images_are_those_that_are_made_again(tmp_path: Path) -> None:
    given = {**CHEAP, "part_size": 4, "batch_size": 4}
    plain = bridge.run_study(network(), digits(6), out=tmp_path / "a", **given)
    for width, off in (("float32", 1e-6), ("float16", 2e-3), ("uint8", 1 / 255)):
        keep = [f"maps:{width}", f"adversarials:{width}"]
        bridge.run_study(network(), digits(6), out=tmp_path / width, keep=keep, **given)
        study = bridge.Study.open(tmp_path / width)
        for identity in plain.images["id"]:
            for found, expected in (
                (study.map(identity, "saliency"), plain.map(identity, "saliency")),
                (
                    study.adversarial(identity, "fgsm", 0.1),
                    plain.adversarial(identity, "fgsm", 0.1),
                ),
            ):
                assert (found - expected).abs().max() <= off * expected.abs().max()
    assert torch.equal(plain.thumbnail(plain.images["id"][3]), digits(6)[3][0])


def test_a_second_process_on_one_folder_is_refused(tmp_path: Path) -> None:
    with locked(Folder(tmp_path)):
        code = (
            "import bridge; from tests.study.whole._datasets import *; import sys\n"
            "from bridge.study.whole.lock import InUse\n"
            "try:\n    bridge.run_study(network(), digits(4), out=sys.argv[1], **CHEAP)\n"
            "except InUse as error:\n    print(error); sys.exit(7)\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 7, ended.stderr
    assert f"process {os.getpid()}" in ended.stdout


def test_shards_work_side_by_side_and_the_whole_waits_for_them(tmp_path: Path) -> None:
    place = Folder(tmp_path)
    with locked(place, "1-of-2"), locked(place, "2-of-2"):
        with pytest.raises(InUse), locked(place):
            pass
        with pytest.raises(InUse), locked(place, "1-of-2"):
            pass
    with locked(place):
        pass


def test_a_full_disk_loses_nothing_that_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bridge.run_study(
        network(), digits(20), out=tmp_path / "whole", part_size=4, batch_size=4, **CHEAP
    )
    written, write = 0, Folder.write

    def full(place: Folder, name: str, data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > 30_000:
            raise OSError(28, "No space left on device")
        write(place, name, data)

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(OSError, match="No space left"):
        bridge.run_study(
            network(), digits(20), out=tmp_path / "b", part_size=4, batch_size=4, **CHEAP
        )
    cut = bridge.Study.open(tmp_path / "b")
    assert 0 < len(cut.images) < 20
    monkeypatch.undo()
    same(whole, bridge.run_study(network(), digits(20), out=tmp_path / "b", **CHEAP))


def test_a_file_that_was_changed_is_refused_and_made_anew(tmp_path: Path) -> None:
    whole = bridge.run_study(network(), digits(8), out=tmp_path, part_size=4, **CHEAP)
    frames = tables(whole)
    (tmp_path / "attacks" / "00001.parquet").write_bytes(b"nonsense")
    with pytest.raises(parts.Corrupt, match=r"attacks/00001\.parquet is not what its sidecar says"):
        _ = bridge.Study.open(tmp_path).attacks
    (tmp_path / "parts" / "00000.json").unlink()
    again = bridge.run_study(network(), digits(8), out=tmp_path, **CHEAP)
    for name, frame in tables(again).items():
        pd.testing.assert_frame_equal(frame, frames[name])


def test_a_method_that_the_model_cannot_run_is_left_out_where_all_were_asked_for(
    tmp_path: Path,
) -> None:
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    model = bridge.wrap(plain)
    with pytest.raises(ValueError, match="layer_gradcam cannot run"):
        bridge.run_study(model, digits(2), out=tmp_path, methods=["layer_gradcam"], judged=0)
    params = {"occlusion": {"window": 4}, "fool": {"steps": 2}, "deepfool_l2": {"steps": 2}}
    study = bridge.run_study(
        model, digits(2), out=tmp_path, params=params, judged=0, progress=False
    )
    left_out = study.failures[study.failures["id"] == ""]
    assert {"layer_gradcam", "guided_backprop"} <= set(left_out["method"])
    assert set(left_out["stage"]) == {"preflight"}


def test_without_labels_the_models_own_prediction_is_attacked(tmp_path: Path) -> None:
    class Unlabelled(Digits):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index)[0]

    study = bridge.run_study(network(), Unlabelled(list(range(6))), out=tmp_path, **CHEAP)
    assert study.manifest["labels"] == "predicted"
    assert study.images["label"].tolist() == study.images["predicted"].tolist()


def test_a_class_can_be_explained(tmp_path: Path) -> None:
    study = bridge.run_study(network(), digits(4), out=tmp_path, target=7, **CHEAP)
    assert set(study.attributions["target"]) == {7}
    with pytest.raises(ValueError, match="unknown target 'best'"):
        bridge.run_study(network(), digits(4), out=tmp_path / "b", target="best", **CHEAP)


def test_a_loader_is_read_by_its_dataset_and_a_stream_is_refused(tmp_path: Path) -> None:
    loader = DataLoader(digits(6), batch_size=2)
    study = bridge.run_study(network(), loader, out=tmp_path, **CHEAP)
    assert len(study.images) == 6

    class Stream(IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(())

    with pytest.raises(TypeError, match="a stream cannot be resumed"):
        bridge.run_study(network(), Stream(), out=tmp_path / "b", **CHEAP)


def test_the_proof_holds_a_sample_against_all_implementations(tmp_path: Path) -> None:
    study = bridge.run_study(network(), digits(20), out=tmp_path, **{**CHEAP, "judged": 3})
    proof = bridge.Study.open(tmp_path).proof
    assert proof is not None
    assert len(proof.x) == 3
    assert set(proof.agreement["verdict"]) == {"equal"}
    assert study.disagreements == []


def test_sidecars_state_what_a_part_took_and_memory(tmp_path: Path) -> None:
    study = bridge.run_study(network(), digits(8), out=tmp_path, part_size=4, **CHEAP)
    card = json.loads((tmp_path / "parts" / "00001.json").read_text())
    assert card["files"]["images"]["rows"] == 4
    assert card["spent"]["forwards"] == 8
    assert study.spent["forwards"] == 16  # the clean pass, and a look at fgsm's images
    assert study.spent["backwards"] == 16
    assert study.spent["memory_mb"] > 0
