"""`conceptlib sweeps`."""

from __future__ import annotations

import click

from conceptlib.cli._specs import add_spec_commands


@click.group("sweeps")
def cli() -> None:
    """List, show, copy and check sweeps: what `conceptlib sweep` compares."""


add_spec_commands(cli, ("sweep",), noun="sweep", example="methods")
