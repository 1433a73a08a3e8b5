"""The training data of a method: a dataset's captions and cached latents, and where the concept sits in each
picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.erasers.base import Job
from conceptlib.errors import ConceptlibError
from conceptlib.models.encoding import encode_images, fit_boxes, fit_image
from conceptlib.progress import Progress
from conceptlib.store.files import atomic_write

SPLIT = "train"
BATCH = 64
"""Pictures read at once, and encoded at once as far as they fit the memory."""
NOTE_EVERY = 16
"""Batches after which the progress is noted on disk."""


@dataclass(frozen=True)
class Examples:
    """N training pictures, cut to squares of `side` pixels.

    captions: N strings. boxes: for each picture `{concept name: float32 (M, 4) xyxy}`, concepts that are not in it left
        out; M is 0 where it is known that the concept is there, but not where (a classifier's annotations).
    latents: float32 (N, C, h, w), memory-mapped.
    """

    captions: list[str]
    boxes: list[dict[str, np.ndarray]]
    latents: np.ndarray
    side: int

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def with_concept(self) -> np.ndarray:
        """Indices of the pictures that show a concept, int64."""
        return np.flatnonzero([bool(found) for found in self.boxes])


def gather(job: Job, *, side: int, min_score: float, located: bool) -> Examples:
    """The train split of `job.data`, with the boxes of `job.annotations` for `job.concepts`.

    Args:
        side: pixels; pictures are scaled and cut to this square, boxes with them.
        min_score: detections below it do not count, in [0, 1].
        located: whether the method needs boxes at all.

    Raises:
        ConceptlibError: annotations that belong to another dataset or lack a picture, no train split, or no picture
        with the concept.
    """
    assert job.data is not None  # `erase` checks what a method needs
    table = ImageTable(job.data)
    names = [concept.name for concept in job.concepts]
    found = _boxes(job, names, min_score) if located else {}
    captions, boxes = [], []
    for row in table.rows(SPLIT, columns=["image_id", "caption", "width", "height"]):
        captions.append(row["caption"] or "")
        if located and row["image_id"] not in found:
            raise ConceptlibError(
                f"the annotations have no row for image {row['image_id']}",
                where=_name(job),
                hint="annotate the dataset again",
            )
        own = found.get(row["image_id"], {})
        moved = {name: fit_boxes(own[name], row["width"], row["height"], side) for name in own}
        # Cut away with the picture's edge: gone. Known without a place: still there.
        boxes.append({name: cut for name, cut in moved.items() if len(cut) or not len(own[name])})
    if located and not any(boxes):
        raise ConceptlibError(
            f"no picture of the train split shows {', '.join(names)} (score >= {min_score:g})",
            where=_name(job),
            hint="there is nothing to learn from: check the annotations, lower min_score, or build a polluted dataset",
        )
    return Examples(captions, boxes, _latents(job, table, len(captions), side), side)


def _name(job: Job) -> str:
    return job.annotations.ref if job.annotations is not None else ""


def _boxes(job: Job, names: Sequence[str], min_score: float) -> dict[str, dict[str, np.ndarray]]:
    """Boxes by image and concept, of those images' detections that count; none where only the image is known."""
    assert job.annotations is not None and job.data is not None
    if job.annotations.parents.get("dataset") != job.data.id:
        raise ConceptlibError(
            f"these annotations are of another dataset, {job.annotations.parents.get('dataset')}, not {job.data.ref}",
            where=_name(job),
            hint=f"conceptlib annotate {job.data.ref} --detector {job.annotations.name}",
        )
    found: dict[str, dict[str, np.ndarray]] = {}
    for image_id, detections in AnnotationTable(job.annotations).by_image(SPLIT).items():
        sure = detections.filter(detections.scores >= min_score)
        own = {name: sure.with_label(name) for name in names if name in sure.labels}
        found[image_id] = {name: one.boxes[one.located] for name, one in own.items()}
    return found


def _latents(job: Job, table: ImageTable, count: int, side: int) -> np.ndarray:
    """Latents of all pictures in `workdir/latents.npy`, encoded once; an interrupted run goes on where it stopped."""
    path, note = job.workdir / "latents.npy", job.workdir / "latents.json"
    if job.accelerator.is_main_process:
        job.workdir.mkdir(parents=True, exist_ok=True)
        _encode_all(job, table, count, side, path, note)
    job.accelerator.wait_for_everyone()
    return np.load(path, mmap_mode="r")


def _encode_all(job: Job, table: ImageTable, count: int, side: int, path: Path, note: Path) -> None:
    done = _done(note, path)
    if done >= count:
        return
    config = job.pipe.vae.config
    size = side // int(job.pipe.vae_scale_factor)
    mode: Any = "r+" if done else "w+"
    cache = np.lib.format.open_memmap(path, mode, np.float32, (count, config.latent_channels, size, size))
    batch: list[np.ndarray] = []
    for index, image in enumerate(_images(table, done)):
        batch.append(fit_image(image, side))
        last = done + index + 1
        if len(batch) == BATCH or last == count:
            cache[last - len(batch) : last] = encode_images(job.pipe.vae, np.stack(batch)).numpy()
            batch = []
            if last == count or (last // BATCH) % NOTE_EVERY == 0:
                cache.flush()
                atomic_write(note, json.dumps({"done": last}))
            _tell(job.progress, last, count)


def _images(table: ImageTable, skip: int) -> Any:
    for index, row in enumerate(table.rows(SPLIT, columns=["image_id", "image"])):
        if index >= skip:
            image: Image.Image = table.decode(row)
            yield image


def _done(note: Path, path: Path) -> int:
    if not (note.is_file() and path.is_file()):
        return 0
    return int(json.loads(note.read_text(encoding="utf-8"))["done"])


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("encode", done, total)
