"""Class names of the datasets whose samples are embedded (ImageNet's come with torchvision)."""

from __future__ import annotations

from bridge.zoo import DIGITS, FASHION_CLASSES

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
    plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)


def imagenet() -> tuple[str, ...]:
    """The 1000 ImageNet class names in the usual order; nothing is downloaded.

    >>> len(imagenet()), imagenet()[207]
    (1000, 'golden retriever')
    """
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def of_samples(dataset: str) -> tuple[str, ...]:
    """The class names of one of the embedded sample sets. Raises KeyError for another.

    >>> of_samples("cifar10")[:2]
    ('airplane', 'automobile')
    """
    if dataset == "imagenet":
        return imagenet()
    return {
        "cifar10": CIFAR10,
        "cifar100": CIFAR100,
        "mnist": DIGITS,
        "fashion_mnist": FASHION_CLASSES,
    }[dataset]
