"""Regenerate the tutorials' figures as a table: what courseworks on input gradients report, here.

    python benchmarks/tutorials.py --data ../shared/data                  # half an hour
    python benchmarks/tutorials.py --data ../shared/data --only fooling   # one part

`--data` is a folder with load.py, see its README.
Writes benchmarks/results/tutorials.md, flowers.png and class_images.png beside it.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
from pathlib import Path
from types import ModuleType

import click
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.core.model import ModelAdapter
from bridge.fused import run_many
from bridge.training import class_image
from bridge.visualize.panels import panels
from bridge.zoo import ZOO
from bridge.zoo.train import accuracy, train

RESULTS = Path(__file__).parent / "results"
Rows = list[tuple[str, str, str]]
# Classes that a person recognises: animals, vehicles, food, things.
CLASSES = [1, 9, 22, 76, 113, 130, 207, 281, 291, 323]
CLASSES += [340, 387, 417, 517, 580, 779, 859, 949, 954, 985]


def fashion(data: ModuleType) -> Rows:
    """Test accuracy of the two zoo networks on all 10,000 images."""
    x, labels = data.mnist("test", "fashion_mnist")
    rows = []
    for name, theirs in (("fashion_cnn", "> 91 %"), ("fashion_alexnet", "about 72 %")):
        model = bridge.load_model(f"zoo:{name}")
        rows.append(
            (f"Fashion-MNIST test accuracy, {name}", theirs, f"{accuracy(model, x, labels):.2%}")
        )
    return rows


def fooling(data: ModuleType) -> Rows:
    """Sign steps on ImageNet photographs until SqueezeNet errs: 1e-3 in normalised units."""
    module = data.squeezenet()
    x, labels = data.imagenet_samples(n=20, step=10)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (data.IMAGENET_MEAN, data.IMAGENET_STD))
    normalised = (x - mean) / std
    # The tutorial steps on normalised images: they are the pixels, nothing is normalised inside.
    model = bridge.wrap(module, bounds=(float(normalised.min()), float(normalised.max())))
    right = model(normalised).argmax(1) == labels
    run = bridge.run(
        "fool",
        model,
        normalised[right],
        labels[right],
        implementation="fused",
        step_size=1e-3,
        steps=100,
    )
    took = run.details["iterations"].tolist()
    fooled = [n for n in took if n >= 0]
    text = f"median {statistics.median(fooled):g}, from {min(fooled)} to {max(fooled)}"
    text += f"; {len(fooled)} of {len(took)} within 100"
    return [
        ("iterations until SqueezeNet is fooled, step 1e-3 normalised", "16 on one image", text)
    ]


def one_step(data: ModuleType) -> Rows:
    """Share of rightly classified images that one step of size 0.01 fools.

    Beside it random noise of that size, and an untrained network.
    """
    x, labels = data.mnist("test", "fashion_mnist")
    x, labels = x[:1000], labels[:1000]
    rows = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        entry = ZOO["fashion_cnn"]
        untrained = bridge.wrap(entry.module().eval(), mean=entry.mean, std=entry.std)
    squeezenet = bridge.wrap(data.squeezenet(), mean=data.IMAGENET_MEAN, std=data.IMAGENET_STD)
    photographs = data.imagenet_samples(n=100, step=2)
    cases = [
        ("fashion_cnn", bridge.load_model("zoo:fashion_cnn"), x, labels),
        (
            "fashion_cnn, untrained, from its own predictions",
            untrained,
            x,
            untrained(x).argmax(1).detach(),
        ),
        ("SqueezeNet, photographs", squeezenet, *photographs),
    ]
    for name, model, images, classes in cases:
        shares = _fooled(model, images, classes)
        text = ", ".join(f"{method} {share:.0%}" for method, share in shares.items())
        theirs = "about two thirds" if name == "fashion_cnn" else ""
        rows.append((f"fooled by one step of 0.01, {name}", theirs, text))
    return rows


def _fooled(model: ModelAdapter, x: Tensor, labels: Tensor) -> dict[str, float]:
    names = {
        "fgsm": "sign step",
        "fast_gradient_value": "value step",
        "uniform_noise_linf": "noise",
    }
    hits, right = dict.fromkeys(names, 0), 0
    for images, classes in zip(x.split(20), labels.split(20), strict=True):
        many = run_many(
            model, images, classes, {**{name: {"epsilon": 0.01} for name in names}, "saliency": {}}
        )
        correct = many.predictions["clean"] == classes
        right += int(correct.sum())
        for name in names:
            hits[name] += int((correct & (many.predictions[name] != classes)).sum())
    return {names[name]: count / right for name, count in hits.items()}


def flowers(data: ModuleType) -> Rows:
    """A small network trained on 128-pixel flowers of five kinds; attributions before and after."""
    x, labels = data.flowers("train")
    x_val, labels_val = data.flowers("val")
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = _flower_network(int(labels.max()) + 1)
        model = bridge.wrap(network.eval(), mean=mean, std=std)
        chosen = torch.arange(0, len(x_val), len(x_val) // 8)[:8]
        images, classes = x_val[chosen], labels_val[chosen]
        before = run_many(
            model, images, classes, {"saliency": {}, "layer_gradcam": {"upsample": True}}
        )
        normalised = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        train(
            network,
            normalised,
            labels,
            epochs=14,
            learning_rate=4e-3,
            batch=32,
            flip=True,
            progress=_show,
        )
    after = run_many(model, images, classes, {"saliency": {}, "layer_gradcam": {"upsample": True}})
    looks = {"untrained": before, "trained": after}
    maps = {f"{name}, {when}": many[name].output for name in before for when, many in looks.items()}
    panels(RESULTS / "flowers.png", images, [str(int(c)) for c in classes], maps, {})
    found = accuracy(model, x_val, labels_val, batch=100)
    return [
        (
            "flowers, 128 px, five classes, validation accuracy",
            "61 %",
            f"{found:.1%} of {len(x_val)}",
        )
    ]


def _show(epoch: int, loss: float) -> None:
    click.echo(f"flowers, epoch {epoch + 1}: loss {loss:.3f}", err=True)


def _flower_network(classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 24), (24, 48), (48, 96), (96, 128)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride=2 if inputs == 3 else 1, padding=1, bias=False)
        ]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, classes)
    )


def class_images(data: ModuleType) -> Rows:
    """Twenty classes drawn for SqueezeNet, beside lucent's.

    How many keep their class when shifted, resized and blurred?
    """
    model = bridge.wrap(data.squeezenet(), mean=data.IMAGENET_MEAN, std=data.IMAGENET_STD)
    steps = 128
    drawn = torch.cat(
        [
            class_image(model, part, shape=(3, 224, 224), preset="fourier", steps=steps).images
            for part in _fives(CLASSES)
        ]
    )
    small = F.interpolate(drawn, (112, 112), mode="bilinear", antialias=True)
    rows = torch.cat([torch.cat(list(row), 2) for row in small.split(5)], 1)
    Image.fromarray((rows.permute(1, 2, 0) * 255).round().byte().numpy()).save(
        RESULTS / "class_images.png"
    )
    targets = torch.tensor(CLASSES)
    kept, ours = _under_changes(model, drawn, targets)
    names = json.loads((Path(data.ROOT) / "imagenet_samples" / "imagenet_classes.json").read_text())
    lost = [str(names[c]) for c, share in zip(CLASSES, kept.tolist(), strict=True) if share <= 0.5]
    text = f"{int((kept > 0.5).sum())} of 20" + (f"; not: {', '.join(lost)}" if lost else "")
    found = [
        (
            "class images that keep their class, shifted, resized and blurred",
            "(bar: 15 of 20)",
            text,
        )
    ]
    theirs = _lucent(data, steps)
    if theirs is not None:
        _, logits = _under_changes(model, theirs, targets[: len(theirs)])
        ours = ours[: len(theirs)]
        better = f"{int((ours >= logits).sum())} of {len(theirs)} higher; "
        better += f"mean {ours.mean():.0f} against {logits.mean():.0f}"
        found.append(
            (f"target logit under random shifts, {steps} steps, against lucent", "", better)
        )
    return found


def _fives(classes: list[int]) -> list[list[int]]:
    return [classes[i : i + 5] for i in range(0, len(classes), 5)]


@torch.no_grad()
def _under_changes(
    model: ModelAdapter, images: Tensor, targets: Tensor, trials: int = 8
) -> tuple[Tensor, Tensor]:
    """Of each image the share of trials in which its class is first, and its mean target logit.

    The logit is of shifted images; for the share they are resized and blurred as well.
    """
    generator = torch.Generator().manual_seed(0)
    kept, logit = torch.zeros(len(images)), torch.zeros(len(images))
    for _ in range(trials):
        dy, dx, side = (
            int(torch.randint(low, high, (1,), generator=generator))
            for low, high in ((-16, 17), (-16, 17), (176, 224))
        )
        moved = images.roll((dy, dx), (2, 3))
        small = F.interpolate(moved, (side, side), mode="bilinear", antialias=True)
        seen = F.avg_pool2d(F.interpolate(small, (224, 224), mode="bilinear"), 3, 1, 1)
        for part in torch.arange(len(images)).split(5):
            kept[part] += (model(seen[part].clamp(0, 1)).argmax(1) == targets[part]).float()
            logit[part] += model(moved[part]).gather(1, targets[part, None])[:, 0]
    return kept / trials, logit / trials


def _lucent(data: ModuleType, steps: int) -> Tensor | None:
    """The first five classes by lucent's own defaults; None where it is not installed.

    Those are Fourier, decorrelated, its transforms.
    """
    try:
        from lucent.optvis import objectives, param, render
    except ImportError:
        click.echo(
            "lucent is not installed (pip install --no-deps torch-lucent kornia==0.4.1; "
            "pip install decorator): not compared",
            err=True,
        )
        return None
    network = data.squeezenet().eval()
    drawn = []
    for cls in CLASSES[:5]:
        torch.manual_seed(0)
        objective = objectives.Objective(lambda layers, cls=cls: -layers("labels")[:, cls].mean())
        shown = render.render_vis(
            nn.Sequential(network),
            objective,
            lambda: param.image(224),
            thresholds=(steps,),
            show_image=False,
            progress=False,
            preprocess=True,
        )
        drawn.append(torch.from_numpy(shown[-1]).permute(0, 3, 1, 2))
    return torch.cat(drawn).float().clamp(0, 1)


PARTS = {
    "fashion": fashion,
    "fooling": fooling,
    "one_step": one_step,
    "class_images": class_images,
    "flowers": flowers,
}


@click.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A folder with load.py.",
)
@click.option("--only", "parts", multiple=True, type=click.Choice(list(PARTS)))
def main(data: Path, parts: tuple[str, ...]) -> None:
    """Measure the parts, and write the table with what was measured before."""
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("real_data", data / "load.py")
    assert spec is not None
    assert spec.loader is not None
    loaders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaders)
    kept = RESULTS / "tutorials.json"
    found: dict[str, Rows] = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in parts or PARTS:
        found[name] = PARTS[name](loaders)
        for row in found[name]:
            click.echo(" | ".join(row))
        kept.write_text(json.dumps(found, indent=1) + "\n")
        lines = [
            "# The tutorials' figures, measured here",
            "",
            "| what | theirs | here |",
            "|---|---|---|",
        ]
        lines += [
            "| " + " | ".join(row) + " |" for part in PARTS if part in found for row in found[part]
        ]
        (RESULTS / "tutorials.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
