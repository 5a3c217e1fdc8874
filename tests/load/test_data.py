"""Labels and pixels of folders, tables and arrays."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

import bridge
from bridge.load import data as loading
from bridge.load import names

CLASSES = ("electric ray", "bobsled, bobsleigh, bob", "tabby, tabby cat")


def picture(path, value=0, shape=(8, 8, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Three folders, whose order is not the model's."""
    for value, folder in enumerate(["Tabby_cat", "bobsled", "electric-ray"]):
        for index in range(2):
            picture(tmp_path / folder / f"{index}.png", 10 * value + index)
    return tmp_path


def values(x):
    """The gray value of each image, of 255."""
    return (x[:, 0, 0, 0] * 255).round().int().tolist()


def test_folders_get_the_models_numbers(photos):
    x, labels = bridge.load_batch(f"folder:{photos}", n=None, class_names=CLASSES)
    assert values(x) == [20, 10, 0, 21, 11, 1]  # the classes take turns
    assert labels.tolist() == [0, 1, 2, 0, 1, 2]
    data = bridge.load_data(f"folder:{photos}", class_names=list(CLASSES))
    assert data.class_names == CLASSES
    assert data.labelled
    assert [label for _, label in data] == labels.tolist()
    # Without class names they are numbered alphabetically, and the data's own class names say so.
    _, labels = bridge.load_batch(f"folder:{photos}", n=3)
    assert labels.tolist() == [0, 1, 2]
    own = bridge.load_data(f"folder:{photos}").class_names
    assert own == ("Tabby_cat", "bobsled", "electric-ray")


def test_folders_are_matched_by_wordnet_id_and_index(tmp_path):
    for folder in ("n02099601", "281", "goldfish"):
        picture(tmp_path / folder / "a.png")
    _, labels = bridge.load_batch(f"folder:{tmp_path}", n=3, class_names=names.imagenet())
    assert sorted(labels.tolist()) == [1, 207, 281]


def test_two_folders_may_mean_one_class(tmp_path):
    picture(tmp_path / "tabby" / "a.png", 1)
    picture(tmp_path / "tabby cat" / "a.png", 2)
    x, labels = bridge.load_batch(f"folder:{tmp_path}", n=2, class_names=CLASSES)
    assert labels.tolist() == [2, 2]
    assert sorted(values(x)) == [1, 2]


def test_folders_that_are_no_class_are_refused_with_the_nearest(photos):
    (photos / "bobsled").rename(photos / "bobsledd")
    with pytest.raises(ValueError, match=r"1 of the 3 labels .*'bobsledd' \(nearest: 'bobsled, "):
        bridge.load_batch(f"folder:{photos}", class_names=CLASSES)
    (photos / "empty").mkdir()  # holds nothing, so needs no class
    (photos / "bobsledd").rename(photos / "bobsled")
    assert len(bridge.load_data(f"folder:{photos}", class_names=CLASSES)) == 6


def test_a_folder_of_images_alone_has_no_labels(tmp_path):
    for index in range(3):
        picture(tmp_path / f"{index}.png", index)
    (tmp_path / "notes").mkdir()
    for class_names in (None, CLASSES):
        x, labels = bridge.load_batch(f"folder:{tmp_path}", n=2, class_names=class_names)
        assert values(x) == [0, 1]
        assert labels is None
        data = bridge.load_data(f"folder:{tmp_path}", class_names=class_names)
        assert not data.labelled
        assert data[2][1] is None
        assert data.class_names == class_names


def test_images_beside_the_class_folders_are_told(photos):
    picture(photos / "loose.png")
    with pytest.warns(UserWarning, match=r"left out: 1 images beside .* the first is loose\.png"):
        assert len(bridge.load_data(f"folder:{photos}")) == 6


def test_hidden_files_and_folders_are_no_images_and_no_classes(photos):
    expected = bridge.load_batch(f"folder:{photos}", n=None)
    for name in (
        ".thumbnails/a.png",
        "__MACOSX/a.png",
        "bobsled/.checkpoints/0.png",
        "bobsled/._0.png",
    ):
        picture(photos / name, 99)
    os.mkfifo(photos / "bobsled" / "pipe.png")
    (photos / "bobsled" / "folder.png").mkdir()
    x, labels = bridge.load_batch(f"folder:{photos}", n=None)
    assert torch.equal(x, expected[0])
    assert torch.equal(labels, expected[1])


def test_the_folder_above_the_splits_is_refused(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / split / "bobsled" / "a.png")
    with pytest.raises(
        ValueError, match=r"holds the splits train, val, not classes: .*folder:.*/val"
    ):
        bridge.load_batch(f"folder:{tmp_path}")
    picture(tmp_path / "train" / "a.png")  # a class of this name has its images right in it
    assert len(bridge.load_data(f"folder:{tmp_path}")) == 3


def test_alphabetical_numbers_that_mislead_are_told(tmp_path):
    for folder in ("0", "1", "10", "2"):
        picture(tmp_path / folder / "a.png")
    with pytest.warns(
        UserWarning, match="'10' is class 2; class_names= would make the names indices"
    ):
        bridge.load_data(f"folder:{tmp_path}")
    eleven = [f"class {k}" for k in range(11)]
    _, labels = bridge.load_batch(f"folder:{tmp_path}", n=4, class_names=eleven)
    assert labels.tolist() == [0, 1, 2, 10]
    (tmp_path / "empty").mkdir()
    (tmp_path / "10").rename(tmp_path / "3")
    with pytest.warns(UserWarning, match="folder 'empty' holds no images, and still is class 4"):
        bridge.load_data(f"folder:{tmp_path}")


def test_folders_that_cannot_be_listed_are_refused(photos, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(ValueError, match=r"cannot be read .*Permission denied"):
        bridge.load_data(f"folder:{photos}")


def test_gray_models_get_gray_images_on_request(tmp_path):
    picture(tmp_path / "a" / "gray.png", 7, (8, 8))
    picture(tmp_path / "b" / "colour.png", 9)
    source = f"folder:{tmp_path}"
    assert bridge.load_batch(source, n=2)[0].shape == (2, 3, 8, 8)
    gray, _ = bridge.load_batch(source, n=2, channels=1)
    assert gray.shape == (2, 1, 8, 8)
    assert values(gray) == [7, 9]
    assert bridge.load_batch("samples:mnist", n=2, channels=3)[0].shape == (2, 3, 28, 28)
    for channels in (0, 2, 4, "gray"):
        with pytest.raises(ValueError, match=r"channels must be 1 .gray. or 3"):
            bridge.load_data(source, channels=channels)


@pytest.fixture
def table(tmp_path):
    """Writes a csv beside three images."""
    for index in range(3):
        picture(tmp_path / "images" / f"{index}.png", index)

    def write(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode(encoding))
        return f"csv:{path}"

    return write


@pytest.mark.parametrize(
    "text",
    [
        "images/0.png,tabby\nimages/1.png,electric ray\nimages/2.png,bob\n",
        "path,label\nimages/0.png,tabby\nimages/1.png,electric ray\nimages/2.png,bob\n",
        "label,wide,File\ntabby,8,images/0.png\nELECTRIC_RAY,8,images/1.png\n1,8,images/2.png\n",
        'path,label\r\nimages/0.png,"tabby, tabby cat"\r\n'
        "\r\nimages/1.png, 0\r\nimages/2.png,1\r\n",
        "images/0.png;2\nimages/1.png;0\nimages/2.png;1",
        "images/0.png\ttabby\nimages/1.png\telectric ray\nimages/2.png\tbobsled\n",
        "file,label,name\nimages/0.png,2,tabby\nimages/1.png,0,ray\nimages/2.png,1,bob\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_of_paths_and_labels(table, text, encoding):
    x, labels = bridge.load_batch(table(text, encoding), n=None, class_names=CLASSES)
    assert values(x) == [0, 1, 2]
    assert labels.tolist() == [2, 0, 1]


def test_a_table_without_class_names(table):
    source = table("images/0.png,207\nimages/1.png,1\n")
    assert bridge.load_batch(source, n=2)[1].tolist() == [207, 1]
    assert bridge.load_data(source).class_names is None
    source = table("images/0.png,n02\nimages/1.png,n01\n")
    assert bridge.load_batch(source, n=2)[1].tolist() == [1, 0]
    assert bridge.load_data(source).class_names == ("n01", "n02")
    absolute = source.removeprefix("csv:").removesuffix("labels.csv") + "images/2.png"
    assert values(bridge.load_batch(table(f"{absolute},0"), n=1)[0]) == [2]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "holds no images"),
        ("path,label\n", "holds no images"),
        ("images/9.png,dog\n", r"line 1 of .*labels\.csv names 'images/9\.png', .* no file"),
        ("path,label\nimages/0.png,bob\nimages,bob\n", "line 3 .* no file"),
        ("images/0.png\n", "line 1 .* has 1 cells: expected path and label"),
        ("images/0.png,bob,bob\n", "line 1 .* has 3 cells"),
        ("path,label\nimages/0.png\n", "line 2 .* has 1 cells"),
        ("images/0.png,\n", "line 1 .* has no label"),
        (
            "path,when\nimages/0.png,bob\n",
            "columns of .* are .*'when'.*: expected one path and one",
        ),
        ("path,wnid,class\nimages/0.png,bob,bob\n", "expected one path and one label"),
        ("path,file,label\nimages/0.png,b,bob\n", "expected one path and one label"),
        ("images/0.png,bobsledd\n", "'bobsledd' .nearest: 'bobsled, bobsleigh, bob'"),
        ("images/0.png,3\n", "'3'; .* an index from 0 to 2"),
        ('images/0.png,"bob\n', "not a readable table"),
        ("images/0.png\0,bob\n", "line 1|not a readable table"),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, text, words):
    with pytest.raises(ValueError, match=words):
        bridge.load_batch(table(text), class_names=CLASSES)


def test_files_that_are_no_tables_are_refused(table, tmp_path):
    with pytest.raises(ValueError, match="UTF-8 text"):
        bridge.load_data(table("images/0.png,bob\n", encoding="utf-16"))
    for name in ("none.csv", "images"):
        with pytest.raises(ValueError, match="is not a file"):
            bridge.load_data(f"csv:{tmp_path / name}")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="is not a file"):
        bridge.load_data(f"csv:{tmp_path / 'pipe.csv'}")


def saved(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return f"npz:{folder / 'a.npz'}"


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8", "longdouble"])
def test_floats_of_arrays_are_kept(tmp_path, kind):
    ramp = np.linspace(0, 1, 64).reshape(1, 8, 8)
    source = saved(tmp_path, x=ramp, y=[0])
    small, _ = bridge.load_batch(source, n=1, size=4)
    assert 0 < float(small.min()) < float(small.max()) < 1
    for low, high in ((0, 1), (0, 255), (-2.1, 2.6)):  # whatever their scale
        pixels = (low + (high - low) * ramp).astype(kind)
        source = saved(tmp_path, x=pixels, y=[0])
        x, _ = bridge.load_batch(source, n=1)
        assert torch.equal(x[0], torch.from_numpy(pixels.astype(np.float32)))
        x, _ = bridge.load_batch(source, n=1, size=4)
        assert x.dtype == torch.float32
        atol = (high - low) * (1e-3 if kind == "<f2" else 1e-6)  # the rounding of the kind
        assert torch.allclose(x, low + (high - low) * small, atol=atol)


def test_integers_of_arrays_are_scaled_by_their_kind(tmp_path):
    for kind, top in (("u1", 255), ("<u2", 65535), (">u2", 65535)):
        pixels = np.array([[[0, top // 2], [top // 5, top]]]).astype(kind)
        x, _ = bridge.load_batch(saved(tmp_path, x=pixels, y=[0]), n=1)
        assert torch.allclose(x[0, 0].double(), torch.tensor(pixels[0].astype(float) / top))


TWO = np.zeros((2, 4, 4))
SPOILT = np.stack([np.zeros((4, 4)), np.full((4, 4), np.nan)])


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"x": SPOILT, "y": [0, 1]}, "image 1 in .* holds NaN"),
        ({"x": np.nan_to_num(SPOILT, nan=np.inf), "y": [0, 1]}, "image 1 in .* infinity"),
        ({"x": np.nan_to_num(SPOILT, nan=1e300), "y": [0, 1]}, "image 1 in .* beyond float32"),
        ({"x": TWO.astype(np.int64), "y": [0, 1]}, "int64, expected uint8, .*: save 0 to 255 as"),
        ({"x": TWO.astype(np.uint32), "y": [0, 1]}, "uint32, expected"),
        ({"x": TWO.astype(bool), "y": [0, 1]}, "bool, expected"),
        ({"x": TWO.astype(complex), "y": [0, 1]}, "complex128, expected"),
        ({"x": (TWO + 200).astype(np.uint16), "y": [0, 1]}, "uint16 but only go to 255"),
        ({"x": TWO, "y": [0, -1]}, "label 1 in .* is -1: classes are numbered from 0"),
        ({"x": TWO, "y": [[0, 1], [1, 0]]}, r"labels .* have shape \(2, 2\), expected \(n,\)"),
        ({"x": TWO, "y": [True, False]}, "labels .* bool, expected integers"),
        ({"x": TWO, "y": 3}, "shape"),
        ({"x": 3, "y": [0, 1]}, "no images and 2 labels"),
        ({"x": np.zeros((2, 4, 4, 4)), "y": [0, 1]}, "1 or 3 channels"),
        ({"x": np.zeros((2, 0, 4)), "y": [0, 1]}, "shape"),
        ({"x": np.zeros((0, 4, 4)), "y": np.zeros(0, int)}, "holds no images"),
        ({"x": TWO, "y": [0, 7]}, "image 1 of npz:.* has label 7, but the model has 3 classes"),
        ({"x": TWO, "y": ["bob", "ant"]}, "'ant'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, words):
    with pytest.raises(ValueError, match=words):
        bridge.load_batch(saved(tmp_path, **arrays), n=None, class_names=CLASSES)


def test_labels_of_arrays(tmp_path):
    source = saved(tmp_path, x=TWO, y=["tabby", "bobsleigh"])
    assert bridge.load_batch(source, n=2, class_names=CLASSES)[1].tolist() == [2, 1]
    assert bridge.load_batch(source, n=2)[1].tolist() == [1, 0]
    assert bridge.load_data(source).class_names == ("bobsleigh", "tabby")
    source = saved(tmp_path, x=TWO, y=np.array([[2], [1]], dtype=np.uint8))  # as Keras has them
    assert bridge.load_batch(source, n=2, class_names=CLASSES)[1].tolist() == [2, 1]
    assert bridge.load_data(source, class_names=CLASSES).class_names == CLASSES


def test_files_that_are_no_archives_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", TWO)
    whole = (tmp_path / "whole.npz").open("wb")
    np.savez_compressed(whole, x=np.random.default_rng(0).random((9, 9, 9)), y=np.arange(9))
    whole.close()
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[1000:1400] = bytes(400)
    (tmp_path / "spoilt.npz").write_bytes(content)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("one.npy", "spoilt.npz", "text.npz"):
        with pytest.raises(ValueError, match=f"{name} is not a readable .npz file"):
            bridge.load_batch(f"npz:{tmp_path / name}")


def test_the_classes_of_samples_get_the_models_numbers():
    _, own = bridge.load_batch("samples:cifar10", n=None)
    backwards = names.CIFAR10[::-1]
    _, labels = bridge.load_batch("samples:cifar10", n=None, class_names=backwards)
    assert torch.equal(labels, 9 - own)
    _, same = bridge.load_batch("samples:imagenet", n=4, class_names=names.imagenet())
    assert torch.equal(same, bridge.load_batch("samples:imagenet", n=4)[1])
    with pytest.raises(ValueError, match=r"label of .* is no class of the model: 'ship'"):
        bridge.load_batch("samples:cifar10", n=None, class_names=("cat", "dog"))
    with pytest.raises(ValueError, match="is no class of the model: 'Ankle boot'"):
        bridge.load_batch("samples:fashion_mnist", class_names=names.imagenet())
    with pytest.warns(UserWarning, match="no class of samples:mnist has a name of the model's"):
        bridge.load_batch("samples:mnist", n=2, class_names=names.CIFAR10)


def test_images_of_different_shapes_are_named(tmp_path):
    picture(tmp_path / "a" / "one.png", shape=(20, 30, 3))
    picture(tmp_path / "b" / "two.png", shape=(8, 9, 3))
    words = (
        r"a/one\.png has 3 x 20 x 30 and .*b/two\.png has 3 x 8 x 9 .*pass size=, for example 224"
    )
    with pytest.raises(ValueError, match=words):
        bridge.load_batch(f"folder:{tmp_path}", n=2)


def test_images_that_are_refused_are_left_out_by_name(tmp_path):
    picture(tmp_path / "a" / "0.png")
    picture(tmp_path / "b" / "0.png", 100, (8, 8, 4))
    with pytest.warns(UserWarning, match=r"left out: .*b/0\.png has transparency"):
        assert bridge.load_batch(f"folder:{tmp_path}", n=2)[1].tolist() == [0]
    (tmp_path / "a" / "0.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(
            ValueError, match=r"no image of .* can be read: .*a/0\.png is not a readable"
        ),
    ):
        bridge.load_batch(f"folder:{tmp_path}", n=2)


PATHS = ("folder", "csv", "npz")
NO_PATHS = ("~nobody-of-this-name/x", "x" * 5000, "a\0b", "\udcff", ".." * 3)


@pytest.mark.parametrize(
    "error, options",
    [
        (ValueError, {"size": 0}),
        (ValueError, {"size": -3}),
        (TypeError, {"size": 2.5}),
        (TypeError, {"size": "224"}),
        (ValueError, {"n": -1}),
        (TypeError, {"n": 2.5}),
        (TypeError, {"class_names": {"cat": 0}}),
        (TypeError, {"class_names": {"cat", "dog"}}),
        (TypeError, {"source": 3}),
        (ValueError, {"source": "samples:mnist:"}),
        *((ValueError, {"source": f"{scheme}:{path}"}) for scheme in PATHS for path in NO_PATHS),
        (ValueError, {"source": "sklearn:digits", "split": "tset"}),
    ],
)
def test_what_makes_no_sense_is_refused(error, options):
    with pytest.raises(error):
        bridge.load_batch(**{"source": "samples:mnist", **options})


def test_a_new_source_is_one_registration(monkeypatch):
    monkeypatch.setattr(loading, "_SOURCES", dict(loading.data_sources()))

    @bridge.load.data_source("stripes")
    def stripes(request):
        """Three images, of which the second cannot be read."""

        def read(index):
            if index == 1:
                raise bridge.load.Unreadable("stripe 1 is torn")
            return np.full((1, 4, 4), 10 * index, dtype=np.uint8), index

        return bridge.load.ImageData(request.source, 3, read, ("x", "y", request.name))

    with pytest.warns(UserWarning, match="left out: stripe 1 is torn"):
        x, labels = bridge.load_batch(
            "stripes:z", n=None, size=2, channels=3, class_names=("z", "y", "x")
        )
    assert x.shape == (2, 3, 2, 2)
    assert labels.tolist() == [2, 0]
    with pytest.raises(ValueError, match=r"expected one of csv:NAME, .*, stripes:NAME, "):
        bridge.load_data("strips:z")
