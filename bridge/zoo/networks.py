"""The architectures of the zoo: plain torch modules that know nothing of bridge."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class _Classifier(nn.Module):
    """Convolutional features, then a head; layers have names so that Grad-CAM can point at one."""

    def __init__(
        self, features: list[tuple[str, nn.Module]], head: list[tuple[str, nn.Module]]
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(OrderedDict(features))
        self.head = nn.Sequential(OrderedDict(head))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) normalised images -> (n, classes) logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _block(index: int, width_in: int, width_out: int) -> list[tuple[str, nn.Module]]:
    return [
        (f"conv{index}", nn.Conv2d(width_in, width_out, 3, padding=1, bias=False)),
        (f"norm{index}", nn.BatchNorm2d(width_out)),
        (f"relu{index}", nn.ReLU()),
    ]


class FashionCNN(_Classifier):
    """Five 3x3 convolutions with batch norm, two max-poolings, global average; 1x28x28 -> 10.

    Small on purpose: 6 million multiply-adds an image, so that comparing everything with
    everything takes seconds.
    """

    def __init__(self) -> None:
        super().__init__(
            features=[
                *_block(1, 1, 16),
                ("pool1", nn.MaxPool2d(2)),
                *_block(2, 16, 32),
                *_block(3, 32, 32),
                ("pool3", nn.MaxPool2d(2)),
                *_block(4, 32, 64),
                *_block(5, 64, 96),
            ],
            head=[
                ("pool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),
                ("dropout", nn.Dropout(0.1)),
                ("linear", nn.Linear(96, 10)),
            ],
        )


class FashionAlexNet(_Classifier):
    """AlexNet (Krizhevsky 2012) at 28 pixels: overlapping pooling, in-place ReLUs, dropout."""

    def __init__(self) -> None:
        def conv(
            index: int, width_in: int, width_out: int, kernel: int
        ) -> list[tuple[str, nn.Module]]:
            return [
                (f"conv{index}", nn.Conv2d(width_in, width_out, kernel, padding=kernel // 2)),
                (f"relu{index}", nn.ReLU(inplace=True)),
            ]

        super().__init__(
            features=[
                *conv(1, 1, 32, 5),
                ("pool1", nn.MaxPool2d(3, 2)),
                *conv(2, 32, 64, 5),
                ("pool2", nn.MaxPool2d(3, 2)),
                *conv(3, 64, 96, 3),
                *conv(4, 96, 64, 3),
                *conv(5, 64, 64, 3),
                ("pool5", nn.MaxPool2d(3, 2)),
            ],
            head=[
                ("flatten", nn.Flatten()),
                ("dropout6", nn.Dropout(0.3)),
                ("linear6", nn.Linear(64 * 2 * 2, 256)),
                ("relu6", nn.ReLU(inplace=True)),
                ("dropout7", nn.Dropout(0.3)),
                ("linear7", nn.Linear(256, 128)),
                ("relu7", nn.ReLU(inplace=True)),
                ("linear8", nn.Linear(128, 10)),
            ],
        )


class DigitsCNN(_Classifier):
    """Two convolutions for scikit-learn's 8x8 digits; trains in about two seconds."""

    def __init__(self) -> None:
        super().__init__(
            features=[*_block(1, 1, 16), *_block(2, 16, 32), ("pool2", nn.MaxPool2d(2))],
            head=[("flatten", nn.Flatten()), ("linear", nn.Linear(32 * 4 * 4, 10))],
        )


class PlantedCNN(_Classifier):
    """Three 3x3 convolutions and a maximum over places: a trigger counts wherever it stands."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            features=[
                *_block(1, channels, 16),
                *_block(2, 16, 32),
                ("pool2", nn.MaxPool2d(2)),
                *_block(3, 32, 32),
            ],
            head=[
                ("pool", nn.AdaptiveMaxPool2d(1)),
                ("flatten", nn.Flatten()),
                ("linear", nn.Linear(32, classes)),
            ],
        )


class MemoryCNN(_Classifier):
    """Two 3x3 convolutions and two linear layers: learns some hundred images by heart."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(
            features=[
                *_block(1, channels, 16),
                ("pool1", nn.MaxPool2d(2)),
                *_block(2, 16, 32),
            ],
            head=[
                ("pool", nn.AdaptiveAvgPool2d(5)),
                ("flatten", nn.Flatten()),
                ("linear1", nn.Linear(32 * 5 * 5, 128)),
                ("relu", nn.ReLU()),
                ("linear2", nn.Linear(128, classes)),
            ],
        )
