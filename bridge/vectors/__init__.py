"""Test vectors: small networks, images and right answers to hold code in any framework against.

`write` makes the files, `check_outputs` judges what somebody computed from them. A method brings
its own cases: `method.cases` in its file.
"""

from __future__ import annotations

from bridge.vectors.judge import check_outputs
from bridge.vectors.write import write

__all__ = ["check_outputs", "write"]
