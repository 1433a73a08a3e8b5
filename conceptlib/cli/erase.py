"""`conceptlib erase`: erase a concept from a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from conceptlib.cli import output

if TYPE_CHECKING:
    from conceptlib.store import Artifact

_SHOWN = 6  # neighbours; the others are a number


@click.command("erase", short_help="Erase concepts from a model.")
@click.argument("recipe")
@output.overrides_argument
@click.option("--data", metavar="DATASET", help="The polluted dataset, or generated images: a name or id.")
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
    A checkpoint that was made before is found, not made again. A training that was stopped continues.
    `conceptlib recipes cat RECIPE --resolved` shows what RECIPE erases and every KEY that may be set. Examples:
      conceptlib erase uce/object 'targets=[moon]'             a phrase of yours, instead of the recipe's
      conceptlib erase esd/colour 'concepts=[red]'             a concept that `concepts ls` knows
      conceptlib erase geom-erasing/qr --data icd-qr --annotations yolo-icd --base tiny
      conceptlib erase geom-erasing/qr --data icd-qr --annotations truth steps=200 adapter=lora
      accelerate launch -m conceptlib.cli.main erase geom-erasing/qr --data icd-qr --annotations zxing \\
        --base stable-diffusion-v1-5/stable-diffusion-v1-5
    """
    from conceptlib.erasers.request import resolve

    # Mistakes are told before torch is imported.
    resolve(recipe, data=data, annotations=annotations, base=base, overrides=overrides)
    from conceptlib.erasers.erase import about, erase

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
    summary = {"id": artifact.id, "name": artifact.name, **about(artifact)}
    out.result(summary | artifact.info | {"path": artifact.path}, human=_for_people(artifact), quiet=artifact.id)
    out.note(f'try it: conceptlib generate {artifact.name} "a prompt" --compare')


def _for_people(artifact: Artifact) -> str:
    """What went, from what, what should stay; then what the method counted, a line each."""
    from conceptlib.erasers.erase import about

    what = about(artifact)
    shown = ", ".join(what["neighbours"][:_SHOWN])
    more = len(what["neighbours"]) - _SHOWN
    lines: dict[str, Any] = {"id": artifact.id, "name": artifact.name}
    lines["erased"] = f"{', '.join(what['erased'])} from {what['base']}"
    lines["neighbours"] = f"{shown} and {more} more" if more > 0 else shown or None
    counted = {key: value for key, value in artifact.info.items() if key != "neighbours"}
    lines |= counted | {"path": artifact.path}
    width = max(map(len, lines))
    return "\n".join(f"{key:<{width}}  {output.format_cell(value)}" for key, value in lines.items())
