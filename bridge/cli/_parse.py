"""What people type, as values. All raise click.BadParameter, which says what was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import click

Parameter = tuple[str, str, Any]  # of a method, its name, its value


def numbers(text: str) -> tuple[float, ...]:
    """Numbers and fractions between commas.

    >>> numbers("1/4, 0.1")
    (0.25, 0.1)
    """
    if not text.replace(",", "").strip():
        raise click.BadParameter(f"{text!r} is empty: expected numbers or fractions such as 8/255")
    return tuple(_number(part) for part in names(text))


def names(text: str) -> tuple[str, ...]:
    """Names between commas.

    >>> names("saliency, pgd")
    ('saliency', 'pgd')
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise click.BadParameter(f"{text!r} is empty: expected one or several between commas")
    return found


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers of 1 or more between commas.

    >>> whole_numbers("1, 8")
    (1, 8)
    """
    found = tuple(part for part in names(text))
    if not all(re.fullmatch("[0-9]{1,9}", part) and int(part) for part in found):
        raise click.BadParameter(f"{text!r} should be whole numbers of 1 or more, such as 1,8")
    return tuple(map(int, found))


def value(text: str) -> Any:
    """A parameter's value: JSON where it is (numbers, true, null, lists), a fraction, or the text.

    >>> value("10"), value("[2, 3]"), value("8/16"), value("trapezoid")
    (10, [2, 3], 0.5, 'trapezoid')
    """
    try:
        return json.loads(text)
    except ValueError:
        return _number(text) if re.fullmatch(r"[\d.]+/[\d.]+", text) else text


def assignment(text: str) -> tuple[str, Any]:
    """A parameter of the method in question.

    >>> assignment("steps=20")
    ('steps', 20)
    """
    name, equals, given = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} should be NAME=VALUE, for example steps=20")
    return name, value(given)


def parameter(text: str) -> Parameter:
    """A parameter of a method.

    >>> parameter("pgd.steps=10")
    ('pgd', 'steps', 10)
    """
    name, equals, given = text.partition("=")
    method, dot, name = name.partition(".")
    if not equals or not dot:
        raise click.BadParameter(
            f"{text!r} should be METHOD.PARAMETER=VALUE, for example pgd.steps=10"
        )
    return method, name, value(given)


def place(text: str) -> tuple[str, str]:
    """Where an implementation of a method is.

    >>> place("fgsm=mine.py:my_fgsm")
    ('fgsm', 'mine.py:my_fgsm')
    """
    method, equals, where = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} should be METHOD=FILE.py:FUNCTION")
    return method, where


def by_method(given: Iterable[Parameter]) -> dict[str, dict[str, Any]]:
    """Parameters, each with its method's name, as `params` of `bridge.compare`.

    >>> by_method([("pgd", "steps", 10), ("pgd", "restarts", 2)])
    {'pgd': {'steps': 10, 'restarts': 2}}
    """
    found: dict[str, dict[str, Any]] = {}
    for method, name, chosen in given:
        found.setdefault(method, {})[name] = chosen
    return found


def _number(text: str) -> float:
    top, _, bottom = text.partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise click.BadParameter(f"{text!r} is not a number or a fraction such as 8/255") from error
