"""`conceptlib recipes`."""

from __future__ import annotations

import click

from conceptlib.cli._specs import add_spec_commands


@click.group("recipes")
def cli() -> None:
    """List, show, copy and check recipes, suites, sweeps and models."""


add_spec_commands(cli, ("recipe", "suite", "sweep", "model"), noun="recipe", example="geom-erasing/qr")
