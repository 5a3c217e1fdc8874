"""Code as people have it, from tutorials' habits: what it is, and what a person would say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CASES: list[Case] = []


@dataclass(frozen=True)
class Case:
    """`words` that a person's judgement would contain, none for right code."""

    code: Any
    method: str
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(getattr(self.code, "__name__", type(self.code).__name__))


def case(method: str, *words: str):
    """Register somebody's code, and what is wrong with it."""

    def register(code):
        CASES.append(Case(code, method, words))
        return code

    return register


from tests.users_code import (  # noqa: E402, F401
    attacks,
    blind_attacks,
    blind_maps,
    cams,
    later,
    maps,
    windows,
)
