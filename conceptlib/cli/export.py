"""`conceptlib export`: a checkpoint in another form."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output


@click.command("export", short_help="Write a checkpoint in another form.")
@click.argument("ref", metavar="CHECKPOINT")
@click.option("--adapter", type=click.Choice(["full", "lora", "tensors"]), required=True, help="What to turn it into.")
@click.option("--to", metavar="DIR", required=True, help="The folder to write; it must not be there yet.")
@click.option("--base", metavar="MODEL", default=None, help="Where its base is, if not where the checkpoint says.")
@output.options
def cli(out: Output, ref: str, adapter: str, to: str, base: str | None) -> None:
    """Turn a checkpoint into a whole model, a LoRA or the changed tensors alone, where that is exact.

    Where it is not (a change of full rank as a LoRA, a rule of inference as weights), it says why and writes nothing.

    \b
    conceptlib export esd/colour --adapter full --to ./without-red
    conceptlib export geom-erasing/qr --adapter tensors --to ./qr-tensors
    """
    export_weights(out, ref, adapter, to, base)


def export_weights(out: Output, ref: str, adapter: str, to: str, base: str | None) -> None:
    """Export a checkpoint and say how exact it is."""
    from conceptlib.erasers.export import export_checkpoint

    made = export_checkpoint(ref, adapter, to, base=base)
    human = f"written: {made.path} ({made.was} as {made.adapter}, {made.tensors} tensors changed)"
    out.result(made, human=human, quiet=made.path)
    for note in made.notes:
        out.note(note)
