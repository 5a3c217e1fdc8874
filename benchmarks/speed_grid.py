"""Every fused method against its library, on networks and batches large and small: a part."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import torch
import torchvision
from speed_table import Calls, Table, in_turns, quartiles, ratio, seconds
from torch import Tensor
from worlds import resnet20

import bridge
from bridge.core.method import Method
from bridge.core.model import ModelAdapter

# Networks, the sides of their images, and whether --quick has them too.
NETWORKS: dict[str, tuple[int, bool]] = {
    "fashion_cnn": (28, True),
    "resnet20": (32, True),
    "mobilenet_v3_small": (96, False),
    "resnet18": (224, False),
}
BATCHES = (1, 4, 16, 64)
BAR = 1.05
# The number of gradients, by what the method calls it: its default, halved until a call of the
# library takes no longer than this; a cell that takes longer with FEWEST is left out.
COUNTS = ("n_steps", "n_samples", "steps")
LONGEST, FEWEST = 3.0, 4
ENOUGH = 6.0  # seconds a cell
MORE = 2  # times as many rounds again, while the bar lies between the quartiles


def grid(
    table: Table,
    device: str,
    rounds: int,
    quick: bool,
    networks: tuple[str, ...] = (),
    batches: tuple[int, ...] = BATCHES,
    methods: tuple[str, ...] = (),
) -> None:
    """A row a network and batch and method, its parameters beside it where they are no defaults."""
    for name, (side, small) in NETWORKS.items():
        if name in networks or (not networks and (small or not quick)):
            model = network(name, device)
            channels = 1 if name == "fashion_cnn" else 3
            for n in batches:
                torch.manual_seed(n)
                x = torch.rand(n, channels, side, side, device=device)
                labels = model(x).argmax(1)
                for method, library in pairs():
                    if not methods or method.name in methods:
                        _cell(table, f"{name}, {side} px, N={n}", model, x, labels, method, library)


def network(name: str, device: str) -> ModelAdapter:
    """A network of the grid with fixed random weights, but for the zoo's own."""
    torch.manual_seed(0)
    if name == "fashion_cnn":
        model = bridge.load_model("zoo:fashion_cnn")
        return model.to(device)
    if name == "resnet20":
        return bridge.wrap(resnet20().eval().to(device))
    return bridge.wrap(torchvision.models.get_model(name, weights=None).eval().to(device))


def pairs() -> Iterator[tuple[Method, str]]:
    """Every method with a fast implementation, and each of its libraries."""
    for name in bridge.methods():
        method = bridge.registry.get(name)
        yield from ((method, library) for library in method.twins if method.fast)


def _cell(
    table: Table,
    where: str,
    model: ModelAdapter,
    x: Tensor,
    labels: Tensor,
    method: Method,
    library: str,
) -> None:
    chosen: dict[str, Any] = {}
    if "window" in method.defaults:
        side = x.shape[-1]
        chosen = {"window": side // 4, "stride": side // 8}
    count = next((each for each in COUNTS if each in method.defaults), None)

    def theirs() -> object:
        function = method.twins[library].function
        return function(model, x.clone(), labels, **method.bind(chosen))

    def ours() -> object:
        return bridge.run(method.name, model, x, labels, implementation="fused", **chosen)

    try:
        ours(), theirs()  # the first calls also look at the model
        took = seconds(theirs, x.device)
        while count and took > LONGEST:
            steps = chosen.get(count, method.defaults[count])
            if steps // 2 < FEWEST:
                return
            chosen[count], took = steps // 2, took / 2
    except (ValueError, NotImplementedError) as error:  # a layer or ReLU modules that it lacks
        table.say(f"{method.name}, {where}: {error}")
        return
    if took > LONGEST:
        return
    rounds = max(5, min(40, int(ENOUGH / 2 / took)))
    calls: Calls = {"ours": ours, "library": theirs}
    times = in_turns(calls, x, rounds, warm=False)
    for _ in range(MORE):
        low, _, high = quartiles(times, "ours", "library")
        if not low <= BAR <= high:
            break
        for name, taken in in_turns(calls, x, rounds, warm=False).items():
            times[name] += taken
    run = bridge.run(method.name, model, x, labels, implementation="fused", **chosen)
    params = ", ".join(f"{k}={v}" for k, v in chosen.items())
    mine, other = (1000 * statistics.median(times[name]) for name in ("ours", "library"))
    table.add(
        f"{method.name}{f' ({params})' * bool(params)}, {where}",
        library.capitalize(),
        *ratio(times, "ours", "library"),
        BAR,
        1.0,
        f"{run.forwards / len(x):g} / {run.backwards / len(x):g}; {mine:.3g} - {other:.3g} ms",
    )
