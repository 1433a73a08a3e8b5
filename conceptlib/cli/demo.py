"""`conceptlib demo`: the whole job on the embedded model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conceptlib.cli import output

if TYPE_CHECKING:
    from conceptlib.demo import Demo, Stage


@click.command("demo", short_help="The whole job on the embedded model.")
@click.option(
    "--out",
    "folder",
    metavar="DIR",
    default="conceptlib-demo",
    show_default=True,
    help="Where the image and the published files go.",
)
@output.options
def cli(folder: str, out: output.Output) -> None:
    """Erase QR codes from the embedded model, from the first image to the published checkpoint; no network, 10
    minutes at most.

    \b
    If it is stopped, the same command continues. When it is done, the same command shows what is there. Example:
      conceptlib demo --out /tmp/demo
    """
    from conceptlib.demo import NEXT, demo

    def before(title: str, command: str) -> None:
        out.note(f"\n{title}\n  $ {command}")

    def after(stage: Stage) -> None:
        out.note(f"  {stage.result}  ({'there already' if stage.reused else f'{stage.seconds:.0f} s'})")

    with out.progress() as progress:
        result = demo(folder, progress=progress, on_stage=before, on_done=after)
    out.result(result.as_dict(), human=_for_people(result, NEXT), quiet=result.picture)


def _for_people(result: Demo, commands: tuple[str, ...]) -> str:
    """The table, where things are, what it took, and how to go on."""
    table = output.render_table(result.table, ["measure", "before", "after"])
    memory = f", at most {result.peak_memory / 1e9:.1f} GB of memory" if result.peak_memory else ""
    took = "all of it was there already" if result.reused else f"{result.seconds:.0f} s"
    parts = ", ".join(f"{s.command.split()[1]} {s.seconds:.0f} s" for s in result.stages if not s.reused)
    return "\n".join(
        [
            "",
            table,
            f"{result.n} images each, of captions that no training saw; [95 % intervals], ± one standard deviation",
            f"took {took}{f' ({parts})' if parts and not result.reused else ''}{memory}",
            "",
            f"the picture:     {result.picture}",
            f"the checkpoint:  {result.published}",
            "",
            "The same on Stable Diffusion 1.5, on a GPU (MY_PICTURES: a folder with captions, or a Hub dataset's id):",
            *(f"  {command}" for command in commands),
        ]
    )
