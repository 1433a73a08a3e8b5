"""`conceptlib import`: other people's work as artifacts."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output
from conceptlib.errors import UsageError


@click.command("import", short_help="Take over other people's checkpoints.")
@click.argument("source")
@click.option("--method", metavar="METHOD", default=None, help="How the checkpoint was erased: esd, uce, spm, ...")
@click.option(
    "--concept",
    "concepts",
    metavar="CONCEPT",
    multiple=True,
    help="What was erased, a name or a phrase; may be repeated.",
)
@click.option("--base", metavar="MODEL", default=None, help="What it was erased from; every tensor is matched with it.")
@click.option("--name", metavar="NAME", default=None, help="Of the artifact; METHOD/CONCEPT by default.")
@output.options
def cli(
    out: Output, source: str, method: str | None, concepts: tuple[str, ...], base: str | None, name: str | None
) -> None:
    """Import a checkpoint that was made elsewhere, for `generate`, `evaluate` and `publish`.

    SOURCE is a file of changed weights (safetensors, .pt, .bin, .ckpt: ESD, UCE, Ablating Concepts, whole UNets,
    text encoders, with diffusers' or CompVis' names), a LoRA (kohya or peft), a diffusers folder, or one of these on
    the Hub. Of pickles nothing but tensors is read.

    \b
    conceptlib import esd-vangogh.safetensors --method esd --concept "Van Gogh" --base CompVis/stable-diffusion-v1-4
    conceptlib import org/name/delta.bin --method ablating --concept "grumpy cat" --base CompVis/stable-diffusion-v1-4
    """
    if method is None or not concepts or base is None:
        raise UsageError(
            "say how it was erased, what, and from which model", hint="--method METHOD --concept CONCEPT --base MODEL"
        )
    _import_checkpoint(out, source, method, concepts, base, name)


def _import_checkpoint(
    out: Output, source: str, method: str, concepts: tuple[str, ...], base: str, name: str | None
) -> None:
    from conceptlib.erasers.foreign.importer import import_checkpoint

    with out.progress() as progress:
        made = import_checkpoint(source, method=method, concepts=concepts, base=base, name=name, progress=progress)
    info = made.info
    held = f"LoRA of rank {info['rank']}" if info["adapter"] == "lora" else f"{info['changed']} changed tensors"
    out.result(
        {"id": made.id, "name": made.name, **info, "path": made.path},
        human=f"checkpoint {made.ref}: {held}, from {info['imported']} (sha256 {info['source_sha256'][:12]}...)",
        quiet=made.id,
    )
    out.note(f'try it: conceptlib generate {made.name} "a prompt" --compare')
