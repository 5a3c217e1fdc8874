"""Labels that are texts, and a data set's classes, in a model's own numbering.

A number that means another class is worse than none: what does not fit is refused.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property

from bridge.load import names
from bridge.load.wordnet import IDS

SHOWN = 5  # labels in a message


def plain(name: str) -> str:
    """A name as names are compared: case, spaces, underscores, hyphens and slashes do not count.

    >>> plain("T-shirt/Top"), plain(" golden_retriever"), plain("potter's wheel")
    ('t shirt top', 'golden retriever', 'potters wheel')
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_/\\\-‐-―]+", " ", re.sub("['’]", "", folded)).strip()


def synonyms(name: str) -> set[str]:
    """The plain names that a class name states, itself and the parts between its commas.

    >>> sorted(synonyms("tabby, tabby cat"))
    ['tabby', 'tabby cat', 'tabby, tabby cat']
    """
    return {plain(part) for part in (name, *name.split(","))} - {""}


class Classes:
    """A model's classes, asked by name, WordNet id or index."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.names = tuple(class_names)
        self.by_name: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(self.names):
            for synonym in synonyms(name):
                self.by_name[synonym].append(index)
        # Where a class is called "7", the text "7" is a name: another "8" must not be an index.
        self.counted = not any(re.fullmatch("[0-9]+", plain(name)) for name in self.names)

    @cached_property
    def imagenet(self) -> bool:
        """Whether these are ImageNet's 1000 in their order: most names agree, place by place."""
        if len(self.names) != len(IDS):
            return False
        known = names.imagenet()
        pairs = zip(self.names, known, strict=True)
        return 2 * sum(not synonyms(a).isdisjoint(synonyms(b)) for a, b in pairs) > len(IDS)

    def called(self, text: str) -> list[int]:
        """The classes with this name; several where a name is not unique."""
        exact = [index for index, name in enumerate(self.names) if name == text]
        if len(exact) == 1:
            return exact
        whole = self.by_name.get(plain(text))
        if whole:
            return whole
        parts = (self.by_name.get(part, []) for part in synonyms(text))
        return sorted({index for part in parts for index in part})

    def meant(self, text: str) -> list[int]:
        """The classes that a label may mean: by its name, else by WordNet id, else by index."""
        found = self.called(text)
        if found:
            return found
        if self.imagenet and plain(text) in IDS:
            return [IDS.index(plain(text))]
        is_index = self.counted and re.fullmatch("[0-9]{1,9}", text.strip())
        return [int(text)] if is_index and int(text) < len(self.names) else []

    def why_not(self, text: str) -> str:
        """A label that means no class, or several, in words: the nearest names or the classes."""
        several = self.meant(text)
        if several:
            fits = " and ".join(f"{index} {self.names[index]!r}" for index in several)
            return f"{text!r} (fits the classes {fits})"
        if re.fullmatch(r"n\d{8}", plain(text)):
            if self.imagenet:
                return f"{text!r} (none of ImageNet's 1000 WordNet ids)"
            return f"{text!r} (a WordNet id: these are known for ImageNet's 1000 classes only)"
        close = get_close_matches(plain(text), self.by_name, n=6, cutoff=0.4)
        nearest = list(dict.fromkeys(self.names[i] for name in close for i in self.by_name[name]))
        if nearest:
            return f"{text!r} (nearest: {', '.join(map(repr, nearest[:3]))})"
        return repr(text)

    def ways(self) -> str:
        """What a label may be, for messages."""
        some = ", ".join(map(repr, self.names[:3])) + (", ..." if len(self.names) > 3 else "")
        ids = ", a WordNet id" if self.imagenet else ""
        index = f" or an index from 0 to {len(self.names) - 1}" if self.counted else ""
        return f"a label is a class name ({some}){ids}{index}"


def numbered(
    texts: Sequence[str], class_names: Sequence[str] | None, where: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The class number of every label text, and the names of the classes so numbered.

    With `class_names` each text must mean one of them: a name or one of its synonyms, a WordNet id
    for ImageNet's classes, or an index. Without, the texts are classes in alphabetical order.
    Raises ValueError naming the labels that mean none or several, with the nearest class names.

    >>> numbered(["Tabby_cat", "1"], ["dog", "fox", "tabby, tabby cat"], "here")[0]
    {'Tabby_cat': 2, '1': 1}
    >>> numbered(["dog", "cat"], None, "here")
    ({'cat': 0, 'dog': 1}, ('cat', 'dog'))
    """
    found = sorted(set(texts))
    if class_names is None:
        return {text: number for number, text in enumerate(found)}, tuple(found)
    classes = Classes(class_names)
    meant = {text: classes.meant(text) for text in dict.fromkeys(texts)}
    wrong = [text for text, classes_of in meant.items() if len(classes_of) != 1]
    if wrong:
        shown = "; ".join(classes.why_not(text) for text in wrong[:SHOWN])
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"{len(wrong)} of the {len(found)} labels in {where} mean no single class of the "
            f"model: {shown}{more}; {classes.ways()}"
        )
    return {text: numbers[0] for text, numbers in meant.items()}, classes.names


def renumbered(own: Sequence[str], class_names: Sequence[str], where: str) -> tuple[int | str, ...]:
    """For each class of a data set its number among `class_names`, or why it has none.

    Both in one order keep their numbers, although some names differ ("car", "automobile"). Where no
    name at all agrees, as many classes are taken for the same ones, with a warning.
    Raises ValueError where no name agrees and their numbers differ.

    >>> renumbered(("cat", "dog"), ("dog", "tabby, cat", "fox"), "here")
    (1, 0)
    """
    theirs, classes = Classes(own), Classes(class_names)
    same = tuple(range(len(theirs.names)))
    if theirs.names == classes.names or (theirs.imagenet and classes.imagenet):
        return same
    found = [classes.called(name) for name in theirs.names]
    as_many = len(theirs.names) == len(classes.names)
    if not any(found):
        some = f"{', '.join(theirs.names[:3])} and {', '.join(classes.names[:3])}"
        if not as_many:
            raise ValueError(
                f"none of the {len(theirs.names)} classes of {where} is among the model's "
                f"{len(classes.names)}: {some}"
            )
        warnings.warn(
            f"no class of {where} has a name of the model's ({some}): their numbers are taken as "
            "they are",
            stacklevel=3,
        )
        return same
    claimed = {index for indices in found for index in indices}
    in_place = [index in indices for index, indices in enumerate(found)]
    free = [not indices and index not in claimed for index, indices in enumerate(found)]
    agree = all(here or nowhere for here, nowhere in zip(in_place, free, strict=True))
    if as_many and agree and 2 * sum(in_place) >= len(found):
        return same
    return tuple(
        indices[0] if len(indices) == 1 else classes.why_not(name)
        for name, indices in zip(theirs.names, found, strict=True)
    )
