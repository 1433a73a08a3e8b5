"""Training pictures of `tiny`: rows of the world, polluted with QR codes, watermarks and text that no caption mentions.

A picture depends on the seed, the split and its index alone. `prerender` draws many of them with a few processes into
one uint8 file that training reads by memory map; a finished file is used again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from conceptlib.concepts.overlays import Mark, qr, text, watermark
from conceptlib.processes import Workers
from conceptlib.worlds.tiny import world

OVERLAYS = ("watermark", "text", "qr-code")
_STREAM = 7  # Pollution has a random stream of its own: scene and caption of a row are the same with and without it.


def draw_row(
    seed: int, index: int, rates: Mapping[str, float], split: str = "train"
) -> tuple[Image.Image, world.Row, list[Mark]]:
    """Row `index` of the world with its pollution.

    Args:
        rates: probability of each overlay (`OVERLAYS`), 0 to 1, drawn independently; one that is missing is never
            drawn.

    Returns:
        The 64 x 64 RGB picture, the row and the marks of what was drawn over it (a QR code last, on top).
    """
    row = world.row(seed, index, split)
    rng = _pollution_rng(seed, index, split)
    image, marks = row.image(), []
    for concept, chance in zip(OVERLAYS, rng.uniform(size=len(OVERLAYS)), strict=True):
        if chance >= rates.get(concept, 0.0):
            continue
        if concept == "watermark":
            image, mark = watermark.draw_watermark(image, rng, watermark.WORLD)
        elif concept == "text":
            image, mark = text.draw_text(image, rng, text.WORLD)
        else:
            image, mark = qr.draw_qr(image, rng, qr.WORLD)
        marks.append(mark)
    return image, row, marks


def _pollution_rng(seed: int, index: int, split: str) -> np.random.Generator:
    """The generator of a row's pollution."""
    key = (world.SPLITS.index(split), _STREAM)
    return np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=key))


def draw_batch(
    indices: Sequence[int], seed: int, rates: Mapping[str, float], split: str = "train"
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Pictures uint8 (n, 64, 64, 3), captions, and targets int64 (n, 5).

    Object, colour, background, style, QR code or not.
    """
    images = np.empty((len(indices), world.SIZE, world.SIZE, 3), np.uint8)
    targets = np.empty((len(indices), 5), np.int64)
    captions = []
    for k, index in enumerate(indices):
        image, row, marks = draw_row(seed, index, rates, split)
        images[k] = np.asarray(image)
        captions.append(row.caption)
        words = [options.index(row.labels[name]) for name, options in world.ATTRIBUTES.items()]
        targets[k] = [*words, any(mark.concept == "qr-code" for mark in marks)]
    return images, captions, targets


def prerender(
    folder: Path, n: int, seed: int, rates: Mapping[str, float], split: str = "train", workers: int = 2
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Draw rows 0 to n - 1 into `folder` with `workers` processes, or read them where that is done; as `draw_batch`."""
    stem = folder / f"{split}-{seed}-{n}"
    images, targets = stem.with_name(stem.name + "-images.npy"), stem.with_name(stem.name + "-targets.npy")
    captions = stem.with_name(stem.name + "-captions.txt")
    if not captions.exists():
        folder.mkdir(parents=True, exist_ok=True)
        chunks = [range(start, min(start + 1000, n)) for start in range(0, n, 1000)]
        draw = partial(draw_batch, seed=seed, rates=dict(rates), split=split)
        if workers > 1:
            with Workers(draw, workers) as pool:
                parts = [done.result() for done in [pool.submit(chunk) for chunk in chunks]]
        else:
            parts = [draw(chunk) for chunk in chunks]
        np.save(images, np.concatenate([part[0] for part in parts]))
        np.save(targets, np.concatenate([part[2] for part in parts]))
        captions.write_text("\n".join(line for part in parts for line in part[1]), encoding="utf-8")
    return np.load(images, mmap_mode="r"), captions.read_text(encoding="utf-8").split("\n"), np.load(targets)
