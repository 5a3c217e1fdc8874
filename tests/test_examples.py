"""The examples in the docstrings are true: run in the package that is installed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import bridge
from bridge import registry

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(bridge.__path__, "bridge.")
    if not module.name.endswith("__main__")
)


def examples(name: str) -> Iterator[doctest.DocTest]:
    """Those of a module's functions and classes, and of the method that it registers."""
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    yield from (found for found in finder.find(module) if found.examples)
    method = getattr(module, name.rpartition(".")[2], None)
    if isinstance(method, registry.Method):
        globs = dict(vars(module))
        found = finder.find(method.reference, method.name, globs=globs)
        yield from (each for each in found if each.examples)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_give_what_they_say(name):
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    for each in examples(name):
        runner.run(each, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)


def test_the_public_functions_have_examples():
    for name in ("core.engine", "core.model", "study.compare", "fused.many", "conformance"):
        assert list(examples(f"bridge.{name}")), f"{name} shows no example"
