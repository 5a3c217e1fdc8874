"""What a network looks at while it learns, and what it looks for once it has.

`Probe` records attributions and attacked images along training without changing it; `class_image`
draws what a class, a layer or a neuron responds to.
"""

from bridge.training.ascent import PRESETS
from bridge.training.class_images import ClassImages, class_image
from bridge.training.lightning import lightning_callback
from bridge.training.priors import Priors
from bridge.training.probe import Probe
from bridge.training.record import Confused, Record
from bridge.training.sinks import files, tensorboard, wandb

__all__ = [
    "PRESETS",
    "ClassImages",
    "Confused",
    "Priors",
    "Probe",
    "Record",
    "class_image",
    "files",
    "lightning_callback",
    "tensorboard",
    "wandb",
]
