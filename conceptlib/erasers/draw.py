"""One prompt drawn with a checkpoint, with the base that it was made from, or with both for comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from conceptlib.erasers.find import find
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.progress import Progress
from conceptlib.reports.grid import Panel, grid
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_path

Mode = Literal["with", "without", "compare"]
SUFFIXES = (".png",)
_CELL = 128  # pixels: the least side of a picture under a heading that can be read


@dataclass(frozen=True)
class Drawing:
    """`pixels`: uint8 (R, N, H, W, 3), a row of N pictures for each of `rows` (what drew it), from `seed` on.
    `notes`: what the user should know.
    """

    pixels: np.ndarray
    rows: tuple[str, ...]
    negative_prompt: str
    prompt: str = ""
    seed: int = 0
    notes: tuple[str, ...] = ()

    def image(self) -> Image.Image:
        """One row: the pictures side by side as they are, 2 px between them. Several rows: one under the other, each
        under its name, below the prompt and the seeds.
        """
        if len(self.rows) > 1:
            return self._compared()
        padded = np.pad(self.pixels, ((0, 0), (0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)
        rows, count, height, width, _ = padded.shape
        sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, count * width, 3)
        return Image.fromarray(np.ascontiguousarray(sheet[:-2, :-2]))

    def _compared(self) -> Image.Image:
        panels = [
            Panel(name, "", [Image.fromarray(picture) for picture in row])
            for name, row in zip(self.rows, self.pixels, strict=True)
        ]
        count = self.pixels.shape[1]
        seeds = [f"seed {self.seed + index}" for index in range(count)]
        cell = max(_CELL, *self.pixels.shape[2:4])
        footer = f"Negative prompt of the erasure: {self.negative_prompt}" if self.negative_prompt else ""
        return grid(panels, seeds, title=f"“{self.prompt}”", footer=footer, columns=8, cell=cell, quoted=False)

    def save(self, path: str | Path) -> Path:
        """Write `image()` as PNG; returns the absolute path.

        Raises:
            ConceptlibError: see `target_of`.
        """
        target = target_of(path)
        with atomic_path(target) as temporary:
            self.image().save(temporary, "PNG")
        return target


def target_of(path: str | Path) -> Path:
    """The absolute path of a picture that is to be written: checked before it is drawn.

    Raises:
        ConceptlibError: a file name that does not end in .png; a folder of that name; a folder above it that is a file.
    """
    target = Path(path).expanduser().absolute()
    if target.suffix.lower() not in SUFFIXES:
        raise ConceptlibError(
            f"cannot write a {target.suffix or 'nameless'} file",
            where=str(target),
            hint="use a name that ends in .png",
        )
    above = next((folder for folder in target.parents if folder.exists()), target.parent)
    if target.is_dir() or not above.is_dir():
        raise ConceptlibError(
            "there is a folder of this name" if target.is_dir() else "this is a file, no folder",
            where=str(target if target.is_dir() else above),
            hint="choose another name",
        )
    return target


def draw(
    source: str | Path | Artifact,
    prompt: str,
    *,
    count: int = 4,
    seed: int = 0,
    mode: Mode = "with",
    steps: int = 20,
    guidance: float | None = None,
    base: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Drawing:
    """Draw a prompt `count` times, from seeds `seed`, `seed + 1`, ...

    Args:
        source: a checkpoint, or a base (then `mode` must be `with`).
        mode: `with` erasure, `without` (the base), or `compare`: the base above, the checkpoint below, from the same
            noise.
        base: instead of the base that the checkpoint names.

    Raises:
        ConceptlibError: an unknown source; a comparison asked of a base.
        UsageError: a guidance that is negative or not finite.
    """
    if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
        raise UsageError(f"guidance cannot be {guidance}", hint="a finite number, 0 or more")
    folder = find(source, store)  # a mistyped name is told before torch is imported
    if folder is None and mode != "with":
        raise ConceptlibError(
            f"{source} is a base: there is nothing erased to compare", hint="name a checkpoint, or leave the option out"
        )
    from conceptlib.erasers.checkpoint import Checkpoint, adapter_module, load
    from conceptlib.models.family import of
    from conceptlib.models.sampling import sample

    record = Checkpoint.read(folder) if folder else None
    named = record.base if record else {}
    origin = base or (f"{named['ref']}@{named['revision']}" if named.get("revision") else str(named.get("ref")))
    adapted = record is not None and not adapter_module(record).WHOLE
    rows, pixels, negative = [], [], ""
    notes: tuple[str, ...] = ()
    for erased in {"with": (True,), "without": (False,), "compare": (False, True)}[mode]:
        pipe = load(
            source if erased else origin,
            base=base if erased and adapted else None,
            device=device,
            dtype=dtype,
            store=store,
        )
        rows.append((record.recipe if record else str(source)) if erased else f"{origin} (without erasure)")
        negative = pipe.negative_prompt_default
        notes = _cut(of(pipe).tokenizer, prompt)
        seeds = range(seed, seed + count)
        pixels.append(
            sample(pipe, [prompt] * count, list(seeds), num_steps=steps, guidance_scale=guidance, progress=progress)
        )
    return Drawing(np.stack(pixels), tuple(rows), negative, prompt, seed, notes)


def _cut(tokenizer: Any, prompt: str) -> tuple[str, ...]:
    """What is said of a prompt that the text encoder does not see to its end."""
    from conceptlib.models.encoding import token_count

    count, room = token_count(tokenizer, prompt), int(tokenizer.model_max_length) - 2
    if count <= room:
        return ()
    return (f"the prompt has {count} tokens, and the text encoder takes {room}: the last {count - room} were cut off",)
