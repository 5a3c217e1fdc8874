"""The folder of a run: made and tried before anything is computed, filled at the end."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from bridge.cli._terminal import Refused, one_line, usage_errors

UNFINISHED = "unfinished.partial"  # as in bridge.record.store


class RunFolder:
    """The folder that was asked for, or one named after the time and what runs.

    Raises Refused where something is there already, ClickException where nobody can write.
    """

    def __init__(self, out: str | None, name: str, force: bool = False) -> None:
        from bridge.record.place import free_folder

        self.force = force
        if out is None:
            self.path = free_folder(name)
        else:
            self.path = Path(out)
            self._refuse_others()
        self._made = [each for each in (self.path, *self.path.parents) if not each.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f"{secrets.token_hex(4)}.partial"
            probe.write_text("can this be written?")
            probe.unlink()
        except OSError as error:
            self.discard()
            raise click.ClickException(
                f"nothing can be written to {self.path}: {one_line(error)}"
            ) from error

    def _refuse_others(self) -> None:
        from bridge.record.place import check_folder

        with usage_errors():
            check_folder(self.path)
        found = _entries(self.path)
        if found and not self.force:
            what = "a run" if "run.json" in found else found[0]
            if UNFINISHED in found and what != "a run":
                what = f"what a killed run had finished (gradbridge report {self.path} shows it)"
            raise Refused(
                f"{self.path} exists and holds {what}: choose another --out, or pass --force to "
                "replace a run (anything else in there stays)"
            )

    def save(self, result: Any) -> Path:
        """Save a Comparison or a Benchmark; beside, where another was faster."""
        from bridge.record.place import free

        if not self.force and (self.path / "run.json").exists():
            self.path = free(self.path)
        result.save(self.path, force=self.force)
        return self.path

    @property
    def kept(self) -> bool:
        """Whether parts of an unfinished run are there."""
        return (self.path / UNFINISHED).is_dir()

    def discard(self) -> None:
        """Remove what was made and is empty."""
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()


def _entries(folder: Path) -> list[str]:
    """What is in a folder, without what killed writers left."""
    if not folder.is_dir():
        return []
    found = sorted(each.name for each in folder.iterdir())
    return [name for name in found if name == UNFINISHED or not name.endswith(".partial")]
