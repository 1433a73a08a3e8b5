"""The training data of a method: a dataset's captions and cached latents, and where the concept sits in each
picture.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.erasers.base import Job
from conceptlib.erasers.ranks import own, wait
from conceptlib.errors import ConceptlibError
from conceptlib.models.conditioning import Framing
from conceptlib.models.encoding import fit_boxes, fit_image, framing_of
from conceptlib.progress import Progress
from conceptlib.store.files import atomic_write

SPLIT = "train"
BATCH = 64
"""Pictures read at once, and encoded at once as far as they fit the memory."""
NOTE_EVERY = 16
"""Batches after which a process notes on disk what it has encoded."""


@dataclass(frozen=True)
class Examples:
    """N training pictures, cut to squares of `side` pixels.

    captions: N strings. boxes: for each picture `{concept name: float32 (M, 4) xyxy}`, concepts that are not in it left
        out; M is 0 where it is known that the concept is there, but not where (a classifier's annotations).
    latents: float32 (N, C, h, w), memory-mapped. framings: how each picture was scaled and cut.
    """

    captions: list[str]
    boxes: list[dict[str, np.ndarray]]
    latents: np.ndarray
    side: int
    framings: list[Framing]

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
    captions, boxes, framings = [], [], []
    for row in table.rows(SPLIT, columns=["image_id", "caption", "width", "height"]):
        captions.append(row["caption"] or "")
        framings.append(framing_of(row["width"], row["height"], side))
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
    return Examples(captions, boxes, _latents(job, table, len(captions), side), side, framings)


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
    """Latents of all pictures in `workdir/latents.npy`, encoded once, by each process its share; an interrupted run
    goes on where it stopped.
    """
    path, accelerator = job.workdir / "latents.npy", job.accelerator
    if accelerator.is_main_process:
        job.workdir.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            for note in _notes(job.workdir):
                note.unlink()
            shape = (count, *job.model.latent_shape(side, side))
            np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
    wait(accelerator)
    done = _done(job.workdir, count)
    missing = [block for block in range(-(-count // BATCH)) if block not in done]
    wait(accelerator)  # else one would miss what another has noted meanwhile
    _encode(job, table, {missing[place] for place in own(accelerator, len(missing))}, count, side)
    wait(accelerator)
    return np.load(path, mmap_mode="r")


def _encode(job: Job, table: ImageTable, blocks: set[int], count: int, side: int) -> None:
    """Encode blocks of `BATCH` pictures."""
    note = job.workdir / f"latents-{job.accelerator.process_index}.json"
    noted = _blocks(note, count)
    cache = np.lib.format.open_memmap(job.workdir / "latents.npy", "r+")
    batch: list[np.ndarray] = []
    told = 0
    for index, image in _images(table, blocks):
        batch.append(fit_image(image, side))
        last = index + 1
        if last % BATCH and last != count:
            continue
        with _precision(job):
            cache[last - len(batch) : last] = job.model.to_latents(np.stack(batch)).numpy()
        batch, told = [], told + 1
        noted.add(index // BATCH)
        if told == len(blocks) or told % NOTE_EVERY == 0:
            cache.flush()
            atomic_write(note, json.dumps({"batch": BATCH, "blocks": sorted(noted)}))
        if job.accelerator.is_main_process:
            _tell(job.progress, last, count)


def _precision(job: Job) -> Any:
    """The autoencoder's weights are float32 here; on a GPU it computes in bfloat16 where the rest does. In float16 it
    may overflow.
    """
    on_gpu = job.placement.device.type == "cuda" and job.placement.dtype == torch.bfloat16
    return job.accelerator.autocast() if on_gpu else contextlib.nullcontext()


def _images(table: ImageTable, blocks: set[int]) -> Iterator[tuple[int, Image.Image]]:
    for index, row in enumerate(table.rows(SPLIT, columns=["image_id", "image"]) if blocks else ()):
        if index // BATCH in blocks:
            yield index, table.decode(row)


def _notes(folder: Path) -> list[Path]:
    return sorted(folder.glob("latents*.json"))


def _done(folder: Path, count: int) -> set[int]:
    """Blocks that any process has noted."""
    return {block for note in _notes(folder) for block in _blocks(note, count)}


def _blocks(note: Path, count: int) -> set[int]:
    if not note.is_file():
        return set()
    told = json.loads(note.read_text(encoding="utf-8"))
    if "done" in told:  # of an earlier version: how many pictures from the first on
        done = int(told["done"])
        return set(range(-(-count // BATCH) if done >= count else done // BATCH))
    return set(told["blocks"]) if told["batch"] == BATCH else set()


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress("encode", done, total)
