"""Asking a judge: in batches, and with no answer made up where it has none.

A judge that fails on an image, or answers what cannot be (a similarity that is no number, too few words), ends the
evaluation with the row that it failed on. The images and what was judged before stay in the store, so the same command
goes on after the cause is mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts, Reading
from conceptlib.evaluators.features import BATCH, batched

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
A = TypeVar("A")


def judged(
    judge: Any, name: str, images: Iterator[Image.Image], prompts: Prompts, progress: Callable[[int], None]
) -> Reading:
    """What a judge reads in all images, in order.

    Args:
        judge: with `read(images, rows)`. name: for messages.
        progress: hears how many were read.

    Raises:
        ConceptlibError: it failed on an image, or answered what cannot be, with the row; there are fewer or more images
            than rows.
    """
    parts: list[Reading] = []
    done = 0

    def ask(pairs: Sequence[tuple[Image.Image, Mapping[str, Any]]]) -> Reading:
        return _checked(judge.read([image for image, _ in pairs], [row for _, row in pairs]), len(pairs))

    def where(index: int) -> str:
        caption = prompts.rows[done + index].get("caption")
        return f"row {done + index}" + (f", {caption!r}" if caption else "")

    for batch in batched(images, BATCH):
        rows = prompts.rows[done : done + len(batch)]
        if len(rows) < len(batch):
            raise ConceptlibError(f"there are more images than the {len(prompts.rows)} captions", where=name)
        parts.append(one_by_one(ask, list(zip(batch, rows, strict=True)), name, where))
        done += len(batch)
        progress(done)
    if done != len(prompts.rows):
        raise ConceptlibError(f"there are {done} images for {len(prompts.rows)} captions", where=name)
    return Reading.joined(parts)


def one_by_one(
    ask: Callable[[Sequence[T]], A],
    items: Sequence[T],
    name: str,
    where: Callable[[int], str] = "row {} of the batch".format,
) -> A:
    """`ask(items)`; where that fails, the message says which of them it was.

    Args:
        name: of the judge. where: how the item of an index is called.

    Raises:
        ConceptlibError: it failed.
    """
    try:
        return ask(items)
    except Exception as error:  # whatever a judge raises: which image was it?
        for index, item in enumerate(items):
            try:
                ask([item])
            except Exception as own:
                raise _failed(name, where(index), own) from own
        raise _failed(name, f"{where(0)} or a later one", error) from error


def _failed(name: str, where: str, error: Exception) -> ConceptlibError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    hint = "nothing was counted for it; mend the cause, and the same command goes on"
    return ConceptlibError(f"the judge {name} failed: {said}", where=where, hint=hint)


def _checked(reading: Reading, n: int) -> Reading:
    """The reading. Raises ValueError: it has another length than there are images, or holds what is no verdict."""
    answers: dict[str, Sequence[Any]] = {f"words of {key}": words for key, words in reading.labels.items()}
    answers |= {name: v for name in ("recognised", "similarity") if (v := getattr(reading, name)) is not None}
    for what, answer in answers.items():
        if len(answer) != n:
            raise ValueError(f"{len(answer)} {what} for {n} images")
    for key, words in reading.labels.items():
        if not all(isinstance(word, str) and word for word in words):
            raise ValueError(f"no word for {key}")
    if reading.recognised is not None and np.asarray(reading.recognised).dtype != bool:
        raise ValueError("`recognised` must be true or false for each image")
    if reading.similarity is not None and not np.all(np.isfinite(reading.similarity)):
        raise ValueError("a similarity is no number")
    return reading
