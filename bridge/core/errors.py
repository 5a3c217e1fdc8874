"""An exception in words: what happened, where in the user's own code, and what helps."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

import torch

# Of these a text alone says nothing: the key, the number, or nothing at all.
WORDLESS = (KeyError, IndexError, AssertionError)
# What ends somebody else's task goes through us: event loops, test runners, our own checker.
OTHERS = ("_pytest", "anyio", "asyncio", "bridge", "concurrent", "hypothesis", "trio")
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "unable to allocate",
)
FEWER = (
    "too little memory: pass fewer or smaller images at a time; fused methods take less inside "
    "bridge.fused.chunk_size(1)"
)

# What torch says of an operation that is not there, and what helps.
MISSING = {
    "deterministic implementation": (
        "torch.use_deterministic_algorithms(True) is on, which bridge leaves as it is: turn it off "
        "for this model, give warn_only=True, or run it on another device"
    ),
    "for the mps device": (
        "run it on the CPU (device='cpu'), or set PYTORCH_ENABLE_MPS_FALLBACK=1 before Python "
        "starts"
    ),
    "not implemented for 'half'": "it has no form in float16 here: use float32, or autocast",
    "not implemented for 'bfloat16'": "it has no form in bfloat16 here: use float32, or autocast",
}

_OURS = str(Path(__file__).parents[1]) + os.sep
_PYTHONS = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_PACKAGES = ("site-packages", "dist-packages")


def describe(error: BaseException) -> str:
    """The text of an exception, for people who do not see its traceback.

    With its type and place where it came out of the user's own code or its text says nothing by
    itself, and with what helps where memory ran out.

    >>> describe(ValueError("the images are too large"))
    'the images are too large'
    >>> describe(KeyError("boom"))
    "KeyError: 'boom'"
    """
    text, place = text_of(error), origin(error)
    if place or not text or isinstance(error, WORDLESS):
        text = in_words(error)
        where = place or _last(error)
        text += f" ({where})" if where else ""
    notes = [note for note in getattr(error, "__notes__", ()) if note not in text]
    return "; ".join([text, *dict.fromkeys([*notes, *remedy(error)])])


def text_of(error: BaseException) -> str:
    """What an exception says, "" where not even that can be had."""
    try:
        return str(error).strip()
    except Exception:  # a user's own, whose text raises
        return ""


def in_words(error: BaseException) -> str:
    """The type of an exception and what it says.

    >>> in_words(KeyError("boom")), in_words(AssertionError())
    ("KeyError: 'boom'", 'AssertionError')
    """
    kind, text = type(error).__name__, text_of(error)
    return f"{kind}: {text}" if text else kind


def remedy(error: BaseException) -> list[str]:
    """What helps against an exception, where that is known.

    Too little memory, an operation that the device or 16 bits lack, or that is not deterministic.
    """
    text = text_of(error).lower()
    short = isinstance(error, MemoryError | torch.OutOfMemoryError)
    found = [FEWER] if short or any(words in text for words in OUT_OF_MEMORY) else []
    if isinstance(error, RuntimeError):  # NotImplementedError is one
        found += [helps for words, helps in MISSING.items() if words in text]
    return found


def origin(error: BaseException) -> str:
    """ "mine.py, line 12, in my_fgsm": the user's last line before it was raised, below ours.

    "" where none of the user's code was called.
    """
    frames = traceback.extract_tb(error.__traceback__)
    below, found = False, ""
    for frame in frames:
        ours = frame.filename.startswith(_OURS)
        below |= ours
        if below and not ours and not _of_a_library(frame):
            found = _place(frame)
    return found


def is_ours(error: BaseException) -> bool:
    """Whether bridge itself raised it, so that its text says all there is to say."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.startswith(_OURS)


def ends_us(error: BaseException) -> bool:
    """Whether an exception is no failure of the code that raised it, but the wish to end.

    Ctrl-C, and what test runners and event loops end their tasks with. `sys.exit` in somebody's
    function is a failure of that function.
    """
    if isinstance(error, Exception | SystemExit):
        return False
    roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, KeyboardInterrupt | GeneratorExit) or not roots.isdisjoint(OTHERS)


def left(error: BaseException, by: str) -> RuntimeError:
    """The failure of a function that raised what no `except Exception` catches, such as SystemExit.

    Raised from it: `raise left(error, "mine") from error`.
    """
    did = (
        f"called sys.exit({error.code!r})"
        if isinstance(error, SystemExit)
        else f"raised {type(error).__name__}: {error}"
    )
    where = origin(error)
    return RuntimeError(f"{by} {did}" + (f" ({where})" if where else ""))


def _last(error: BaseException) -> str:
    """The line that raised it, wherever that is."""
    frames = traceback.extract_tb(error.__traceback__)
    return _place(frames[-1]) if frames else ""


def _place(frame: traceback.FrameSummary) -> str:
    return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"


def _of_a_library(frame: traceback.FrameSummary) -> bool:
    """Whether a line is Python's own, an installed package's, or generated."""
    filename = frame.filename
    # What dataclasses write stands in <string> too, as `python -c` does.
    written = filename == "<string>" and frame.name.startswith("__")
    generated = written or (
        filename.startswith("<") and not filename.startswith(("<ipython", "<std", "<string"))
    )
    installed = any(part in _PACKAGES for part in Path(filename).parts)
    return generated or installed or filename.startswith(_PYTHONS)
