"""`gradbridge metrics`: the metrics of attributions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.metrics.registry import Metric


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def metrics(as_json: bool) -> None:
    """List the metrics of attributions: definition, paper, which end is good, what they need."""
    from bridge.metrics import registry

    found = [registry.get(name) for name in registry.metrics()]
    if as_json:
        click.echo(json.dumps([_described(metric) for metric in found], indent=2))
        return
    for metric in found:
        _show(metric)


def _described(metric: Metric) -> dict[str, Any]:
    from bridge.record.manifest import plain

    return {
        "name": metric.name,
        "definition": metric.summary,
        "paper": metric.paper,
        "better": metric.better,
        "needs": sorted(metric.needs),
        "cost": metric.cost(),
        "implementations": metric.implementations(),
        "parameters": plain(metric.defaults),
    }


def _show(metric: Metric) -> None:
    name, by = click.style(metric.name, bold=True), ", ".join(metric.implementations())
    click.echo(f"\n  {name}  [{by}]  {metric.paper}")
    click.echo(f"    {metric.summary}")
    needs = f"; needs {', '.join(sorted(metric.needs))}" if metric.needs else ""
    click.echo(f"    {metric.better} is better{needs}; an image costs {metric.cost()}")
    if metric.defaults:
        click.echo(
            "    " + ", ".join(f"{name}={value!r}" for name, value in metric.defaults.items())
        )
