"""Results of a study that never ran: the frames that a summary reads, drawn from a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bridge.tables.study import Results

METHODS = ("saliency", "integrated_gradients", "occlusion")
# Name, norm, how strong, passes forwards and backwards an image.
SIZED = (
    ("noise", "linf", 0.05, 10, 0),
    ("one_step", "linf", 0.5, 1, 1),
    ("many_steps", "linf", 1.0, 20, 20),
    ("many_steps_l2", "l2", 1.0, 20, 20),
)
EPSILONS = {"linf": (2 / 255, 4 / 255, 8 / 255, 16 / 255), "l2": (0.25, 0.5, 1.0, 2.0)}


def drawn(n: int = 300, classes: int = 5, seed: int = 0, failed: int = 2) -> Results:
    """An image has a margin; an attack fools it where its strength times epsilon is larger."""
    draw = np.random.default_rng(seed)
    ids = np.array([f"image{i:06d}" for i in range(n)], dtype=object)
    label = draw.integers(0, classes, n)
    right = draw.random(n) < 0.9
    images = pd.DataFrame(
        {
            "id": ids,
            "index": np.arange(n),
            "label": label,
            "predicted": np.where(right, label, (label + 1) % classes),
            "confidence": draw.uniform(0.3, 1, n),
            "right": right,
            "source": [f"images/{i}.png" for i in range(n)],
        }
    )
    margin = draw.exponential(6 / 255, n)
    attacks = []
    for name, norm, strength, forwards, backwards in SIZED:
        unit = 1.0 if norm == "linf" else 8 / 255
        for epsilon in EPSILONS[norm]:
            power = strength * epsilon * unit * draw.uniform(0.7, 1, n)
            fooled = right & (power > margin)
            l2 = epsilon * (20 if norm == "linf" else 1)
            linf = epsilon * (1 if norm == "linf" else 0.1)
            after = np.where(fooled, (label + 2) % classes, images["predicted"])
            attacks.append(
                pd.DataFrame(
                    {"id": ids, "method": name, "norm": norm, "epsilon": epsilon}
                    | {"predicted": after, "confidence": 0.5, "fooled": fooled}
                    | {"linf": linf, "l2": l2, "forwards": forwards, "backwards": backwards}
                )
            )
    size = margin * 255 / 8 * 1.1
    attacks.append(
        pd.DataFrame(
            {"id": ids, "method": "smallest_l2", "norm": "l2", "epsilon": np.nan}
            | {"predicted": (label + 2) % classes, "confidence": 0.5, "fooled": right}
            | {"linf": size * 0.1, "l2": size, "forwards": 12.0, "backwards": 11.0}
        )
    )
    attributions = [
        pd.DataFrame(
            {"id": ids, "method": name, "target": label, "total": draw.normal(k, 1, n)}
            | {"largest": draw.exponential(1 + k, n), "gini": draw.beta(4 + 2 * k, 4, n)}
        )
        for k, name in enumerate(METHODS)
    ]
    pairs = [
        pd.DataFrame({"id": ids, "a": a, "b": b, "spearman": draw.uniform(low, 1, n)})
        for a, b, low in (
            (METHODS[0], METHODS[1], 0.2),
            (METHODS[0], METHODS[2], -0.4),
            (METHODS[1], METHODS[2], -0.2),
        )
    ]
    failures = pd.DataFrame(
        {"id": [f"broken{i}" for i in range(failed)], "method": "", "stage": "read"}
        | {"error": "UnidentifiedImageError", "message": "no image <b>at all</b>"}
    )
    return Results(
        images,
        pd.concat(attributions, ignore_index=True),
        pd.concat(pairs, ignore_index=True),
        pd.concat(attacks, ignore_index=True),
        failures,
        class_names=[f"class {c}" for c in range(classes)],
    )
