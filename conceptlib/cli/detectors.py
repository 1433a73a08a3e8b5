"""`conceptlib detectors`."""

from __future__ import annotations

import click

from conceptlib.cli._specs import add_spec_commands


@click.group("detectors")
def cli() -> None:
    """List, show, copy and check the specs of detectors."""


add_spec_commands(cli, ("detector",), noun="detector", example="zxing")
