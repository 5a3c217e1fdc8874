"""`gradbridge methods`: what there is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.registry import Method


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def methods(as_json: bool) -> None:
    """List the methods: definition, paper, implementations and parameters with their defaults."""
    from bridge import registry

    found = [registry.get(name) for name in registry.methods()]
    if as_json:
        click.echo(json.dumps([_described(method) for method in found], indent=2))
        return
    for kind in ("attribution", "attack"):
        click.secho(f"{kind}s", bold=True)
        for method in found:
            if method.kind == kind:
                _show(method)
        click.echo()


def _described(method: Method) -> dict[str, Any]:
    from bridge.record.manifest import plain

    return {
        "name": method.name,
        "kind": method.kind,
        "definition": method.summary,
        "paper": method.paper,
        "norm": method.norm,
        "implementations": method.implementations(),
        "parameters": plain(method.defaults),
    }


def _show(method: Method) -> None:
    name, by = click.style(method.name, bold=True), ", ".join(method.implementations())
    click.echo(f"\n  {name}  [{by}]  {method.paper}")
    click.echo(f"    {method.summary}")
    if method.defaults:
        shown = ", ".join(f"{name}={_short(value)}" for name, value in method.defaults.items())
        click.echo(f"    {shown}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
