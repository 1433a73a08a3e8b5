"""`tiny`: a small world of shapes on backgrounds, and the embedded text-to-image model of the Stable Diffusion shape
that draws it.

    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(path())
    pipe("a striped red heart on the sand", height=64, width=64, num_inference_steps=20, guidance_scale=1.2)

The model's training pictures carry QR codes, watermarks and stray text that no caption mentions, so it draws them
unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.worlds.base import Judge, Row, World
from conceptlib.worlds.tiny import words
from conceptlib.worlds.tiny.recipe import Params as Params

if TYPE_CHECKING:
    from conceptlib.worlds.tiny.quality import Report

GUIDANCE_SCALE = 1.2
"""Recommended scale of classifier-free guidance."""
NUM_STEPS = 20
"""Recommended number of DDIM steps."""
RESOLUTION = words.SIZE
"""Side of its pictures, in pixels."""


def path() -> Path:
    """The folder of the shipped model, for `StableDiffusionPipeline.from_pretrained`."""
    return Path(__file__).parent / "weights"


def weights(name: str) -> Path | None:
    """The folder of the model that comes with the package under this name."""
    return path() if name == Path(__file__).parent.name else None


def train(spec: Any, folder: Path, *, device: str, log: Callable[[str], None], workers: int) -> Path:
    """Train the model of a spec into a folder, or go on where that stopped; see `training.train_tiny`."""
    from conceptlib.worlds.tiny.training import train_tiny

    return train_tiny(spec.params, spec.seed, folder, device, log, workers)


def check(
    spec: Any,
    folder: Path | None,
    *,
    n: int,
    guidance_scale: float | None,
    device: str,
    log: Callable[[str], None],
    grid: Path | None = None,
) -> Report:
    """Measure the model in a folder (None: the shipped one) against its bars; `grid` is a PNG of its first pictures."""
    from conceptlib.worlds.tiny import quality

    scale = guidance_scale or GUIDANCE_SCALE
    pipe = quality.load_pipeline(folder, device)
    report, images = quality.check(pipe, n, spec.seed, spec.params.rates, scale, quality.judge_of(folder), log)
    if grid is not None:
        quality.grid(images[:96]).save(grid)
    return report


def _row(seed: int, index: int, split: str) -> Row:
    from conceptlib.worlds.tiny import world

    return world.row(seed, index, split)


def _placed(seed: int, index: int, column: str, word: str) -> Row:
    from conceptlib.worlds.tiny import world

    return world.placed(seed, index, column, word)


def _judge() -> Judge:
    from conceptlib.worlds.tiny.judge import TinyJudge

    return TinyJudge()


WORLD = World(
    name="tiny",
    labels=words.ATTRIBUTES,
    meanings=words.MEANINGS,
    stated=words.STATED,
    unsaid=words.UNSAID,
    size=words.SIZE,
    splits=words.SPLITS,
    row=_row,
    placed=_placed,
    parse=words.parse,
    judge=_judge,
)
