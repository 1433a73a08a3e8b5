"""Captions of the dataset that a checkpoint was trained on: its test split, which training never saw.

Of the dataset's images those in which the checkpoint's own annotations found nothing are clean.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams
from conceptlib.store.seeds import row_seed

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.evaluators.job import Job
    from conceptlib.store import Artifact


class Params(BaseParams):
    """n: how many captions; a dataset with fewer is gone through again, with new seeds."""

    n: Annotated[int, Field(ge=4, le=100_000)] = 512


def prompts(params: Params, job: Job) -> Prompts:
    """The first `n` captions of the test split, or of the last split there is.

    Raises:
        ConceptlibError: the model was trained on no dataset, or it has no captions.
    """
    from conceptlib.evaluators.prompts import world

    dataset, annotations = job.lineage.get("dataset"), job.lineage.get("annotations")
    captions, split = captions_of(dataset, params.n)
    of_world = world.world_of(dataset) if dataset is not None else None
    rows: list[dict[str, Any]] = [
        {
            "image_id": f"{split}-{i:06d}",
            "caption": captions[i % len(captions)],
            "seed": row_seed(job.spec.seed, i),
            **(world.labels_of(of_world, captions[i % len(captions)]) if of_world else {}),
        }
        for i in range(params.n)
    ]

    def reference(n: int) -> Iterator[Image.Image]:
        if of_world:
            return world.clean(of_world, job.spec.seed, start=params.n, n=n)
        assert dataset is not None  # it has lent its captions
        return clean_images(dataset, annotations, n)

    told = {"captions": "dataset"}
    more: dict[str, Any] = {"columns": tuple(of_world.labels)} if of_world else {}
    return Prompts("dataset", rows, lock=told, info=told, reference=reference, **more)


def captions_of(dataset: Artifact | None, n: int) -> tuple[list[str], str]:
    """Up to `n` captions, and the split that they are of.

    Raises:
        ConceptlibError: there is no dataset, or it has no captions.
    """
    from conceptlib.concepts.tables import ImageTable

    if dataset is None:
        raise ConceptlibError(
            "this model was trained on no dataset that could lend its captions", hint="say captions=world"
        )
    table = ImageTable(dataset)
    split = "test" if "test" in table.splits else table.splits[-1]
    captions = [row["caption"] for row in itertools.islice(table.rows(split, ["caption"]), n) if row["caption"]]
    if not captions:
        raise ConceptlibError(f"split {split!r} has no captions", where=str(dataset.path), hint="say captions=world")
    return captions, split


def clean_images(dataset: Artifact, annotations: Artifact | None, n: int) -> Iterator[Image.Image]:
    """Up to `n` images of a dataset in which an annotation set found nothing.

    Raises:
        ConceptlibError: there are no annotations to tell which images are clean.
    """
    from conceptlib.concepts.tables import AnnotationTable, ImageTable

    if annotations is None:
        raise ConceptlibError(
            "without annotations nobody knows which pictures are clean", hint="leave kid out of metrics"
        )
    found = AnnotationTable(annotations).by_image()
    table = ImageTable(dataset)
    clean = (row for row in table.rows() if row["image_id"] in found and not len(found[row["image_id"]]))
    for row in itertools.islice(clean, n):
        yield table.decode(row)
