"""`conceptlib suites`."""

from __future__ import annotations

import click

from conceptlib.cli._specs import add_spec_commands


@click.group("suites")
def cli() -> None:
    """List, show, copy and check suites: what `conceptlib evaluate` measures."""


add_spec_commands(cli, ("suite",), noun="suite", example="icd")
