"""`conceptlib datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conceptlib.cli import output
from conceptlib.cli._specs import add_spec_commands

if TYPE_CHECKING:
    from conceptlib.concepts.show import Page


@click.group("datasets")
def cli() -> None:
    """List, show, copy and check the specs of datasets, and show what is in one that is built."""


add_spec_commands(cli, ("dataset",), noun="dataset", example="icd-qr")


@cli.command("show", short_help="Show what is in a built dataset.")
@click.argument("dataset")
@click.option("--n", type=click.IntRange(min=0), default=None, metavar="N", help="How many examples.")
@click.option("--show-prompts", is_flag=True, help="Show prompts of unsafe datasets in clear, not redacted.")
@output.options
def show_command(out: output.Output, dataset: str, n: int | None, show_prompts: bool) -> None:
    """Show what is in a DATASET that is built: its counts and some examples.

    \b
    conceptlib datasets show i2p
    conceptlib datasets show 'i2p@nudity>50' --n 10
    """
    from conceptlib.concepts.show import Options, show

    page = show(dataset, Options(n=n, show_prompts=show_prompts))
    out.result(page.as_dict(), human=_for_people(page), quiet=page.artifact.path)
    for note in page.notes:
        out.note(note)


def _for_people(page: Page) -> str:
    """The head as lines, then each section as a table under its title."""
    width = max(len(key) for key in page.head)
    cells = {
        key: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        for key, value in page.head.items()
    }
    lines = [f"{key:<{width}}  {output.format_cell(value)}" for key, value in cells.items()]
    for section in page.sections:
        lines += ["", section.title, output.render_table(section.rows, section.columns)]
    return "\n".join(lines)
