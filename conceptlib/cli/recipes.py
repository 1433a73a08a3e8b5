"""`conceptlib recipes`."""

from __future__ import annotations

import click

from conceptlib.cli._specs import add_spec_commands


@click.group("recipes")
def cli() -> None:
    """List, show, copy and check recipes: what `conceptlib erase` does."""


_MOVED = {"suite": "suites", "sweep": "sweeps", "model": "models"}
add_spec_commands(cli, ("recipe",), noun="recipe", example="geom-erasing/qr", moved=_MOVED)
