"""Transfer: do images that were made to fool one model fool another one?"""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from bridge.core.model import ModelAdapter
from bridge.metrics.attack import classify


def transferred(
    second: ModelAdapter, x: Tensor, labels: Tensor, adversarial: Tensor
) -> pd.DataFrame:
    """What a second model says of images (n, c, h, w) and of ones made to fool another model.

    A row an image: `transfer_right` (the clean image is classified as its label), and of the
    adversarial one `transfer_predicted`, `transfer_confidence` (NaN, and -1 for the class, where
    the logits are not finite), and `transferred`: right before, wrong now. `labels` are (n,).

    Raises ValueError where the images do not have one shape.
    """
    if x.shape != adversarial.shape or len(labels) != len(x):
        raise ValueError(
            f"expected as many adversarial images and labels as images {tuple(x.shape)}, got "
            f"{tuple(adversarial.shape)} and {len(labels)} labels"
        )
    clean, _ = classify(second, x)
    predicted, confidence = classify(second, adversarial)
    right = clean == labels
    return pd.DataFrame(
        {
            "transfer_right": right.cpu().numpy(),
            "transfer_predicted": predicted.cpu().numpy(),
            "transfer_confidence": confidence.cpu().numpy(),
            # A prediction that there is not (-1) is no success, as in the audit of attacks.
            "transferred": (right & (predicted >= 0) & (predicted != labels)).cpu().numpy(),
        }
    )
