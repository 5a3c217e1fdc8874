"""Suggested changes: equations are read off the code that stands beside a cause."""

import functools

import torch

from bridge.core.edits import Edit, equation, returned


def halved(g):
    return g / 2


def told(g):
    """g over its own size."""
    size = g.abs().max()
    return g / size


def hidden(g):
    return _size(g)


def _size(g):
    return g


def test_an_equation_is_the_docstring_else_what_is_returned():
    assert equation(halved) == "g / 2"
    assert equation(told) == "g over its own size"
    assert equation(functools.partial(halved)) == "g / 2"
    assert equation(torch.sign) == "sign(g)"
    assert equation("as it is") == "as it is"
    assert equation(None) == ""


def test_code_that_calls_a_files_own_functions_says_nothing_to_others():
    assert returned(hidden) == ""
    assert returned(told) == ""


def test_an_edit_takes_two_lines():
    yours, change = str(Edit("m.abs()", "m", "return m")).splitlines()
    assert yours == "yours: m.abs() / the method's: m"
    assert change == "  change: return m"
