"""What a run leaves: its tables, its images and outputs, and what it was made of.

It computes nothing, and knows nothing of how it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
from torch import Tensor

from bridge.record import store
from bridge.tables import Key, Table, View, stated, tables, views
from bridge.tables.runtime import one_plan, runtime


@dataclass(frozen=True)
class Record:
    """Tables by name, `x` (n, c, h, w), `labels` (n,), and what was returned.

    Every table is an attribute too: `record.agreement` is `record.tables["agreement"]`, a
    DataFrame; `bridge.tables` says what is in it. `outputs[method, implementation, epsilon]` are
    tensors on the CPU, epsilon None for attributions. `manifest` says how to do it again.
    """

    tables: Mapping[str, pd.DataFrame]
    x: Tensor
    labels: Tensor
    outputs: Mapping[Key, Tensor]
    manifest: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> pd.DataFrame:
        found = self.__dict__.get("tables", {}).get(name)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no attribute and no table {name!r}")
        return found

    @property
    def norms(self) -> dict[str, str | None]:
        """The ball of each attack: "linf", "l2" or None."""
        return dict(zip(self.attacks["method"], self.attacks["norm"], strict=True))

    def class_name(self, label: int) -> str:
        """What the model calls a class: its name, or its number."""
        names = self.manifest["model"]["class_names"]
        return str(names[label]) if names and 0 <= label < len(names) else str(label)

    def chosen(self) -> dict[str, Key]:
        """Of each method the key of the output to show: first implementation, largest epsilon."""
        found: dict[str, Key] = {}
        for key in self.outputs:
            best = found.get(key[0])
            if best is None or (key[1] == best[1] and (key[2] or 0) > (best[2] or 0)):
                found[key[0]] = key
        return found

    def views(self) -> list[tuple[Table, View]]:
        """What people see of the tables, in order: those that are shown and have rows."""
        plan = one_plan(self.manifest.get("together") or {})
        return [
            (
                table,
                replace(view, note=f"{view.note}\n{plan}") if plan and table is runtime else view,
            )
            for table, view in views(self.tables)
        ]

    def save(self, folder: str | Path) -> Path:
        """Write the run directory: `run.json`, tables as Parquet, tensors as safetensors.

        Returns the folder's path.
        """
        tensors = {"x": self.x, "labels": self.labels}
        tensors |= {store.tensor_name(*key): output for key, output in self.outputs.items()}
        return store.write(folder, self.manifest, self.tables, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a run directory that `save` wrote.

        A table or a column that an older version did not write is empty; tables that this one does
        not know are kept. Raises ValueError where one of its files is missing or corrupt.
        """
        manifest, frames, tensors = store.read(folder)
        for name, table in tables().items():
            frame = frames.get(name)
            if frame is None:
                frames[name] = table.frame()
            elif lacking := [column for column in table.names if column not in frame]:
                frames[name] = frame.assign(**dict.fromkeys(lacking))
        x, labels = tensors.pop("x"), tensors.pop("labels")
        outputs = {store.tensor_key(name): tensor for name, tensor in tensors.items()}
        ran = _order(frames[runtime.name])
        outputs = {key: outputs[key] for key in sorted(outputs, key=lambda k: ran.get(k, len(ran)))}
        return cls(frames, x, labels, outputs, manifest)


def _order(timed: pd.DataFrame) -> dict[Key, int]:
    """When each cell ran: tensors are saved by their names, and the reference shall come first."""
    keys = zip(timed["method"], timed["implementation"], map(stated, timed["epsilon"]), strict=True)
    return {key: place for place, key in enumerate(keys)}
