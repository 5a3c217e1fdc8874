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

from bridge.record import parts, store
from bridge.record.preamble import GIVEN, preamble, right
from bridge.record.validity import check_run
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

    @property
    def right(self) -> tuple[int, int] | None:
        """Images that the model gets right, and images; None where no label says so."""
        return right(self.manifest, self.tables)

    @property
    def finished(self) -> bool:
        """Whether everything ran that was asked for, and nobody stopped it."""
        return bool(self.manifest.get("finished", True))

    @property
    def labelled(self) -> bool:
        """Whether the attacks start from labels, not from the model's own predictions."""
        return bool(self.manifest.get("labels", GIVEN) == GIVEN)

    def preamble(self) -> list[str]:
        """What must be known before any number: is it whole, of which classes, how right."""
        return preamble(self.manifest, self.tables)

    def class_name(self, label: int) -> str:
        """What the model calls a class: its name, or its number."""
        names = self.manifest["model"]["class_names"]
        return str(names[label]) if names and 0 <= label < len(names) else str(label)

    @property
    def sample(self) -> list[int] | None:
        """The places of the images on which implementations were judged; None for all.

        What others returned than who gave the results has these images only.
        """
        places: list[int] | None = self.manifest.get("judged", {}).get("images")
        return places

    def chosen(self) -> dict[str, Key]:
        """Of each method the key of the output to show: of all images, at the largest epsilon.

        By the first implementation that was not found to differ.
        """
        found: dict[str, Key] = {}
        judged = self.agreement
        differ = judged[~judged["verdict"].isin(["equal", "rounding"])]
        wrong = set(zip(differ["method"], differ["implementation"], strict=True))
        whole = [key for key, output in self.outputs.items() if len(output) == len(self.x)]
        for key in sorted(whole, key=lambda key: key[:2] in wrong):
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

    def save(self, folder: str | Path, *, force: bool = False, sync: bool = True) -> Path:
        """Write the run directory: `run.json`, tables as Parquet, tensors as safetensors.

        It appears whole or not at all. A run that stands there is replaced; `force` writes also
        into a folder that holds other things, and leaves these. Numbers of the manifest that are
        not finite become text. Without `sync` it may still be lost where the power fails. Returns
        the folder's path.

        Raises ValueError for a folder that holds something else, OSError where it cannot be written
        (a full disk): then all is as it was.
        """
        tensors = {"x": self.x, "labels": self.labels}
        tensors |= {store.tensor_name(*key): output for key, output in self.outputs.items()}
        return store.write(folder, self.manifest, self.tables, tensors, force=force, sync=sync)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a run directory that `save` wrote, or the parts that a killed run left.

        A table or a column that an older version did not write is empty; tables that this one does
        not know are kept. Nothing is executed. Raises ValueError naming the file that is missing,
        corrupt or malformed: another kind of column or shape, a label or a pixel out of range.
        """
        if unfinished := parts.listed(folder):
            return cls(*parts.together([cls.load(part) for part in unfinished]))
        manifest, frames, tensors = store.read(folder)
        try:
            check_run(manifest, frames, tensors)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
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
