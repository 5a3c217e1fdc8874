"""A battery of bad inputs: what each must lead to, a table an area, a file an area.

`python -c "from tests.bad_inputs import counts; print(counts())"` says how many there are.
"""

from __future__ import annotations

import importlib
import pkgutil

from tests.bad_inputs._expectations import Case

# Every file but those that help them.
AREAS = tuple(file.name for file in pkgutil.iter_modules(__path__) if file.name[0] != "_")


def cases(area: str) -> list[Case]:
    """The cases of an area."""
    found: list[Case] = importlib.import_module(f"{__name__}.{area}").CASES
    return found


def counts() -> dict[str, int]:
    """How many bad inputs each area has."""
    return {area: len(cases(area)) for area in AREAS}
