"""One prompt drawn with a checkpoint, with the base that it was made from, or with both for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from conceptlib.erasers.base import Progress
from conceptlib.erasers.checkpoint import Checkpoint, adapter_module, find, load
from conceptlib.errors import ConceptlibError
from conceptlib.models.sampling import sample
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_path

Mode = Literal["with", "without", "compare"]
SUFFIXES = (".png",)


@dataclass(frozen=True)
class Drawing:
    """`pixels`: uint8 (R, N, H, W, 3), a row of N pictures for each of `rows` (what drew it)."""

    pixels: np.ndarray
    rows: tuple[str, ...]
    negative_prompt: str

    def image(self) -> Image.Image:
        """All pictures side by side, a row under the other, 2 px between them."""
        padded = np.pad(self.pixels, ((0, 0), (0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)
        rows, count, height, width, _ = padded.shape
        sheet = padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, count * width, 3)
        return Image.fromarray(np.ascontiguousarray(sheet[:-2, :-2]))

    def save(self, path: str | Path) -> Path:
        """Write `image()` as PNG; returns the absolute path.

        Raises:
            ConceptlibError: a file name that does not end in .png.
        """
        target = Path(path).expanduser().absolute()
        if target.suffix.lower() not in SUFFIXES:
            raise ConceptlibError(
                f"cannot write a {target.suffix or 'nameless'} file",
                where=str(target),
                hint="use a name that ends in .png",
            )
        with atomic_path(target) as temporary:
            self.image().save(temporary, "PNG")
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
    """
    folder = find(source, store)
    if folder is None and mode != "with":
        raise ConceptlibError(
            f"{source} is a base: there is nothing erased to compare", hint="name a checkpoint, or leave the option out"
        )
    record = Checkpoint.read(folder) if folder else None
    named = record.base if record else {}
    origin = base or (f"{named['ref']}@{named['revision']}" if named.get("revision") else str(named.get("ref")))
    adapted = record is not None and not adapter_module(record).WHOLE
    rows, pixels, negative = [], [], ""
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
        seeds = range(seed, seed + count)
        pixels.append(
            sample(pipe, [prompt] * count, list(seeds), num_steps=steps, guidance_scale=guidance, progress=progress)
        )
    return Drawing(np.stack(pixels), tuple(rows), negative)
