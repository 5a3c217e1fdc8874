"""What a page may look at: the models and images that were opened, and nothing else.

A page names them by the keys in here. No path and no source comes from a page, so none can lead
outside of what the user opened; what is dropped on the page stays in memory.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bridge.core.model import ModelAdapter, wrap
from bridge.core.resizing import Resizing
from bridge.load import ImageData, at_own_size, fitted, load_model
from bridge.load.fitting import channels_of
from bridge.load.images import Pixels, decoded, in_colour
from bridge.record.record import Record
from bridge.zoo import ZOO

BYTES = 20_000_000  # of an image that is dropped
PIXELS = 50_000_000
UPLOADS = 16  # that are kept


@dataclass(frozen=True)
class Model:
    """How a model is loaded again: the arguments of `load_model`, or none where it is an object."""

    source: str
    loading: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    given: ModelAdapter | None = None

    def load(self) -> ModelAdapter:
        """The model, on its device and in its dtype."""
        if self.given is not None:
            return self.given
        model = load_model(self.source, **self.loading)
        dtype = getattr(torch, self.dtype)
        return model if model.dtype in (dtype, None) else model.astype(dtype)


@dataclass(frozen=True)
class Images:
    """Images by their places: `read(index)` gives (c, h, w) and a label or None.

    `data` is the dataset behind them; `folder` the run directory whose images they are, "" for a
    run that is in memory only. `size` is what `--size` would say.
    """

    name: str
    count: int
    read: Callable[[int], tuple[Tensor, int | None]]
    where: Callable[[int], str]
    data: ImageData | None = None
    record: Record | None = None
    folder: str = ""
    size: int | None = None


class Opened:
    """Models and images by the keys that a page uses; loaded when they are first looked at.

    `run` is a run whose own images come first.
    """

    def __init__(
        self,
        model: Model,
        data: str | None = None,
        *,
        size: int | None = None,
        run: Record | None = None,
        folder: str = "",
    ) -> None:
        self.models = {model.source: model}
        if model.given is None:
            shipped = [f"zoo:{name}" for name, entry in ZOO.items() if not entry.training]
            self.models |= {name: Model(name) for name in shipped if name not in self.models}
        self.first, self.size, self.run, self.folder = model.source, size, run, folder
        self.sources = [data] if data else []
        self.uploads: dict[str, tuple[str, Pixels]] = {}
        self._models: dict[tuple[str, str | None], ModelAdapter] = {}
        self._images: dict[tuple[str, str], Images] = {}

    def model(self, name: str, layer: str | None = None) -> ModelAdapter:
        """A model, with another layer for Grad-CAM and the like. Raises KeyError for others."""
        if name not in self.models:
            raise KeyError(f"{name!r} was not opened: there are {', '.join(self.models)}")
        if (name, layer) not in self._models:
            found = self.models[name].load() if layer is None else self._with_layer(name, layer)
            self._models[name, layer] = found
        return self._models[name, layer]

    def _with_layer(self, name: str, layer: str) -> ModelAdapter:
        """The same module, wrapped again: what is known of its layer belongs to the wrapping."""
        plain = self.model(name)
        found = wrap(
            plain.module,
            mean=plain.mean,
            std=plain.std,
            layer=layer,
            bounds=plain.bounds,
            class_names=plain.class_names,
            name=plain.name,
        )
        found.resizing = plain.resizing
        return found

    def names(self, model: str) -> list[str]:
        """The images that there are for a model, by name: the run's, what was opened, its own."""
        entry = ZOO.get(model.removeprefix("zoo:"))
        own = [entry.samples] if entry else [] if self.run or self.sources else ["samples:imagenet"]
        run = ["run"] if self.run and model == self.first else []
        return list(dict.fromkeys([*run, *self.sources, *own, *self.uploads]))

    def images(self, model: str, name: str) -> Images:
        """The images of a name as a model takes them. Raises KeyError for what was not opened."""
        if name in self.uploads:
            return self._dropped(model, name)
        if name not in self.names(model):
            known = ", ".join(self.names(model))
            raise KeyError(f"{name!r} was not opened: there are {known}; or drop the file again")
        if (model, name) not in self._images:
            found = self._of_run() if name == "run" else self._of_source(model, name)
            self._images[model, name] = found
        return self._images[model, name]

    def _of_run(self) -> Images:
        run = self.run
        assert run is not None
        labels = run.labels.tolist() if run.labelled else [None] * len(run.x)
        return Images(
            "run",
            len(run.x),
            lambda index: (run.x[index], labels[index]),
            lambda index: f"image {index} of the run",
            record=run,
            folder=self.folder,
        )

    def _of_source(self, model: str, source: str) -> Images:
        size = self.size if source in self.sources else None
        data, _ = fitted(self.model(model), source, size)
        return Images(source, len(data), data.__getitem__, data.where, data=data, size=size)

    def add(self, content: bytes, name: str) -> str:
        """Keep a dropped image; its key. Raises ValueError for what is no image, or too large.

        Decoded by what decodes files. The key is that of its content: dropped again it is the same.
        """
        if len(content) > BYTES:
            raise ValueError(f"{name} has {len(content):,} bytes, more than {BYTES:,}")
        pixels = decoded(io.BytesIO(content), name, PIXELS)
        key = f"dropped:{hashlib.sha256(content).hexdigest()[:16]}"
        self.uploads.pop(key, None)
        while len(self.uploads) >= UPLOADS:
            self.uploads.pop(next(iter(self.uploads)))
        self.uploads[key] = name, pixels
        return key

    def _dropped(self, model: str, key: str) -> Images:
        """A dropped image as `file:` gives it, at the size of the model's other images."""
        name, pixels = self.uploads[key]
        adapter = self.model(model)
        colour = in_colour(pixels)
        gray = 1 if channels_of(adapter) == 1 else None
        source = f"file:{name}"
        data = ImageData(
            source,
            1,
            lambda index: (colour, None),
            adapter.class_names,
            labelled=False,
            name=lambda index: name,
            channels=gray,
            loading={"source": source, "size": None, "channels": gray},
        )
        size = self._usual(model)
        if size is not None:
            loading = {**(data.loading or {}), "size": size}
            data = replace(data, size=Resizing.of(size), loading=loading)
        data, _ = at_own_size(data, adapter)
        return Images(key, 1, data.__getitem__, data.where, data=data, size=size)

    def _usual(self, model: str) -> int | None:
        """The side of a model's images where its own transform does not say it, for dropped ones.

        As square as the first of its own are; None where they are not.
        """
        if self.model(model).resizing is not None:
            return self.size
        for name in self.names(model):
            if name not in self.uploads:
                height, width = self.images(model, name).read(0)[0].shape[1:]
                return int(height) if height == width else None
        return None
