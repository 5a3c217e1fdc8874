"""How long after a slider is moved the new map is on the screen, in a real browser.

pip install ".[test]" && python benchmarks/explore_latency.py
Writes benchmarks/results/explore.md and explore.png, the README's picture. SqueezeNet's weights:
BRIDGE_TEST_DATA names the folder with real weights (see tests/conftest.py).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import sync_playwright

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[2] / "shared" / "data"
DATA = Path(os.environ.get("BRIDGE_TEST_DATA", ROOT))
WEIGHTS = DATA / "imagenet_models" / "squeezenet1_1.safetensors"
SQUEEZENET = ["--model", "torchvision:squeezenet1_1", "--weights", str(WEIGHTS)]
SQUEEZENET += ["--data", "samples:imagenet"]
FASHION = ["--model", "zoo:fashion_cnn"]
FLAGS = ["--no-sandbox", "--disable-gpu"]
TIMES = 7

# Moves a slider, and waits for the frame in which the canvas shows another picture.
MOVE = """async ([box, name, value, canvas]) => {
  const look = () => {
    const { data } = canvas_.getContext("2d").getImageData(0, 0, canvas_.width, canvas_.height);
    let sum = 0;
    for (let k = 0; k < data.length; k += 1) sum = (sum * 31 + data[k]) | 0;
    return sum;
  };
  const canvas_ = document.getElementById(canvas);
  const slider = document.querySelector(`#${box} input[type=range][name=${name}]`);
  const before = look();
  const start = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  // The page marks a picture that waits for its answer: an older answer is not the one.
  while (look() === before || canvas_.classList.contains("busy")) {
    if (performance.now() - start > 60000) throw new Error("nothing changed");
    await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);  // the frame after it: it has been shown
  return performance.now() - start;
}"""


@dataclass(frozen=True)
class Move:
    """A slider, two values that it goes between, and the canvas that follows."""

    methods: str
    params: tuple[str, ...]
    box: str
    name: str
    values: tuple[float, float]
    canvas: str

    @property
    def text(self) -> str:
        """What moves, and what follows."""
        map_, attack = self.methods.split(",")
        follows = f"map of {map_}" if self.canvas == "clean-map" else f"map under {attack}"
        stated = f" ({', '.join(self.params)})" if self.params else ""
        return f"{self.name} | {follows} of `{self.methods}`{stated}"


def epsilon(methods: str, *params: str) -> Move:
    """The size of the attack, whose map follows."""
    return Move(methods, params, "attack-controls", "epsilon", (0.02, 0.06), "attacked-map")


def of_map(methods: str, name: str, values: tuple[float, float], *params: str) -> Move:
    """A parameter of the attribution."""
    return Move(methods, params, "attribution-controls", name, values, "clean-map")


CASES = {
    "fashion_cnn, 28 px": (
        FASHION,
        150,
        [
            epsilon("input_x_gradient,fgsm"),
            of_map("integrated_gradients,fgsm", "n_steps", (20, 49)),
            of_map("integrated_gradients,fgsm", "baseline", (0.2, 0.6)),
            of_map("occlusion,fgsm", "window", (5, 14)),
            epsilon("input_x_gradient,pgd"),
        ],
    ),
    "SqueezeNet 1.1, 224 px": (
        SQUEEZENET,
        1000,
        [
            epsilon("input_x_gradient,fgsm"),
            epsilon("layer_gradcam,fgsm"),
            of_map("smooth_grad,fgsm", "stdev", (0.12, 0.3), "smooth_grad.n_samples=5"),
            epsilon("layer_gradcam,pgd", "pgd.steps=5"),
            # Forty passes of this network alone take longer than the goal: said, not hidden.
            of_map("integrated_gradients,fgsm", "n_steps", (20, 49)),
            epsilon("layer_gradcam,pgd"),
        ],
    ),
}


@contextmanager
def served(words: list[str]) -> Iterator[tuple[str, int]]:
    """The command, as a user starts it: its address and its process."""
    command = [sys.executable, "-m", "bridge.cli", "explore", "--no-browser", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        try:
            yield line.split()[-1], process.pid
        finally:
            process.terminate()


def cpu_seconds(process: int) -> float:
    """What a process has spent, of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(chromium: Any, source: list[str], move: Move) -> tuple[float, ...]:
    """Milliseconds to the screen (median, slowest), and the server's CPU, a move."""
    words = [*source, "--methods", move.methods]
    for each in move.params:
        words += ["--param", each]
    with served(words) as (url, process):
        page = chromium.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(url)
        page.locator("#why", has_text="rank").wait_for(timeout=120_000)
        page.wait_for_timeout(500)

        # Each value is new, so that nothing is answered from what is kept.
        low, high = move.values
        whole = isinstance(low, int)
        steps = [low + (high - low) * k / TIMES for k in range(TIMES + 1)]
        values = [round(each) if whole else each for each in steps]
        taken, spent = [], []
        for value in dict.fromkeys(values):
            before = cpu_seconds(process)
            taken.append(page.evaluate(MOVE, [move.box, move.name, str(value), move.canvas]))
            page.wait_for_timeout(300 + 2 * taken[-1])  # what follows it is no part of the next
            spent.append(1000 * (cpu_seconds(process) - before))
        page.close()
    middle = statistics.median(taken[1:])
    return middle, max(taken[1:]), statistics.median(spent[1:])


def picture(chromium: Any) -> None:
    """The README's picture."""
    words = [*FASHION, "--methods", "integrated_gradients,pgd"]
    with served([*words, "--cover", "16,14,5,0"]) as (url, _):
        page = chromium.new_page(viewport={"width": 1280, "height": 1010})
        page.goto(url)
        page.locator("#why", has_text="rank").wait_for(timeout=60_000)
        page.click("#check")
        page.locator("#lights", has_text="foolbox").wait_for(timeout=60_000)
        page.locator("#clean-map").hover()
        page.wait_for_timeout(500)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=RESULTS / "explore.png")
        page.close()


def main() -> None:
    browser = next(found for name in ("chromium", "google-chrome") if (found := shutil.which(name)))
    lines = [
        "# From a slider to the new map on the screen",
        "",
        "`benchmarks/explore_latency.py`: `gradbridge explore` as a user starts it, a headless",
        f"Chromium, {TIMES} moves of each slider to values that were not seen before. Milliseconds",
        "from the slider's event to the frame after the one in which the canvas has changed:",
        "median and slowest. CPU: what the server spent on a move, with all that follows",
        "(both maps, the attack, their shift), median.",
        "",
        f"{os.cpu_count()} CPU cores, torch {torch.__version__} with {torch.get_num_threads()} "
        f"thread(s); load average at the beginning {os.getloadavg()[0]:.1f}.",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        for name, (source, goal, moves) in CASES.items():
            lines += ["", f"## {name} (goal: {goal} ms)", ""]
            lines += ["| slider | what follows | median ms | slowest ms | CPU ms |"]
            lines += ["|---|---|---|---|---|"]
            for move in moves:
                found = measured(chromium, source, move)
                lines.append(f"| {move.text} | {' | '.join(f'{each:.0f}' for each in found)} |")
                print(lines[-1], flush=True)
        picture(chromium)
        chromium.close()
    (RESULTS / "explore.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
