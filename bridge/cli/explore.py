"""`gradbridge explore`: a live page of one model and its images, or of a run directory."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from bridge.cli._options import (
    ModelChoice,
    fitting_images,
    gather,
    option,
    param_option,
    size_option,
)
from bridge.cli._parse import Parameter, by_method, names
from bridge.cli._terminal import command_line, one_line, show, usage_errors

if TYPE_CHECKING:
    from bridge.explore import Opened, View


@dataclass(frozen=True)
class Seen:
    """What the page begins with."""

    data: str | None = option(
        "--data", metavar="SOURCE", help="Images, as for compare [default: fits the model]."
    )
    size: int | None = size_option()
    image: int = option("--image", default=0, show_default=True, help="Which, counted from 0.")
    methods: tuple[str, ...] | None = option(
        "--methods",
        type=names,
        metavar="NAMES",
        help="An attribution, and an attack: saliency,pgd [default: the quickest].",
    )
    parameters: tuple[Parameter, ...] = param_option()
    target: str = option(
        "--target",
        default="label",
        show_default=True,
        help="What is explained: label, predicted or a class's number.",
    )
    reach: int | None = option(
        "--reach", type=int, help="The class that a targeted attack aims at."
    )
    cover: str | None = option(
        "--cover", metavar="ROW,COLUMN,SIZE,VALUE", help="Cover a square of the image."
    )
    seed: int = option("--seed", default=0, show_default=True)


@dataclass(frozen=True)
class Serving:
    """Where the page is, or what is written in its place."""

    out: str | None = option(
        "--out",
        type=click.Path(),
        help="Open no page: compute what it would show, print it, and save it as a run there.",
    )
    port: int = option(
        "--port", type=click.IntRange(0, 65535), default=0, help="[default: any that is free]"
    )
    browser: bool = option(
        "--browser/--no-browser", default=True, help="Open it in the browser [default: yes]."
    )


@click.command()
@click.argument("run", required=False, type=click.Path(file_okay=False), metavar="[RUN_DIR]")
@gather(model=ModelChoice, seen=Seen, serving=Serving)
def explore(run: str | None, model: ModelChoice, seen: Seen, serving: Serving) -> None:
    """Move a parameter and watch maps and attacks follow, in a page on this machine.

    Without arguments: Fashion-MNIST samples through the embedded classifier. With a run directory:
    its images, and its model. The page is bound to 127.0.0.1, under an address that nobody can
    guess; Ctrl-C ends it. For example: gradbridge explore --model torchvision:resnet18 --data
    folder:photos
    """
    with usage_errors(), redirect_stdout(sys.stderr):
        opened = _opened(run, model, seen)
        begins = _begins(opened, seen)
    if serving.out is not None:
        _write(opened, begins, serving.out)
        return
    import bridge
    from bridge.explore.serving import TOKEN, Page

    with usage_errors():
        try:
            page = Page(opened, bridge.compare, begins=begins, port=serving.port)
        except OSError as error:
            raise click.ClickException(str(error)) from error
    show(f"The page: {page.url}\nCtrl-C ends it. To go on with an open page after a new start:")
    show(f"  {TOKEN}={page.token} {_again(page.port)}")
    if serving.browser:
        page.show()
    page.serve()


def _again(port: int) -> str:
    """The command that was typed, at this port."""
    typed = command_line()
    return typed if "--port" in typed else f"{typed} --port {port}"


def _opened(run: str | None, model: ModelChoice, seen: Seen) -> Opened:
    """The models and images that the page may look at. Raises what loading raises."""
    from bridge.explore import Model, Opened

    context = click.get_current_context()
    stated = context.get_parameter_source("model_source") != click.core.ParameterSource.DEFAULT
    given = {f.name: getattr(model, f.name) for f in fields(model)}
    source, dtype = given.pop("source"), given.pop("dtype")
    loading = {name: value for name, value in given.items() if value is not None}
    how: Any = Model(source, loading, dtype)
    if run is None:
        return Opened(how, seen.data or fitting_images(source), size=seen.size)
    from bridge.explore.serving import opened_run
    from bridge.study.comparison import Comparison

    found = opened_run(Comparison.load(run), run, how if stated else None)
    found.sources, found.size = [seen.data] if seen.data else [], seen.size
    return found


def _begins(opened: Opened, seen: Seen) -> View:
    """The view that the options state; what they leave open is the quickest."""
    from dataclasses import replace

    from bridge.core.registry import get
    from bridge.explore.offer import offer
    from bridge.explore.seen import Eye
    from bridge.explore.view import Cover, View

    data = seen.data or None
    usual = View.of(offer(Eye(opened), None, None, data, None)["view"])
    stated: dict[str, Any] = {}
    if seen.methods:
        kinds: dict[str, str] = {}
        for name in seen.methods:
            if get(name).kind in kinds:
                raise ValueError(f"--methods has two {get(name).kind}s: a page shows one of each")
            kinds[get(name).kind] = name
        stated = {"attack": "", **kinds}
    target: Any = int(seen.target) if seen.target.isdecimal() else seen.target
    cover = None
    if seen.cover is not None:
        parts = seen.cover.split(",")
        if len(parts) != 4:
            raise ValueError(f"--cover is {seen.cover!r}: expected ROW,COLUMN,SIZE,VALUE")
        row, column, size = map(int, parts[:3])
        cover = Cover(row, column, size, float(parts[3]))
    return replace(
        usual,
        image=seen.image,
        params=by_method(seen.parameters),
        target=target,
        reach=seen.reach,
        cover=cover,
        seed=seen.seed,
        **stated,
    )


def _write(opened: Opened, view: View, out: str) -> None:
    """Compute the view, save it as a run, and say its numbers."""
    import bridge
    from bridge.cli._folder import RunFolder
    from bridge.explore.judged import NOTE, judged
    from bridge.explore.seen import Eye

    folder = RunFolder(out, view.model)
    try:
        with usage_errors(), redirect_stdout(sys.stderr):
            result = judged(view, Eye(opened), bridge.compare)
        result.manifest["command"] = command_line()
        path = folder.save(result)
    except (OSError, ValueError) as error:
        raise click.ClickException(one_line(error)) from error
    finally:
        folder.discard()
    seen = result.manifest[NOTE]
    for name in ("clean", "attacked", "covered"):
        for row in seen.get(name, {}).get("classes", {}).get("rows", ()):
            called = result.class_name(row["class"])
            show(f"{name:<9} {called:<28} {row['probability']:7.2%}   logit {row['logit']:.4f}")
    if "attacked" in seen:
        moved = ", ".join(
            f"{name} {value:.3f}" for name, value in seen["attacked"]["shift"].items()
        )
        show(f"the map before and after: {moved}")
    show(f"Saved in {path}")
