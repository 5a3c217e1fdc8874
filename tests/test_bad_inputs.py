"""Bad inputs, a table an area: each ends in a clear error, a warning or the right answer."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.bad_inputs import AREAS, cases, counts
from tests.bad_inputs._expectations import Case, Error, Exits, Warns, happened

ALL = [pytest.param(case, id=f"{area}: {case.name}") for area in AREAS for case in cases(area)]


@pytest.mark.parametrize("case", ALL)
def test_a_bad_input_ends_in_a_clear_error_a_warning_or_the_right_answer(case: Case, tmp_path):
    fault = case.expected.fault(happened(case, tmp_path))
    if fault:
        pytest.fail(fault, pytrace=False)


def test_there_are_hundreds_in_every_corner():
    found = counts()
    assert sum(found.values()) >= 250
    assert min(found.values()) >= 20, found
    for area in AREAS:
        names = [case.name for case in cases(area)]
        assert len(names) == len(set(names)), [n for n in names if names.count(n) > 1]


def test_the_readme_says_how_many_there_are():
    readme = Path(__file__).parents[1] / "README.md"
    said = re.search(
        r"battery of (\d+) bad inputs \((\d+) must.* error, (\d+) more.*\n(\d+) in a warning",
        readme.read_text(encoding="utf-8"),
    )
    kinds = Counter(type(case.expected) for area in AREAS for case in cases(area))
    assert said is not None
    assert list(map(int, said.groups())) == [
        sum(counts().values()),
        *(kinds[kind] for kind in (Error, Exits, Warns)),
    ]
