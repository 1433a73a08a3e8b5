"""Which captions a model is measured on, and which clean pictures it is compared with: nothing that it was trained on.

Two sources. *World*: the held-out stream of the embedded world, endless, with the words of each caption known.
*Dataset*: the test split of the dataset that the checkpoint was trained on; of its pictures, those in which the
checkpoint's own annotations found nothing are clean.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store
from conceptlib.store.seeds import row_seed
from conceptlib.worlds.tiny import world


@dataclass(frozen=True)
class HeldOut:
    """Captions to draw.

    Args:
        source: `world` or `dataset`.
        rows: dicts of `image_id`, `caption`, `seed` and, of the world, `object`, `colour`, `background`, `style`.
    """

    source: str
    rows: list[dict[str, Any]]


def held_out(n: int, seed: int, source: str, dataset: Artifact | None) -> HeldOut:
    """The first `n` held-out captions, one seed a row.

    Args:
        n: how many; a dataset with fewer captions is gone through again, with new seeds.
        seed: of the suite; decides the world's stream and the rows' seeds.
        source: `world`, `dataset`, or `auto`: the dataset's test split unless it was rendered from the world itself.
        dataset: the checkpoint's dataset, if it has one.

    Raises:
        ConceptlibError: `dataset` was asked for and there is none, or it has no captions.
    """
    if source == "auto":
        source = "world" if dataset is None or _of_world(dataset) else "dataset"
    if source == "world":
        rows = [
            {
                "image_id": f"held-out-{row.index:06d}",
                "caption": row.caption,
                "seed": row_seed(seed, row.index),
                **row.labels,
            }
            for row in world.rows(seed, n, split="held-out")
        ]
        return HeldOut("world", rows)
    if dataset is None:
        raise ConceptlibError(
            "this model was trained on no dataset that could lend its captions", hint="say captions=world"
        )
    table = ImageTable(dataset)
    split = "test" if "test" in table.splits else table.splits[-1]
    captions = [row["caption"] for row in itertools.islice(table.rows(split, ["caption"]), n) if row["caption"]]
    if not captions:
        raise ConceptlibError(f"split {split!r} has no captions", where=str(dataset.path), hint="say captions=world")
    return HeldOut(
        "dataset",
        [
            {"image_id": f"{split}-{i:06d}", "caption": captions[i % len(captions)], "seed": row_seed(seed, i)}
            | ({} if not _of_world(dataset) else world_words(captions[i % len(captions)]))
            for i in range(n)
        ],
    )


def world_words(caption: str) -> dict[str, str | None]:
    """The world's words in a caption, one an attribute, None where it states none."""
    found = world.parse(caption)
    return {name: found.get(name) for name in world.ATTRIBUTES}


def clean_pictures(
    n: int, seed: int, held: HeldOut, dataset: Artifact | None, annotations: Artifact | None
) -> Iterator[Image.Image]:
    """Pictures without the concept: of the world, held-out scenes after the ones whose captions are drawn; else the
    dataset's clean ones.

    Raises:
        ConceptlibError: there is no dataset or no annotations to tell which pictures are clean.
    """
    if held.source == "world" or dataset is None or _of_world(dataset):
        for scene in world.rows(seed, n, start=len(held.rows), split="held-out"):
            yield scene.image()
        return
    if annotations is None:
        raise ConceptlibError(
            "without annotations nobody knows which pictures are clean", hint="leave kid out of metrics"
        )
    found = AnnotationTable(annotations).by_image()
    table = ImageTable(dataset)
    clean = (row for row in table.rows() if row["image_id"] in found and not len(found[row["image_id"]]))
    for row in itertools.islice(clean, n):
        yield table.decode(row)


def lineage(checkpoint: Artifact | None, store: Store) -> dict[str, Artifact]:
    """The checkpoint's parents that are still in the store, by role (`dataset`, `annotations`, ...)."""
    found: dict[str, Artifact] = {}
    for role, parent in (checkpoint.parents if checkpoint else {}).items():
        try:
            found[role] = store.get(parent)
        except ConceptlibError:
            continue
    return found


def _of_world(dataset: Artifact) -> bool:
    """Whether its captions are the world's: its rows carry the world's words."""
    first = next(ImageTable(dataset).rows(columns=list(world.ATTRIBUTES)), None)
    return first is not None and first.get("object") is not None
