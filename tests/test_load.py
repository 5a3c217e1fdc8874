"""Models and images from every kind of source, and what happens when they are broken."""

from __future__ import annotations

import gzip
import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import bridge
from bridge.load import load_weights, model_sources, models
from bridge.zoo import ZOO, record
from bridge.zoo.train import accuracy
from tests.networks import Plain, images, seeded


@pytest.mark.parametrize(
    "name, shape, first",
    [
        ("imagenet", (3, 224, 224), [243, 559, 438]),
        ("cifar10", (3, 32, 32), [3, 8, 8]),
        ("cifar100", (3, 32, 32), [49, 33, 72]),
        ("mnist", (1, 28, 28), [7, 2, 1]),
        ("fashion_mnist", (1, 28, 28), [9, 2, 1]),
    ],
)
def test_the_samples_that_foolbox_packages(name, shape, first):
    x, labels = bridge.load_batch(f"samples:{name}", n=None)
    assert x.shape == (20, *shape)
    assert x.is_contiguous()
    assert labels[:3].tolist() == first
    assert float(x.min()) >= 0
    assert 0.9 < float(x.max()) <= 1
    data = bridge.load_data(f"samples:{name}")
    assert len(data) == 20
    assert len(data.class_names) > int(labels.max())


def test_mnist_and_fashion_mnist_are_not_confused():
    assert not torch.equal(
        bridge.load_batch("samples:mnist")[0], bridge.load_batch("samples:fashion_mnist")[0]
    )


def test_digits_and_the_model_that_trains_on_them_in_seconds():
    model = bridge.load_model("zoo:digits_cnn")
    x, labels = bridge.load_batch("sklearn:digits", n=None)
    assert x.shape == (360, 1, 8, 8)
    assert float((model(x).argmax(1) == labels).double().mean()) > 0.95
    again = bridge.load_model("zoo:digits_cnn")
    assert torch.equal(model(x), again(x))


@pytest.mark.parametrize("name", ["fashion_cnn", "fashion_alexnet"])
def test_the_zoo_is_as_accurate_as_recorded(name, real_data):
    x, labels = real_data.mnist("test", "fashion_mnist")
    model = bridge.load_model(f"zoo:{name}")
    recorded = record(name)
    assert accuracy(model, x, labels) == pytest.approx(
        recorded["test_accuracy"], abs=5e-4
    )  # a few images on an edge
    assert recorded["test_accuracy"] >= 0.92
    assert recorded["seed"] == 0
    assert recorded["parameters"] * 4 < 1_500_000


def test_the_zoo_classifies_its_samples():
    for name in ("fashion_cnn", "fashion_alexnet"):
        x, labels = bridge.load_batch("samples:fashion_mnist", n=None)
        model = bridge.load_model(f"zoo:{name}")
        assert float((model(x).argmax(1) == labels).double().mean()) >= 0.9
        assert model.class_names == ZOO[name].class_names
        untrained = bridge.load_model(f"zoo:{name}", pretrained=False)
        assert not torch.equal(untrained(x), model(x))


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(["cats", "dogs"]):
        (tmp_path / name).mkdir()
        for index in range(3):
            pixels = np.full((20, 30, 3), 40 * label + 10 * index, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    (tmp_path / "cats" / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_gives_classes_in_turn(folder):
    x, labels = bridge.load_batch(f"folder:{folder}", n=4)
    assert x.shape == (4, 3, 20, 30)
    assert labels.tolist() == [0, 1, 0, 1]
    assert torch.allclose(x[3], torch.full((3, 20, 30), 50 / 255))
    assert bridge.load_data(f"folder:{folder}").class_names == ("cats", "dogs")
    assert bridge.load_batch(f"folder:{folder}", n=2, size=16)[0].shape == (2, 3, 16, 16)


def test_a_corrupt_image_is_left_out_with_a_warning_and_loses_nothing(folder):
    (folder / "cats" / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.warns(UserWarning, match=r"cats/1\.png is not a readable image"):
        _, labels = bridge.load_batch(f"folder:{folder}", n=6)
    assert labels.tolist() == [0, 1, 1, 0, 1]
    data = bridge.load_data(f"folder:{folder}")
    with pytest.raises(ValueError, match="not a readable image"):
        list(data)


def test_images_of_different_shapes_need_a_size(folder):
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / "cats" / "0.png")
    with pytest.raises(ValueError, match="size="):
        bridge.load_batch(f"folder:{folder}", n=4)
    assert bridge.load_batch(f"folder:{folder}", n=4, size=8)[0].shape == (4, 3, 8, 8)


@pytest.mark.parametrize("layout", ["nhw", "nhwc", "nchw", "split", "float"])
def test_npz_in_every_layout(tmp_path, layout):
    pixels = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6)
    arrays = {
        "nhw": {"images": pixels, "labels": [1, 0]},
        "nhwc": {"x": pixels[..., None], "y": [1, 0]},
        "nchw": {"x": pixels[:, None], "y": [1, 0]},
        "split": {"x_test": pixels, "y_test": [1, 0], "x_train": 0, "y_train": 0},
        "float": {"x": pixels / np.float64(255), "y": [1, 0]},
    }[layout]
    np.savez(tmp_path / "a.npz", **arrays)
    x, labels = bridge.load_batch(f"npz:{tmp_path / 'a.npz'}", n=None)
    assert torch.allclose(x, torch.from_numpy(pixels)[:, None] / 255)
    assert x.dtype == torch.float32
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"a": [1]}, "expected images and labels"),
        ({"x": np.zeros((2, 4, 4)), "y": [1]}, "2 images and 1 labels"),
        ({"x": np.zeros((2, 4, 4)), "y": [0.5, 1]}, "integers"),
        ({"x": np.zeros((2, 4, 4), np.int64), "y": [0, 1]}, "uint8"),
        ({"x": np.zeros((2, 4)), "y": [0, 1]}, "shape"),
        (
            {"x": np.array([object(), object()]), "y": [0, 1]},
            "not a readable|allow_pickle|Object arrays",
        ),
    ],
)
def test_npz_files_that_do_not_fit_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        bridge.load_batch(f"npz:{tmp_path / 'a.npz'}")


def test_corrupt_npz_and_unknown_sources_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 broken")
    for source in (
        f"npz:{tmp_path}/a.npz",
        f"npz:{tmp_path}/b.npz",
        "samples:nope",
        "nope:x",
        "samples",
        "sklearn:iris",
        f"folder:{tmp_path}/none",
        f"folder:{tmp_path}",
        "torchvision:Nope",
        "torchvision:_x",
    ):
        with pytest.raises(ValueError):
            bridge.load_batch(source)
    with pytest.raises(ValueError, match="at least 1"):
        bridge.load_batch("samples:mnist", n=0)
    with pytest.warns(UserWarning, match="has 20 images, not 30"):
        assert len(bridge.load_batch("samples:mnist", n=30)[0]) == 20


def test_a_torchvision_dataset_on_files_made_here(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for prefix in ("train", "t10k"):
        for kind, head, body in (
            ("images-idx3", (2051, 3, 28, 28), pixels.tobytes()),
            ("labels-idx1", (2049, 3), bytes([5, 0, 9])),
        ):
            content = struct.pack(f">{len(head)}i", *head) + body
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(content)
            (raw / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    x, labels = bridge.load_batch("torchvision:FashionMNIST", n=3, root=str(tmp_path))
    assert torch.equal(x, torch.from_numpy(pixels)[:, None] / 255)
    assert labels.tolist() == [5, 0, 9]
    assert (
        bridge.load_data("torchvision:FashionMNIST", root=str(tmp_path)).class_names[9]
        == "Ankle boot"
    )


FACTORY = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

def wrapped():
    import bridge
    return bridge.wrap(network(), mean=0.5, std=0.5)

def nothing():
    return 3
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return path


def test_a_users_own_network_with_their_weights(factory, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    x = images(2, (3, 2, 2))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    torch.save(network.state_dict(), tmp_path / "w.pt")
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}},
        tmp_path / "parallel.pt",
    )
    for file in ("w.safetensors", "w.pt", "parallel.pt"):
        model = bridge.load_model(
            f"python:{factory}:network",
            weights=tmp_path / file,
            mean=0.5,
            std=0.5,
            class_names="abc",
        )
        assert torch.equal(model(x), network((x - 0.5) / 0.5))
        assert model.class_names == ("a", "b", "c")
        assert not model.module.training
    wrapped = bridge.load_model(f"python:{factory}:wrapped", weights=tmp_path / "w.pt")
    assert torch.equal(wrapped(x), network((x - 0.5) / 0.5))
    with pytest.raises(ValueError, match="wrapped already"):
        bridge.load_model(f"python:{factory}:wrapped", mean=0.5)
    assert bridge.load_model("python:tests.networks:Plain")(images()).shape == (3, 4)
    assert str(factory.parent) not in sys.path


def test_a_new_source_of_models_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "mirrored.py").write_text(
        "from torch import nn\n"
        "from bridge.load import model_source\n"
        "@model_source('mirrored')\n"
        "def mirrored(name, pretrained):\n"
        "    if name != 'tiny':\n"
        "        raise ValueError(f'mirrored has no {name!r}')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), {'class_names': 'abc'}\n"
    )
    monkeypatch.setattr(models, "_SOURCES", dict(models._SOURCES))
    monkeypatch.setattr(model_sources, "__path__", [*model_sources.__path__, str(tmp_path)])
    models.model_sources.cache_clear()
    try:
        model = bridge.load_model("mirrored:tiny", mean=0.5, std=0.5)
        assert model(images(2, (3, 2, 2))).shape == (2, 3)
        assert (model.class_names, model.name) == (("a", "b", "c"), "mirrored:tiny")
        with pytest.raises(ValueError, match="mirrored has no 'huge'"):
            bridge.load_model("mirrored:huge")
        with pytest.raises(ValueError, match="lightning:NAME, mirrored:NAME, python:NAME"):
            bridge.load_model("nope:x")
    finally:
        models.model_sources.cache_clear()
        sys.modules.pop("bridge.load.model_sources.mirrored")


def test_models_and_weights_that_do_not_load_are_refused(factory, tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("code ran",))

    torch.save(Evil(), tmp_path / "evil.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    save_file(seeded(Plain).state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 50)
    (tmp_path / "broken.pt").write_bytes(b"no zip")
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    for file, words in [
        ("evil.pt", "run any code"),
        ("numbers.pt", "no state dict"),
        ("other.safetensors", "do not fit"),
        ("broken.safetensors", "not a readable"),
        ("broken.pt", "not a readable|run any code"),
        ("none.pt", "no weight file"),
    ]:
        with pytest.raises(ValueError, match=words):
            load_weights(network, tmp_path / file)
    for source in (
        "nope:x",
        "zoo",
        "zoo:nope",
        "torchvision:nope",
        "timm:nope",
        "python:nope",
        "python:nope.nope:f",
        f"python:{tmp_path}/none.py:f",
        f"python:{factory}:none",
        f"python:{factory}:nothing",
        f"hf:{tmp_path}",
    ):
        with pytest.raises(ValueError):
            bridge.load_model(source)


def test_torchvision_and_timm_models_bring_their_preprocessing(tmp_path):
    import timm
    import torchvision

    x = images(1, (3, 64, 64))
    network = torchvision.models.squeezenet1_1(weights=None)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = bridge.load_model("torchvision:squeezenet1_1", weights=tmp_path / "w.safetensors")
    normalised = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    assert torch.allclose(
        model(x), network.eval()(normalised), atol=1e-6
    )  # the same float32 operations
    assert model.class_names[207] == "golden retriever"
    other = bridge.load_model("timm:mobilenetv3_small_050", pretrained=False)
    config = timm.data.resolve_model_data_config(other.module)
    assert other.mean.flatten().tolist() == pytest.approx(list(config["mean"]))
    assert other(x).shape == (1, 1000)


def test_a_hugging_face_model_from_a_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        num_labels=3,
        id2label={0: "ant", 1: "bee", 2: "cat"},
        label2id={"ant": 0, "bee": 1, "cat": 2},
    )
    network = transformers.ResNetForImageClassification(config).eval()
    network.save_pretrained(tmp_path)
    transformers.ConvNextImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(
        tmp_path
    )
    model, x = bridge.load_model(f"hf:{tmp_path}"), images(2, (3, 32, 32))
    assert model.class_names == ("ant", "bee", "cat")
    assert torch.allclose(model(x), network((x - 0.5) / 0.25).logits, atol=1e-6)
    result = bridge.compare(
        model, x, [0, 2], methods=["saliency", "layer_gradcam", "fgsm"], repeats=1, progress=False
    )
    assert set(result.agreement["verdict"]) <= {"equal", "rounding"}
    assert result.failures.empty


def test_imagenet_weights_from_a_file_are_the_networks_own(real_data):
    path = real_data.P("imagenet_models", "squeezenet1_1.safetensors")
    model = bridge.load_model("torchvision:squeezenet1_1", weights=path)
    x, labels = real_data.imagenet_samples(n=200)
    ours = bridge.wrap(
        real_data.squeezenet(), mean=real_data.IMAGENET_MEAN, std=real_data.IMAGENET_STD
    )
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(1) for part in x.split(20)])
        assert torch.equal(model(x[:20]), ours(x[:20]))
    assert float((predicted == labels).float().mean()) == pytest.approx(
        0.645, abs=0.01
    )  # as its source states
    assert model.class_names[130] == "flamingo"
