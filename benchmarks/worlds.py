"""The networks that speed is measured on, and how people call Captum and Foolbox on them."""

from __future__ import annotations

from collections.abc import Callable

import captum.attr as captum
import eagerpy
import foolbox
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import bridge
from bridge.core.model import ModelAdapter
from bridge.core.timer import clock

EPSILON = 8 / 255


class Block(nn.Module):
    """A residual block of CIFAR's ResNet-20 (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.skip = nn.Sequential()
        if stride != 1:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.skip(x))


def resnet20() -> nn.Module:
    widths = [(16, 16, 1)] * 3 + [
        (16, 32, 2),
        (32, 32, 1),
        (32, 32, 1),
        (32, 64, 2),
        (64, 64, 1),
        (64, 64, 1),
    ]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(
        *stem,
        *[Block(*width) for width in widths],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


LAYERS = {
    "resnet20": "11",
    "resnet18": "layer4",
    "resnet50": "layer4",
    "mobilenet_v3_small": "features",
    "vgg16": "features.28",
}


class World:
    """A network with random weights (batch norm's statistics calibrated), and random images."""

    def __init__(self, name: str, n: int, device: str) -> None:
        torch.manual_seed(0)
        self.name, self.n, side = name, n, 32 if name == "resnet20" else 224
        module = (
            resnet20() if name == "resnet20" else torchvision.models.get_model(name, weights=None)
        )
        if name == "vit_b_16":
            nn.init.normal_(module.heads.head.weight, std=0.02)  # zero by default
        elif name != "vgg16":
            for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.momentum = None
                norm.reset_running_stats()
            with torch.no_grad():
                module.train()(torch.randn(8, 3, side, side))
        self.module = module.eval().to(device)
        self.model: ModelAdapter = bridge.wrap(self.module, layer=LAYERS.get(name))
        self.x = torch.rand(n, 3, side, side).to(device)
        self.labels = self.module(self.x).argmax(1)
        self.layer = self.model.cam_layer(self.x)
        self.fmodel = foolbox.PyTorchModel(self.module, bounds=(0, 1), device=self.x.device)

    def __str__(self) -> str:
        return f"{self.name}, N={self.n}"

    def cheap_libraries(self) -> None:
        """Saliency, input x gradient, Grad-CAM, FGSM, and the predictions before and after.

        As people call them.
        """
        module, x, y = self.module, self.x, self.labels
        captum.Saliency(module).attribute(x, target=y)
        captum.InputXGradient(module).attribute(x, target=y)
        captum.LayerGradCam(module, self.layer).attribute(x, target=y)
        images, _, _ = foolbox.attacks.LinfFastGradientAttack()(self.fmodel, x, y, epsilons=EPSILON)
        self.predict(x), self.predict(images)

    def cheap_limit(self) -> None:
        """Two forward passes and two backward passes, and nothing else."""
        x = self.x.clone().requires_grad_()
        logits = self.module(x)
        torch.autograd.grad(logits.gather(1, self.labels[:, None]).sum(), x, retain_graph=True)
        torch.autograd.grad(F.cross_entropy(logits, self.labels, reduction="sum"), x)
        with torch.no_grad():
            self.module(self.x)

    def integrated_gradients(self, batch: int | None) -> None:
        captum.IntegratedGradients(self.module).attribute(
            self.x, target=self.labels, n_steps=50, internal_batch_size=batch
        )

    def occlusion(self, window: int, stride: int, at_once: int) -> Tensor:
        return captum.Occlusion(self.module).attribute(
            self.x,
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            target=self.labels,
            perturbations_per_eval=at_once,
        )

    def pgd(self, steps: int, start: Tensor | None = None) -> Tensor:
        attack = foolbox.attacks.LinfPGD(steps=steps)
        if start is not None:
            attack.get_random_start = lambda x0, epsilon: eagerpy.astensor(start)
        return attack(self.fmodel, self.x, self.labels, epsilons=EPSILON)[0]

    def predict(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.module(images).argmax(1)

    def best(self, call: Callable[[int], object], settings: tuple[int, ...]) -> int:
        """The setting that takes least: what someone who tunes the library would use."""

        def took(setting: int) -> float:
            start = clock(self.x.device)
            call(setting)
            return clock(self.x.device) - start

        return min(settings, key=lambda setting: min(took(setting) for _ in range(3)))
