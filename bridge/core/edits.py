"""A suggested change of somebody's code: what it computes, what the method does, what to do."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REPLACE = "put the method's in its place"


@dataclass(frozen=True)
class Edit:
    """At the level of the equation: `yours`, the method's (`ours`), and the `change`."""

    yours: str
    ours: str
    change: str = REPLACE

    def __str__(self) -> str:
        return f"yours: {self.yours} / the method's: {self.ours}\n  change: {self.change}"


def equation(value: Any) -> str:
    """What a function computes, on a line: its docstring's first line, else what it returns.

    Without the shape that a docstring ends with. Text is text already; "" where neither says it.

    >>> equation(lambda: 0)
    ''
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, functools.partial):
        value = value.func
    if not inspect.isfunction(value):
        name = getattr(value, "__name__", "")
        return f"{name}(g)" if name else ""
    if value.__doc__:
        first = value.__doc__.strip().splitlines()[0].rstrip(".")
        return first.partition(", (n")[0].removesuffix(" of each image")
    return returned(value)


@functools.lru_cache(maxsize=512)
def returned(function: Callable[..., Any]) -> str:
    """The expression of a function that is one `return` and calls nothing of a file's own.

    "" of any other.
    """
    if not inspect.isfunction(function):
        return ""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return ""
    if not isinstance(tree, ast.FunctionDef):
        return ""
    only = tree.body[-1]
    said = 1 + (ast.get_docstring(tree) is not None)
    if len(tree.body) != said or not isinstance(only, ast.Return) or only.value is None:
        return ""
    found = ast.unparse(only.value)
    return "" if re.search(r"\b_\w|\bget\(|\*\*", found) else found
