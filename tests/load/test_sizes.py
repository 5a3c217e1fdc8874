"""Images come to a model as its own transform brings them: resized and cropped alike."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms import functional

import bridge
from bridge.core.resizing import Resizing
from bridge.load import at_own_size, load_data, load_model
from bridge.load.images import Unreadable, to_tensor

PHOTO = np.random.default_rng(0).integers(0, 256, (97, 151, 3), dtype=np.uint8)


def normalised(model, pixels):
    return (pixels - model.mean[0]) / model.std[0]


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "resnet50@IMAGENET1K_V1", "resnet50", "efficientnet_b1", "swin_t"]
)
@pytest.mark.parametrize("turned", [False, True])
def test_torchvisions_own_transform_gives_the_same_pixels(name, turned):
    image = Image.fromarray(PHOTO.transpose(1, 0, 2) if turned else PHOTO)
    model = load_model(f"torchvision:{name}", pretrained=False)
    architecture, _, weights = name.partition("@")
    expected = models.get_model_weights(architecture)[weights or "DEFAULT"].transforms()(image)
    found = to_tensor(np.asarray(image).transpose(2, 0, 1), model.resizing)
    torch.testing.assert_close(normalised(model, found), expected, rtol=0, atol=1e-6)


def test_weights_of_torchvision_are_chosen_by_name():
    old = load_model("torchvision:resnet50@IMAGENET1K_V1", pretrained=False)
    new = load_model("torchvision:resnet50", pretrained=False)
    assert (old.resizing, new.resizing) == (Resizing(256, (224, 224)), Resizing(232, (224, 224)))
    with pytest.raises(ValueError, match=r"no weights 'V3' of resnet50, only DEFAULT, .*_V1, .*V2"):
        load_model("torchvision:resnet50@V3")


@pytest.mark.parametrize("name", ["convnext_atto.d2_in1k", "vit_tiny_patch16_224", "resnet18"])
def test_timms_own_transform_gives_the_same_pixels(name):
    timm = pytest.importorskip("timm")
    model = load_model(f"timm:{name}", pretrained=False)
    config = timm.data.resolve_model_data_config(model.module, use_test_size=True)
    expected = timm.data.create_transform(**config)(Image.fromarray(PHOTO))
    found = to_tensor(PHOTO.transpose(2, 0, 1), model.resizing)
    torch.testing.assert_close(normalised(model, found), expected, rtol=0, atol=1e-6)


def test_timms_crops_are_read_or_left_out():
    pytest.importorskip("timm")
    from bridge.load.model_sources.timm import resizing_of

    config = {"input_size": (3, 224, 224), "crop_pct": 0.9, "interpolation": "bicubic"}
    squash = resizing_of({**config, "crop_mode": "squash"})
    assert squash == Resizing((248, 248), (224, 224), "bicubic")
    assert resizing_of({**config, "crop_mode": "border"}) is None


PROCESSORS = {
    "ViTImageProcessor": {"size": {"height": 48, "width": 48}},
    "ConvNextImageProcessor": {"size": {"shortest_edge": 56}},
    "BitImageProcessor": {"size": {"shortest_edge": 60}, "crop_size": {"height": 48, "width": 48}},
    "DeiTImageProcessor": {"do_rescale": False, "do_normalize": False},
    "EfficientNetImageProcessor": {"size": {"height": 40, "width": 40}, "resample": 0},
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_processors_pixels_are_the_same_whatever_its_flags_are_called(kind):
    """EfficientNet's divides by its std twice."""
    transformers = pytest.importorskip("transformers")
    from bridge.load.model_sources.hf import preprocessing

    processor = getattr(transformers, kind)(**PROCESSORS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = preprocessing(processor, kind)
    smooth = np.asarray(Image.fromarray(PHOTO).resize((7, 5)).resize((151, 97)))
    pixels = np.ascontiguousarray(smooth.transpose(2, 0, 1))
    seen = processor(pixels, return_tensors="np", input_data_format="channels_first")
    model = bridge.wrap(torch.nn.Flatten(), mean=told["mean"], std=told["std"])
    ours = model.normalised(to_tensor(pixels, told["resizing"])[None].double())
    gap = (ours - torch.from_numpy(np.asarray(seen["pixel_values"]))) * model.std
    assert float(gap.abs().max()) < 3 / 255  # it resizes tensors, and Pillow's rounds otherwise


@pytest.mark.parametrize("kind", ["PerceiverImageProcessor", "MobileViTImageProcessor"])
def test_a_processor_with_a_way_of_its_own_is_told(kind):
    """One crops before it resizes, one turns RGB into BGR."""
    transformers = pytest.importorskip("transformers")
    from bridge.load.model_sources.hf import preprocessing

    options = {"size": {"shortest_edge": 288}} if kind.startswith("Mobile") else {}
    with pytest.warns(UserWarning, match="in a way of its own: .*--size"):
        told = preprocessing(getattr(transformers, kind)(**options), kind)
    assert told["resizing"] is None


def test_a_hugging_face_model_of_this_machine_brings_its_size(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = load_model(f"hf:{tmp_path}")
    x, _ = bridge.load_batch("samples:imagenet", 2, size=model.resizing)
    assert x.shape == (2, 3, 32, 32)
    assert model(x).shape == (2, 3)


@pytest.fixture
def folder(tmp_path):
    for index in range(5):
        (tmp_path / str(index % 2)).mkdir(exist_ok=True)
        Image.fromarray(PHOTO[index:]).save(tmp_path / str(index % 2) / f"{index}.png")
    return f"folder:{tmp_path}"


def test_images_get_the_models_size_unless_told_or_cropped_before(folder, tmp_path):
    model = load_model("torchvision:squeezenet1_1", pretrained=False)
    data, said = at_own_size(load_data(folder), model)
    assert data[0][0].shape == (3, 224, 224)
    assert said == (
        "images resized to 256 (bilinear), cropped to 224 x 224, as torchvision:squeezenet1_1's "
        "own transform"
    )
    again = load_data(**data.loading)  # as a study records it
    assert torch.equal(again[3][0], data[3][0])
    told, said = at_own_size(load_data(folder, size=64), model)
    assert (told[0][0].shape, said) == ((3, 64, 64), "")
    model.resizing = Resizing(None, (97, 151))
    Image.fromarray(PHOTO).save(tmp_path / "0" / "0.png")
    same, said = at_own_size(load_data(f"csv:{_table(tmp_path)}"), model)
    assert said == "images are 97 x 151 already, and stay as they are"
    assert torch.equal(same[0][0], to_tensor(PHOTO.transpose(2, 0, 1)))


def _table(tmp_path):
    (tmp_path / "a.csv").write_text("path,label\n0/0.png,0\n0/0.png,0\n")
    return tmp_path / "a.csv"


def test_a_copy_in_another_dtype_keeps_the_size():
    model = load_model("torchvision:squeezenet1_1", pretrained=False)
    assert model.astype(torch.float64).resizing == model.resizing


@pytest.mark.parametrize("resize", [None, 40, (33, 50)])
@pytest.mark.parametrize("crop", [None, (31, 24)])
@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_size_is_as_torchvision_makes_it(resize, crop, how):
    image = Image.fromarray(PHOTO)
    expected = image
    if resize is not None:
        size = [resize] if isinstance(resize, int) else list(resize)
        expected = functional.resize(image, size, functional.InterpolationMode(how))
    if crop is not None:
        expected = functional.center_crop(expected, list(crop))
    resizing = Resizing(resize, crop, how)
    found = to_tensor(PHOTO.transpose(2, 0, 1), resizing)
    assert torch.equal(found, functional.to_tensor(expected))
    soft = PHOTO.transpose(2, 0, 1) // 4 + 96  # in 8 bits nothing leaves the range on the way
    floats = to_tensor(soft.astype(np.float32) / 255, resizing)
    assert float((floats - to_tensor(soft, resizing)).abs().max()) < 1.01 / 255
    assert Resizing.of(resizing.plain) == resizing


def test_sizes_that_make_no_sense_are_refused():
    for wrong in ((20, (24, 24)), ((30, 20), (24, 24)), (0, None), (None, (3, -1))):
        with pytest.raises(ValueError):
            Resizing(*wrong)
    with pytest.raises(ValueError, match="one of nearest, bilinear"):
        Resizing(24, None, "cubic")
    with pytest.raises(TypeError):
        Resizing(2.5, None)
    with pytest.raises(Unreadable, match="97 x 151, and 100 x 100 are cut out of it"):
        to_tensor(PHOTO.transpose(2, 0, 1), Resizing(None, (100, 100)), where="it")
