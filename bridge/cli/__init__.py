"""The command line, a file a command: `compare.py` holds `compare`, and is found by being there.

A command imports torch, and what imports it, inside its function, so that `--help` is quick.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from bridge import __version__
from bridge.cli._group import HELP, Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, expose_value=False, help=HELP)
@click.version_option(__version__, prog_name="gradbridge")
def main() -> None:
    """Attributions and attacks of any image classifier, cross-checked.

    By Captum, by Foolbox and by our own references. Start with `gradbridge compare`: it needs no
    arguments and no network.
    """


for _file in pkgutil.iter_modules(__path__):
    if not _file.name.startswith("_"):
        _module = importlib.import_module(f"{__name__}.{_file.name}")
        main.add_command(getattr(_module, _file.name))
