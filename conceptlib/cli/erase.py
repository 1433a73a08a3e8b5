"""`conceptlib erase`: erase a concept from a model."""

from __future__ import annotations

import click

from conceptlib.cli import output


@click.command("erase", short_help="Erase concepts from a model.")
@click.argument("recipe")
@output.overrides_argument
@click.option("--data", metavar="DATASET", help="The polluted dataset or generated images: a name or id.")
@click.option(
    "--annotations", metavar="NAME", help="A detector's name (its newest set of that dataset), `truth`, or an id."
)
@click.option(
    "--base",
    metavar="MODEL",
    default="tiny",
    show_default=True,
    help="tiny, a diffusers folder, or org/name[@revision].",
)
@output.device_option
@output.dtype_option
@output.options
def cli(
    recipe: str,
    overrides: tuple[str, ...],
    data: str | None,
    annotations: str | None,
    base: str,
    device: str | None,
    dtype: str | None,
    out: output.Output,
) -> None:
    """Erase the concepts of RECIPE (a name or file) from a model, and store the checkpoint.

    \b
    Done before, it is found, not made again; stopped, the same command goes on. Examples:
      conceptlib erase geom-erasing/qr --data icd-qr --annotations yolo-icd --base tiny
      conceptlib erase geom-erasing/qr --data icd-qr --annotations truth steps=200 adapter=lora
      accelerate launch -m conceptlib.cli.main erase geom-erasing/qr --data icd-qr --annotations zxing \\
        --base stable-diffusion-v1-5/stable-diffusion-v1-5
    """
    from conceptlib.erasers.erase import erase

    with out.progress() as progress:
        artifact = erase(
            recipe,
            data=data,
            annotations=annotations,
            base=base,
            overrides=overrides,
            device=device,
            dtype=dtype,
            progress=progress,
        )
    summary = {"id": artifact.id, "name": artifact.name, **artifact.info, "path": artifact.path}
    out.result(summary, quiet=artifact.id)
    out.note(f'try it: conceptlib generate {artifact.name} "a prompt" --compare')
