from __future__ import annotations

from pathlib import Path

import pytest

from bridge.vectors import case, write


@pytest.fixture(scope="session")
def answers_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All test vectors without the wrong answers, which take four fifths of the time."""
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(case, "_mistakes", lambda *_: ({}, set()))
        return write(tmp_path_factory.mktemp("vectors") / "all")


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test vectors of some methods, as they are."""
    names = ["logits", "gradient", "saliency", "smooth_grad", "guided_backprop", "fgsm", "pgd"]
    return write(tmp_path_factory.mktemp("vectors") / "few", names)
