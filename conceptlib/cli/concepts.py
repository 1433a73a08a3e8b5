"""`conceptlib concepts`."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli._specs import add_spec_commands
from conceptlib.cli.output import Output


@click.group("concepts")
def cli() -> None:
    """List, show, copy and check concepts."""


add_spec_commands(cli, ("concept",), noun="concept", example="qr-code")


@cli.command("show")
@click.argument("name")
@output.options
def show(out: Output, name: str) -> None:
    """Show a concept: its type, phrases, the detectors that see it, and the datasets and recipes that are about it.

    \b
    conceptlib concepts show qr-code
    """
    from conceptlib.specs import load_spec, specs_about

    concept = load_spec("concept", name)
    about = specs_about(concept.name)
    out.fields({**concept.model_dump(mode="json", exclude={"kind", "seed", "params"}), **about, "file": concept.source})
