"""A folder with every kind of odd file: each good one is used rightly, each bad one is named."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bridge
from bridge.load.in_turn import InTurn
from bridge.load.names_of_files import FileNames
from bridge.load.sampling import ranks, some_of

SIDE = 28


def ramp() -> np.ndarray:
    """Another value at every pixel of the first rows, so that a turned image is seen."""
    values = np.arange(SIDE * SIDE) % 251
    return values.reshape(SIDE, SIDE).astype(np.uint8)


def bomb(path: Path, side: int) -> None:
    """A PNG that says that it has side x side pixels, in some hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / "Bag"
    folder.mkdir()
    gray = Image.fromarray(ramp())
    colour = Image.fromarray(np.stack([ramp()] * 3, axis=-1))
    gray.save(folder / "a_gray.png")
    gray.convert("P").save(folder / "b_palette.png")
    Image.fromarray(ramp().astype(np.uint16) * 257).save(folder / "c_16bit.png")
    colour.convert("CMYK").save(folder / "d_cmyk.tif")
    colour.putalpha(255)
    colour.save(folder / "e_opaque.png")
    turned = gray.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees when it is shown
    turned.save(folder / "f_turned.png", exif=exif)
    gray.save(folder / "g_Ünïcode 图.png")
    # The bad ones.
    whole = (folder / "a_gray.png").read_bytes()
    (folder / "m_truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "n_empty.png").write_bytes(b"")
    frames = [gray, Image.fromarray(255 - ramp())]
    frames[0].save(folder / "o_animated.gif", save_all=True, append_images=frames[1:])
    colour.putalpha(100)
    colour.save(folder / "p_transparent.png")
    (folder / "q_text.jpg").write_text("no image at all")
    bomb(folder / "r_bomb.png", 30_000)
    (folder / "s_link.png").symlink_to(folder / "gone.png")
    (folder / "t_secret.png").write_bytes(whole)
    (folder / "t_secret.png").chmod(0)
    (folder / "readme.txt").write_text("no image by its name")
    return tmp_path


GOOD = "abcdefg"
BAD = "mnopqrs"


def test_each_odd_file_is_used_rightly_or_named(odd: Path, tmp_path: Path) -> None:
    model = bridge.load_model("zoo:fashion_cnn")
    data = bridge.load_data(f"folder:{odd}", class_names=model.class_names, channels=1)
    study = bridge.run_study(
        model,
        data,
        out=tmp_path / "study",
        methods=["saliency"],
        judged=0,
        progress=False,
    )
    expected = torch.from_numpy(ramp()).float() / 255
    readable = os.access(odd / "Bag" / "t_secret.png", os.R_OK)  # who is root reads everything
    good, bad = (GOOD + "t", BAD) if readable else (GOOD, BAD + "t")
    used = {
        Path(source).name[0]: k
        for source, k in zip(study.images["source"], study.images["id"], strict=True)
    }
    assert sorted(used) == sorted(good)
    for letter, identity in used.items():
        image = study.thumbnail(identity)
        assert image.shape == (1, SIDE, SIDE)
        assert (image[0] - expected).abs().max() <= 1.01 / 255, letter
    named = sorted(
        Path(text.split(" is ")[0].split(" has ")[0].split(" holds ")[0]).name[0]
        for text in study.failures["message"]
    )
    assert named == sorted(bad)
    assert set(study.failures["stage"]) == {"read"}
    assert study.finished


def test_an_index_of_many_files_is_quick_and_small(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(1500):
            (tmp_path / name / f"{k}.png").touch()
    data = bridge.load_data(f"folder:{tmp_path}")
    assert len(data) == 3000
    assert data.label is not None
    assert [data.label(k) for k in range(4)] == [0, 1, 0, 1]
    assert data.where(3) == str(tmp_path / "b" / "1.png")


def test_the_memory_of_names_does_not_grow_with_their_number() -> None:
    import tracemalloc

    def kept(count: int) -> tuple[int, FileNames]:
        tracemalloc.start()
        names = FileNames(f"n01440764/ILSVRC2012_val_{k:08}.JPEG" for k in range(count))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size, names

    (few, _), (many, names) = kept(100_000), kept(400_000)
    assert few < 3e6
    assert many < 3e6
    for k in (0, 1, 27_593, 27_594, 399_998, 399_999):  # also across the end of what is in memory
        assert names[k] == f"n01440764/ILSVRC2012_val_{k:08}.JPEG"
    with pytest.raises(IndexError):
        names[400_000]
    names.extend(["last.png"])
    assert names[400_000] == "last.png"
    assert pickle.loads(pickle.dumps(names))[400_000] == "last.png"
    # Other processes read at places of their own.
    context = multiprocessing.get_context("fork")
    said = context.Queue()

    def read(k: int) -> None:
        said.put(
            [names[k] for _ in range(2000)] == [f"n01440764/ILSVRC2012_val_{k:08}.JPEG"] * 2000
        )

    children = [context.Process(target=read, args=(k,)) for k in (5, 200_000)]
    for child in children:
        child.start()
    assert [said.get(timeout=60) for _ in children] == [True, True]
    for child in children:
        child.join()


@pytest.mark.parametrize("counts", [[3], [0, 0], [1, 3, 0, 2], [5, 5, 5], [2, 7, 7, 1, 4]])
def test_classes_take_turns_as_sorting_by_rank_and_class_would_have_them(counts) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = np.lexsort((labels, ranks(labels)))
    order, firsts = InTurn(counts), np.cumsum([0, *counts])
    found = [firsts[of] + rank for of, rank in (order[k] for k in range(len(order)))]
    assert found == expected.tolist()


def test_folders_that_mean_one_class_share_its_turns(tmp_path: Path) -> None:
    for name, count in {"tabby": 1, "cat": 2, "dog": 2}.items():
        (tmp_path / name).mkdir()
        for k in range(count):
            (tmp_path / name / f"{k}.png").touch()
    data = bridge.load_data(f"folder:{tmp_path}", class_names=["dog", "tabby, cat"])
    assert data.label is not None
    told = [(Path(data.where(k)).parent.name, data.label(k)) for k in range(len(data))]
    assert told == [("dog", 0), ("cat", 1), ("dog", 0), ("cat", 1), ("tabby", 1)]


def test_a_balanced_choice_has_as_many_of_each_class() -> None:
    data = bridge.load_data("sklearn:digits")
    for given in ({"limit": 50}, {"sample": 50}):
        chosen = some_of(data, balanced=True, seed=1, **given)
        assert sorted(chosen) == list(chosen)
        labels = [data[index][1] for index in chosen]
        assert [labels.count(k) for k in range(10)] == [5] * 10
    assert some_of(data, sample=20, seed=1) == some_of(data, sample=20, seed=1)
    assert some_of(data, sample=20, seed=1) != some_of(data, sample=20, seed=2)
    assert some_of(data, sample=10_000) == range(len(data))
    with pytest.raises(ValueError, match="choose one of them"):
        some_of(data, limit=3, sample=3)
