"""The command line: `gradbridge compare`, `check`, `methods`, `doctor`. Torch is imported when a command needs it."""

from __future__ import annotations

import datetime
import json
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge import __version__

if TYPE_CHECKING:
    from bridge.compare import Comparison

# Without --repeats slow cells are timed once or twice, so that the default run stays under a minute on two cores.
TENTH_OF_A_SECOND = 0.1
# What `bench --quick` runs: every kind of work, each in seconds.
QUICK: dict[str, dict[str, Any]] = {
    "saliency": {}, "input_x_gradient": {}, "layer_gradcam": {}, "guided_backprop": {}, "integrated_gradients": {"n_steps": 20},
    "occlusion": {}, "fgsm": {}, "bim": {}, "pgd": {"steps": 10}, "fool": {},
}  # fmt: skip
COLOURS = {"equal": "green", "rounding": "green", "differs": "red", "failed": "red"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gradbridge")
def main() -> None:
    """Attributions and attacks of any image classifier: by Captum, by Foolbox and by our own references, cross-checked.

    Start with `gradbridge compare`: it needs no arguments and no network.
    """


def _numbers(text: str) -> list[float]:
    """ "1/255,8/255,0.1" -> floats."""
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        top, _, bottom = part.partition("/")
        try:
            found.append(float(top) / float(bottom or 1))
        except (ValueError, ZeroDivisionError) as error:
            raise click.BadParameter(f"{part!r} is not a number or a fraction such as 8/255") from error
    return found


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _value(text: str) -> Any:
    """A parameter's value: JSON where it is (numbers, true, null, lists), else a fraction, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return _numbers(text)[0] if re.fullmatch(r"[\d.]+/[\d.]+", text) else text


def _params(given: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """("pgd.steps=10",) -> {"pgd": {"steps": 10}}."""
    params: dict[str, dict[str, Any]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        method, dot, parameter = name.partition(".")
        if not equals or not dot:
            raise click.BadParameter(f"{text!r} should be METHOD.PARAMETER=VALUE, for example pgd.steps=10")
        params.setdefault(method, {})[parameter] = _value(value)
    return params


def _functions(given: tuple[str, ...]) -> dict[str, list[Any]]:
    """("fgsm=mine.py:fgsm",) -> {"fgsm": [function]}."""
    from bridge.load.models import load_object

    functions: dict[str, list[Any]] = {}
    for text in given:
        method, equals, where = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} should be METHOD=FILE.py:FUNCTION")
        functions.setdefault(method, []).append(load_object(where))
    return functions


@main.command()
@click.option(
    "--model",
    default="zoo:fashion_cnn",
    show_default=True,
    metavar="SOURCE",
    help="zoo:NAME, torchvision:NAME, timm:NAME, hf:NAME or python:FILE_OR_MODULE:FACTORY.",
)
@click.option("--weights", type=click.Path(dir_okay=False), help="A .safetensors file for the model; nothing is downloaded.")
@click.option("--mean", type=_numbers, help="Per-channel mean in pixel units, for example 0.485,0.456,0.406.")
@click.option("--std", type=_numbers, help="Per-channel standard deviation in pixel units.")
@click.option("--layer", help="The layer that Grad-CAM explains [default: the last with a spatial output].")
@click.option(
    "--data",
    metavar="SOURCE",
    help="samples:NAME, folder:PATH, npz:FILE, torchvision:NAME or sklearn:digits [default: fits the model].",
)
@click.option("-n", "--images", "count", default=16, show_default=True, help="How many images.")
@click.option("--size", type=int, help="Resize the shorter side to this and crop the centre.")
@click.option("--methods", metavar="NAMES", help="Comma-separated [default: all; see `gradbridge methods`].")
@click.option("--implementations", metavar="NAMES", help="Comma-separated: reference, fused, captum, foolbox [default: all].")
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="METHOD=FILE.py:NAME",
    help="Compare your own implementation of a method too. Repeatable.",
)
@click.option("--param", "params", multiple=True, metavar="METHOD.NAME=VALUE", help="A method's parameter. Repeatable.")
@click.option("--epsilons", type=_numbers, metavar="SIZES", help="Sizes of the Linf attacks [default: 2/255,8/255].")
@click.option("--epsilons-l2", type=_numbers, metavar="SIZES", help="Sizes of the L2 attacks [default: 0.25,1].")
@click.option("--repeats", type=int, help="Timed runs of each cell after a warm-up [default: 3, fewer where slow].")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False), help="The run directory [default: runs/<time>-<model>].")
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html into the run directory too.")
@click.option("--json", "as_json", is_flag=True, help="Print the tables as JSON instead of text.")
def compare(
    model: str, weights: str | None, mean: list[float] | None, std: list[float] | None, layer: str | None,
    data: str | None, count: int, size: int | None, methods: str | None, implementations: str | None,
    functions: tuple[str, ...], params: tuple[str, ...], epsilons: list[float] | None, epsilons_l2: list[float] | None,
    repeats: int | None, device: str, dtype: str, seed: int, out: str | None, report: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run methods by all their implementations on real images; print the tables, save them with a figure and a report.

    Without arguments: 16 Fashion-MNIST samples through the embedded classifier, everything there is. Exit code 0 when the
    comparison ran (disagreements are results), 1 when nothing could be compared, 2 for wrong usage.
    """
    import torch

    import bridge

    _short_warnings()
    with _usage_errors():
        wrapping: dict[str, Any] = {k: v for k, v in {"mean": mean, "std": std, "layer": layer}.items() if v}
        adapter = bridge.load_model(model, weights=weights, device=device, **wrapping)
        source = data or _fitting_data(model)
        x, labels = bridge.load_batch(source, count, size=size)
        kind = getattr(torch, dtype)
        adapter = adapter if adapter.dtype in (kind, None) else adapter.astype(kind)
        budgets = {k: v for k, v in {"linf": epsilons, "l2": epsilons_l2}.items() if v}
        x = x.to(device, kind)
        result = bridge.compare(
            adapter, x, labels, methods=_names(methods), implementations=_names(implementations),
            functions=_functions(functions), params=_params(params), epsilons=budgets,
            repeats=3 if repeats is None else repeats, seed=seed,
            timing_seconds=TENTH_OF_A_SECOND if repeats is None else float("inf"),
        )  # fmt: skip
    result.manifest["data"] = {"source": source, "images": len(x), "size": size}
    result.manifest["command"] = "gradbridge " + " ".join(sys.argv[1:])
    name = re.sub(r"[^\w.-]+", "_", model)
    folder = Path(out or f"runs/{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}")
    saved = result.save(folder)
    figure = result.figure(folder / "panels.png")
    if report:
        result.report(folder / "report.html", title=f"{model} on {source}")
    if as_json:
        click.echo(_json(result, saved))
    else:
        click.echo(f"{len(x)} images of {source} through {model} on {device}, seed {seed}\n")
        click.echo(_coloured(str(result)))
        click.echo(f"\nSaved in {saved}: run.json, tables (Parquet), tensors.safetensors and {figure.name}")
        if report:
            click.echo(f"To look at, and to send on: {saved / 'report.html'}")
    sys.exit(0 if result.outputs else 1)


def _json(result: Comparison, saved: Path) -> str:
    tables = {name: json.loads(table.to_json(orient="records")) for name, table in result.tables.items()}
    return json.dumps({"folder": str(saved), "manifest": result.manifest, **tables}, indent=2)


def _fitting_data(model: str) -> str:
    from bridge.zoo import ZOO

    name = model.removeprefix("zoo:")
    return ZOO[name].samples if model.startswith("zoo:") and name in ZOO else "samples:imagenet"


def _coloured(text: str) -> str:
    """Verdicts in colour where the terminal has any; click removes the colour elsewhere."""
    return re.sub(rf"(?<=\s)({'|'.join(COLOURS)})(?=\s|$)", lambda match: click.style(match[0], fg=COLOURS[match[0]]), text)


def _short_warnings() -> None:
    """Warnings as one line on stderr, without the source line that raised them."""
    warnings.showwarning = lambda message, *rest, **options: click.secho(f"Warning: {message}", fg="yellow", err=True)


class _usage_errors:  # noqa: N801 - used like the context managers of contextlib
    """What the user asked for and cannot be had: one line and exit code 2, no traceback."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError | TypeError | KeyError):
            text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            raise click.UsageError(text) from error


@main.command()
@click.option(
    "--model", "models", multiple=True, metavar="SOURCE", help="As for compare. Repeatable. [default: zoo:fashion_cnn]"
)
@click.option("--random", is_flag=True, help="Random weights: nothing is downloaded, and times do not depend on weights.")
@click.option("--data", metavar="SOURCE", help="As for compare [default: fits the model].")
@click.option("--size", type=int, help="Resize the shorter side to this and crop the centre.")
@click.option("--batch", "batches", type=_numbers, default="8", show_default=True, metavar="SIZES", help="Images in a batch.")
@click.option("--methods", metavar="NAMES", help="Comma-separated [default: all].")
@click.option("--implementations", metavar="NAMES", help="Comma-separated: reference, fused, captum, foolbox [default: all].")
@click.option("--function", "functions", multiple=True, metavar="METHOD=FILE.py:NAME", help="Time your own too. Repeatable.")
@click.option("--param", "params", multiple=True, metavar="METHOD.NAME=VALUE", help="A method's parameter. Repeatable.")
@click.option(
    "--accelerate",
    "accelerations",
    multiple=True,
    type=click.Choice(["compile", "bf16", "cuda_graph"]),
    help="Time the fused engine with this too, and state what it costs in agreement. Repeatable.",
)
@click.option("--rounds", default=5, show_default=True, help="Timed runs of each, taken in turns.")
@click.option("--threads", default=1, show_default=True, help="CPU threads; with one, other processes disturb least.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option("--quick", is_flag=True, help="Fewer methods, steps and rounds: under three minutes.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False), help="The folder for the results [default: runs/<time>-bench].")
def bench(
    models: tuple[str, ...], random: bool, data: str | None, size: int | None, batches: list[float], methods: str | None,
    implementations: str | None, functions: tuple[str, ...], params: tuple[str, ...], accelerations: tuple[str, ...],
    rounds: int, threads: int, device: str, quick: bool, seed: int, out: str | None,
) -> None:  # fmt: skip
    """Time methods by all their implementations, taken in turns: ratios, passes, memory, and whether the answer is right.

    Prints the tables as Markdown and saves them with a figure. Exit code 0 when something was timed, 2 for wrong usage.
    """
    import torch

    import bridge
    from bridge.benchmark import benchmark

    _short_warnings()
    torch.set_num_threads(threads)
    names = models or ("zoo:fashion_cnn",)
    changed = _params(params)
    if quick:
        rounds = min(rounds, 3)
        changed = {name: {**QUICK.get(name, {}), **changed.get(name, {})} for name in {**QUICK, **changed}}
        methods = methods or ",".join(QUICK)
        changed = {name: value for name, value in changed.items() if name in methods.split(",")}
    with _usage_errors():
        adapters = {name: bridge.load_model(name, pretrained=not random, device=device) for name in names}

        def images(name: str, n: int) -> Any:
            x, labels = bridge.load_batch(data or _fitting_data(name), n, size=size)
            return x.to(device), labels

        result = benchmark(
            adapters, images, methods=_names(methods), implementations=_names(implementations), functions=_functions(functions),
            params=changed, batches=[int(n) for n in batches], accelerations=accelerations, rounds=rounds, seed=seed,
        )  # fmt: skip
    result.manifest["command"] = "gradbridge " + " ".join(sys.argv[1:])
    saved = result.save(Path(out or f"runs/{datetime.datetime.now():%Y%m%d-%H%M%S}-bench"))
    click.echo(str(result))
    click.echo(f"Saved in {saved}: run.json, records (Parquet), benchmark.md and benchmark.png")
    sys.exit(0 if len(result.records) else 1)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(file_okay=False), metavar="RUN...")
@click.option(
    "-o",
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(),
    help="What to write: .html, .md, .tex, .pdf, or a folder for everything.",
)
@click.option("--title", help="The heading.")
def report(runs: tuple[str, ...], out: str, title: str | None) -> None:  # fmt: skip
    """Make a report of one run directory, or of several side by side: one file that opens anywhere.

    Exit code 0 when it was written, 2 for wrong usage. For example: gradbridge report runs/first runs/second -o report.html
    """
    from bridge.report import report as write

    with _usage_errors():
        try:
            path = write(list(runs), out, title=title)
        except RuntimeError as error:  # no browser to print with
            raise click.ClickException(str(error)) from error
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size
    click.echo(f"Wrote {path} ({size / 1e6:.1f} MB)")


@main.command()
@click.argument("function", metavar="FILE_OR_MODULE:FUNCTION")
@click.option("--as", "method", required=True, metavar="METHOD", help="The method that the function claims to be.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="What the function does where it cannot be told.")
@click.option("--seed", default=0, show_default=True, help="For the networks and images that it is checked on.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(function: str, method: str, params: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Is this function the method that it claims to be, and if not, what is wrong?

    Exit code 0 when it passes, 1 when a check fails, 2 for wrong usage. For example:
    gradbridge check mine.py:my_fgsm --as fgsm
    """
    import bridge
    from bridge.load.models import load_object

    given = {}
    for text in params:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} should be NAME=VALUE, for example steps=20")
        given[name] = _value(value)
    with _usage_errors():
        report = bridge.check(load_object(function), method, params=given, seed=seed)
    click.echo(report.to_json() if as_json else str(report))
    sys.exit(0 if report.passed else 1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def methods(as_json: bool) -> None:
    """List the methods: definition, paper, implementations and parameters with their defaults."""
    from bridge import registry
    from bridge.manifest import plain

    found = [registry.get(name) for name in registry.methods()]
    if as_json:
        click.echo(json.dumps([
            {"name": m.name, "kind": m.kind, "definition": m.summary, "paper": m.paper, "norm": m.norm,
             "implementations": m.implementations(), "parameters": plain(m.defaults)}
            for m in found
        ], indent=2))  # fmt: skip
        return
    for kind in ("attribution", "attack"):
        click.secho(f"{kind}s", bold=True)
        for m in (m for m in found if m.kind == kind):
            click.echo(f"\n  {click.style(m.name, bold=True)}  [{', '.join(m.implementations())}]  {m.paper}")
            click.echo(f"    {m.summary}")
            if m.defaults:
                click.echo("    " + ", ".join(f"{k}={_short(v)}" for k, v in m.defaults.items()))
        click.echo()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Show versions, devices and what is installed, and test that every method gives known answers here.

    Exit code 0 when all is well, 1 when something needed is missing or wrong.
    """
    from bridge.doctor import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        for section, entries in report.items():
            click.secho(section, bold=True)
            for name, value in entries.items():
                click.echo(f"  {name:<22} {value if value is not None else 'not installed'}")
    sys.exit(0 if all(result == "passed" for result in report["self-test"].values()) else 1)


if __name__ == "__main__":
    main()
