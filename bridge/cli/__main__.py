"""`python -m bridge.cli` is `gradbridge`."""

from bridge.cli import main

main(prog_name="gradbridge")
