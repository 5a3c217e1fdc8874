"""Labels that are texts, and data sets' classes, in the numbering of a model."""

from __future__ import annotations

import warnings

import pytest

from bridge.load import names
from bridge.load.labels import Classes, numbered, renumbered
from bridge.load.wordnet import IDS

PETS = ("dog", "tabby, tabby cat", "T-shirt/top", "red_fox", "potter's wheel", "Bücher")


@pytest.mark.parametrize(
    "text, number",
    [
        ("dog", 0),
        ("DOG", 0),
        (" dog ", 0),
        ("tabby", 1),
        ("tabby cat", 1),
        ("Tabby_Cat", 1),
        ("tabby-cat", 1),
        ("tabby, tabby cat", 1),
        ("tabby cat, tabby", 1),
        ("T-shirt_top", 2),
        ("t shirt top", 2),
        ("Red-Fox", 3),
        ("red fox, Vulpes vulpes", 3),
        ("potters_wheel", 4),
        ("potter’s wheel", 4),
        ("Bu\u0308cher", 5),  # as a Mac writes it
        ("0", 0),
        ("5", 5),
        ("003", 3),
    ],
)
def test_a_label_means_a_class_by_name_or_index(text, number):
    assert numbered([text], PETS, "here") == ({text: number}, PETS)


@pytest.mark.parametrize(
    "text, words",
    [
        ("cat", "'cat' .nearest: 'tabby, tabby cat'"),
        ("tabbi", "'tabbi' .nearest: 'tabby, tabby cat'"),
        ("redfox", "nearest: 'red_fox'"),
        ("6", "'6'; a label is a class name .* or an index from 0 to 5"),
        ("-1", "'-1'"),
        ("1.0", "'1.0'"),
        ("9" * 5000, "999"),
        ("", "''"),
        ("_", "'_'"),
        (
            "n02099601",
            "'n02099601' .a WordNet id: these are known for ImageNet's 1000 classes only",
        ),
        ("dog, tabby", "fits the classes 0 'dog' and 1 'tabby, tabby cat'"),
    ],
)
def test_a_label_that_means_none_or_several_is_refused(text, words):
    with pytest.raises(ValueError, match=f"1 of the 2 labels in here mean .*{words}"):
        numbered(["dog", text], PETS, "here")


def test_many_wrong_labels_are_counted_and_some_are_shown():
    with pytest.raises(
        ValueError, match=r"9 of the 9 labels .*'wrong 4'.*; and 4 more;"
    ) as refused:
        numbered([f"wrong {k}" for k in range(9)], PETS, "here")
    assert "'wrong 5'" not in str(refused.value)


def test_numbers_that_are_names_are_names():
    one_to_ten = [str(number) for number in range(1, 11)]
    assert numbered(["1", "10"], one_to_ten, "here")[0] == {"1": 0, "10": 9}
    with pytest.raises(ValueError, match="'0'"):
        numbered(["0", "1"], one_to_ten, "here")


def test_names_that_two_classes_share_are_refused_unless_one_is_called_just_so():
    words = (
        "crane",
        "Cardigan, Cardigan Welsh corgi",
        "crane",
        "cardigan",
        "maillot",
        "maillot, tank suit",
    )
    assert numbered(["cardigan", "maillot"], words, "here")[0] == {"cardigan": 3, "maillot": 4}
    for text in ("crane", "CARDIGAN", "Maillot"):
        with pytest.raises(ValueError, match=r"fits the classes .*or an index"):
            numbered([text], words, "here")
    assert numbered(["0", "2"], words, "here")[0] == {"0": 0, "2": 2}


def test_wordnet_ids_mean_imagenets_classes():
    assert len(IDS) == len(set(IDS)) == 1000
    assert list(IDS) == sorted(IDS)
    found = numbered(["n02099601", "N02123045", "goldfish", "999"], names.imagenet(), "here")[0]
    assert list(found.values()) == [207, 281, 1, 999]
    with pytest.raises(ValueError, match=r"'n00000000' .none of ImageNet's 1000 WordNet ids"):
        numbered(["n00000000"], names.imagenet(), "here")
    others = [f"thing {k}" for k in range(1000)]  # a thousand classes are not yet ImageNet's
    assert not Classes(others).imagenet
    assert not Classes(sorted(names.imagenet())).imagenet  # nor are they in another order
    with pytest.raises(ValueError, match="n02099601"):
        numbered(["n02099601"], others, "here")


def test_the_ids_agree_with_timms():
    info = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
    assert [info.index_to_label_name(index) for index in range(1000)] == list(IDS)
    described = [info.index_to_description(index) for index in range(1000)]
    assert Classes(described).imagenet  # other names for the same classes
    assert renumbered(names.imagenet(), described, "here") == tuple(range(1000))


def test_every_class_of_imagenet_is_found_by_its_own_name():
    known = names.imagenet()
    numbers, _ = numbered(known, known, "here")
    assert [numbers[name] for name in known] == list(range(1000))


def test_the_classes_of_a_data_set_get_the_models_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert renumbered(names.CIFAR10, names.CIFAR10, "here") == tuple(range(10))
        backwards = names.CIFAR10[::-1]
        assert renumbered(names.CIFAR10, backwards, "here") == tuple(range(9, -1, -1))
        # In the same order, although two are called otherwise.
        short = ("plane", "car", *names.CIFAR10[2:])
        assert renumbered(names.CIFAR10, short, "here") == tuple(range(10))
        only = renumbered(names.CIFAR10, ("cat", "dog"), "here")
    assert (only[3], only[5]) == (0, 1)
    assert only[0] == "'airplane'"  # in words, as it has no number
    assert renumbered(("mice", "cat", "x"), ("mouse, mice", "cat, mice"), "here")[0] == (
        "'mice' (fits the classes 0 'mouse, mice' and 1 'cat, mice')"
    )


def test_classes_without_a_common_name_are_told():
    with pytest.warns(
        UserWarning, match=r"no class of here has a name of the model's \(0, 1, 2 and"
    ):
        assert renumbered("012", ("zero", "one", "two"), "here") == (0, 1, 2)
    with pytest.raises(ValueError, match="none of the 10 classes of here is among the model's 2"):
        renumbered(names.CIFAR10, ("a", "b"), "here")
