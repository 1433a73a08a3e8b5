"""`conceptlib generate`: images by a checkpoint, with and without erasure."""

from __future__ import annotations

import click

from conceptlib.cli import output
from conceptlib.cli._types import SEED, FiniteRange


@click.command("generate", short_help="Generate images, with and without erasure.")
@click.argument("checkpoint")
@click.argument("prompt")
@click.option("--n", "count", type=click.IntRange(1, 256), default=4, show_default=True, help="How many images.")
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Seed of the first image; each next image has the next seed.",
)
@click.option("--out", "path", metavar="FILE", default="generated.png", show_default=True, help="PNG file to write.")
@click.option("--compare", "mode", flag_value="compare", help="Write two rows: without erasure, and with it.")
@click.option("--without-erasure", "mode", flag_value="without", help="Generate with the base alone.")
@click.option("--steps", type=click.IntRange(1, 1000), default=20, show_default=True, help="Denoising steps.")
@click.option(
    "--guidance", type=FiniteRange(min=0), default=None, help="Guidance scale; the model's usual one by default."
)
@click.option(
    "--base", metavar="MODEL", default=None, help="Use this base instead of the one that the checkpoint names."
)
@output.device_option
@output.dtype_option
@output.options
def cli(checkpoint: str, prompt: str, path: str, mode: str | None, out: output.Output, **settings: object) -> None:
    """Generate images of PROMPT with a CHECKPOINT: a name, id, folder or Hub id, or a base such as `tiny`.

    \b
    The checkpoint's negative prompt is applied. A name is looked up in the store; hf:ORG/NAME is on the Hub. Examples:
      conceptlib generate geom-erasing/qr "a red circle on grey" --compare --out before-after.png
      conceptlib generate tiny "a striped blue star" --n 8
    """
    from conceptlib.erasers.draw import draw, target_of

    target_of(path)
    with out.progress() as progress:
        picture = draw(checkpoint, prompt, mode=mode or "with", progress=progress, **settings)  # type: ignore[arg-type]
    written = picture.save(path)
    summary = {"path": written, "rows": picture.rows, "negative_prompt": picture.negative_prompt}
    for note in picture.notes:
        out.warn(note)
    out.result(summary, human=f"{written}: {' above, '.join(picture.rows)}", quiet=written)
