"""The layers of a followed network, a class a kind: what each makes of a changed rectangle."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import map_aggregate
from torch.nn import functional as F

from bridge.fused.folding import folded
from bridge.fused.patches import Pair, Patch, Sliding, together


class Untraceable(Exception):
    """This network cannot be followed layer by layer; it is then run whole."""


class Layer:
    """One operation, here of a kind that is done on whole maps only.

    `whole` does it to whole maps (b, c, h, w), never in place. Called, a layer takes whole maps or
    patches, and gives a patch where its kind allows that. `clean` is its output for the clean
    image, (h, w, c), once that was kept.
    """

    fresh = False  # whether nothing else holds its output, so that a ReLU may write over it

    def __init__(self, whole: Callable[..., Any]) -> None:
        self.whole = whole
        self.clean = torch.empty(0)

    def keep(self, *args: Any, **kwargs: Any) -> Any:
        """The output for the clean image, which is kept until the next one.

        Raises Untraceable where the operation wrote into its input in a way not foreseen here.
        """
        tensors = [a for a in args if isinstance(a, Tensor) and not a.is_inference()]
        versions = [a._version for a in tensors]
        output = self.whole(*args, **kwargs)
        if [a._version for a in tensors] != versions:
            raise Untraceable("it works in place")
        if isinstance(output, Tensor) and output.ndim == 4:
            self.clean = output[0].permute(1, 2, 0).contiguous()
        return output

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.whole(*map_aggregate(args, _dense), **map_aggregate(kwargs, _dense))


def _dense(value: Any) -> Any:
    return value.dense() if isinstance(value, Patch) else value


class Elementwise(Layer):
    """Value by value: the same rectangle changes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        patch, *others = args
        if not isinstance(patch, Patch):
            return super().__call__(*args, **kwargs)
        output = self.whole(patch.images, *others, **kwargs)
        return Patch(output.permute(0, 2, 3, 1), patch.top, patch.left, self.clean)


class Rectifier(Elementwise):
    """A ReLU of values that nothing else holds: written over them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = args[0]
        if isinstance(value, Patch):
            return Patch(value.values.relu_(), value.top, value.left, self.clean)
        return value.relu_()


class Same(Layer):
    """What comes is what goes: the network's input."""

    def __init__(self) -> None:
        super().__init__(_same)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0]


class Folded(Same):
    """A batch norm that is in the convolution before it."""

    fresh = True


def _same(value: Any) -> Any:
    return value


class Window(Layer):
    """A convolution or a pooling: the rectangle of the outputs that see the patch changes."""

    def __init__(self, sliding: Sliding, whole: Callable[..., Any]) -> None:
        super().__init__(whole)
        self.sliding = sliding
        self.padded: Tensor | None = None

    def keep(self, *args: Any, **kwargs: Any) -> Any:
        self.padded = None
        return super().keep(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        (value,) = args
        if not isinstance(value, Patch):
            return self.whole(value)
        if self.padded is None:
            self.padded = self.sliding.pad(value.clean)
        changed = self.sliding.changed(value, self.padded, self.clean)
        return self.whole(value.dense()) if changed is None else changed


class Convolution(Window):
    """A convolution, with the batch norm after it, that counts its work since the clean image.

    `spent` are its multiply-adds, `full` what it would have taken on whole maps.
    """

    fresh = True

    def __init__(self, module: nn.Conv2d, norm: nn.BatchNorm2d | None) -> None:
        weight, bias = folded(module, norm)
        convolve = partial(
            F.conv2d,
            weight=weight.contiguous(memory_format=torch.channels_last),
            bias=bias,
            stride=module.stride,
            dilation=module.dilation,
            groups=module.groups,
        )
        stride, padding, dilation = map(_pair, (module.stride, module.padding, module.dilation))
        reach = _reach(_pair(module.kernel_size), dilation)
        sliding = Sliding(reach, stride, padding, 0.0, partial(convolve, padding=0))
        super().__init__(sliding, partial(convolve, padding=padding))
        self.each = weight.numel()  # multiply-adds of one place of the output, all channels
        self.spent = self.full = 0

    def keep(self, *args: Any, **kwargs: Any) -> Any:
        self.spent = self.full = 0
        return super().keep(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = super().__call__(*args, **kwargs)
        values = output.values if isinstance(output, Patch) else output.permute(0, 2, 3, 1)
        batch, rows, columns, _ = values.shape
        self.spent += self.each * batch * rows * columns
        self.full += self.each * batch * math.prod(self.clean.shape[:2])
        return output


class Arithmetic(Layer):
    """Sums and products of maps and numbers: the smallest rectangle around all of them changes."""

    fresh = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _of_one_size(args):
            return super().__call__(*args, **kwargs)
        values, top, left = together([a for a in args if isinstance(a, Patch)])
        rest = iter(values)
        output = self.whole(*(next(rest) if isinstance(a, Patch) else a for a in args), **kwargs)
        return Patch(output, top, left, self.clean)


class Concatenation(Layer):
    """Maps after one another along the channels: likewise the rectangle around all of them."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        patches = args[0]
        axis = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
        of_patches = all(isinstance(patch, Patch) for patch in patches)
        if int(axis) != 1 or not of_patches or not _of_one_size(patches):
            return super().__call__(*args, **kwargs)
        values, top, left = together(list(patches))
        return Patch(torch.cat(values, -1), top, left, self.clean)


def _of_one_size(values: Any) -> bool:
    """Whether these are patches of maps of one size, and numbers."""
    sizes = {v.clean.shape[:2] for v in values if isinstance(v, Patch)}
    return len(sizes) == 1 and all(isinstance(v, Patch | int | float) for v in values)


def pooling(module: nn.Module | None) -> Window | None:
    """Max and average pooling; None for what is none, or counts its border in another way."""
    if type(module) is nn.MaxPool2d and not module.return_indices:
        kernel, stride, padding = _geometry(module)
        dilation = _pair(module.dilation)
        pool = partial(F.max_pool2d, kernel_size=kernel, stride=stride, dilation=dilation)
        reach = _reach(kernel, dilation)
        return Window(Sliding(reach, stride, padding, -torch.inf, pool), module)
    if type(module) is nn.AvgPool2d and module.divisor_override is None and not module.ceil_mode:
        kernel, stride, padding = _geometry(module)
        if module.count_include_pad or padding == (0, 0):
            mean = partial(F.avg_pool2d, kernel_size=kernel, stride=stride)
            return Window(Sliding(kernel, stride, padding, 0.0, mean), module)
    return None


def _geometry(module: nn.MaxPool2d | nn.AvgPool2d) -> tuple[Pair, Pair, Pair]:
    """Kernel, stride and padding."""
    return _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)


def _reach(kernel: Pair, dilation: Pair) -> Pair:
    """How far a dilated kernel sees."""
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def _pair(value: Any) -> Pair:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
