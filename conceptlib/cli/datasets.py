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
    """List, show, copy and check the specs of datasets; show and check a built dataset."""


add_spec_commands(cli, ("dataset",), noun="dataset", example="icd-qr")


@cli.command("show", short_help="Show what is in a built dataset.")
@click.argument("dataset")
@click.option("--n", type=click.IntRange(min=0), default=None, metavar="N", help="How many examples.")
@click.option(
    "--annotations", metavar="SET", help="Draw the boxes of this annotation set instead of the exact ones (truth)."
)
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Where to write the contact sheet: .png, .jpg or .webp.",
)
@click.option("--show-prompts", is_flag=True, help="Show prompts of unsafe datasets as they are, not redacted.")
@output.options
def show_command(
    out: output.Output, dataset: str, n: int | None, annotations: str | None, sheet: str | None, show_prompts: bool
) -> None:
    """Show what is in a built DATASET: counts, sizes, concepts, captions, and a contact sheet with boxes.

    For a dataset of prompts, show counts by category and some of the prompts, redacted.

    \b
    conceptlib datasets show icd-qr
    conceptlib datasets show icd-qr --annotations zxing --n 48 --sheet icd-qr.png
    conceptlib datasets show 'i2p@nudity>50' --n 10
    """
    from pathlib import Path

    from conceptlib.concepts.show import Options, show

    where = Path(sheet) if sheet else None
    page = show(dataset, Options(n=n, show_prompts=show_prompts, annotations=annotations, sheet=where))
    out.result(page.as_dict(), human=_for_people(page), quiet=page.artifact.path)
    for note in page.notes:
        out.note(note)


@cli.command("check", short_help="Find images that are there twice.")
@click.argument("dataset")
@click.option(
    "--max-distance",
    type=click.IntRange(0, 10),
    default=4,
    show_default=True,
    help="How many bits the perceptual hashes of near copies may differ in.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many processes; by default one for each core, at most 8.",
)
@output.options
def check_command(out: output.Output, dataset: str, max_distance: int, workers: int | None) -> int:
    """Find exact and near copies among the images of a built DATASET. Exit status 1 if one is in several splits.

    \b
    conceptlib datasets check icd-qr-photos
    conceptlib datasets check icd-qr-photos --max-distance 0 --json
    """
    from conceptlib.concepts.check import check

    with out.progress() as progress:
        report = check(dataset, max_distance=max_distance, workers=workers, progress=progress)
    groups = [
        {
            "pictures": len(group),
            "splits": sorted({member.split for member in group}),
            "image_ids": [member.image_id for member in group],
        }
        for group in report.groups
    ]
    told = f"{report.pictures} images, {len(groups)} groups of copies, {report.across_splits} in several splits"
    people = [told, *([output.render_table(groups, ["pictures", "splits", "image_ids"])] if groups else [])]
    quiet = "\n".join(" ".join(member.image_id for member in group) for group in report.groups)
    out.result(report, human="\n".join(people), quiet=quiet or None)
    return 1 if report.across_splits else 0


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
