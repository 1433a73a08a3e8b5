"""Splits that a source brings along: folders and files called `train`, `validation`, `test`."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import PurePosixPath
from typing import Literal, TypeVar

from conceptlib.errors import ConceptlibError

T = TypeVar("T")
SplitPolicy = Literal["keep", "hash"]
SPLITS = ("train", "validation", "test")

# As `datasets` knows them: https://huggingface.co/docs/datasets/repository_structure.
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_WORD = re.compile(r"[a-z]+")

logger = logging.getLogger(__name__)


def split_called(name: str) -> str | None:
    """The split that a folder, or a table's split, is called after.

    >>> split_called("Val"), split_called("trains")
    ('validation', None)
    """
    return _NAMES.get(name.lower())


def split_of_folder(path: PurePosixPath) -> str | None:
    """The split of a picture: of the first folder above it that is called like one."""
    return next((split for part in path.parts[:-1] if (split := split_called(part))), None)


def split_of_file(path: PurePosixPath) -> str | None:
    """The split of a table's file: of the first word in its path that is one (`data/train-00000-of-00001.parquet`)."""
    for part in path.parts:
        for word in _WORD.findall(part.lower()):
            if word in _NAMES:
                return _NAMES[word]
    return None


def known_split(name: str) -> str:
    """The split of a dataset that is called so. Raises `ConceptlibError` if it is none of ours."""
    if (split := split_called(name)) is None:
        hint = "splits=hash puts its rows into train and test"
        raise ConceptlibError(f"{name!r} is none of the splits {', '.join(SPLITS)}", where="source_split", hint=hint)
    return split


def tell_unread(where: str, rows: Mapping[str, int | None]) -> None:
    """Say which splits of a source are not read: other names than ours, or not `train` where splits are not kept.

    Args:
        rows: how many each has; None where nobody knows.
    """
    for name, number in rows.items():
        many = "the rows" if number is None else f"{number:,} rows"
        logger.warning("%s: %s of the split %r are not read; source_split=%s reads them alone", where, many, name, name)


def is_layout(splits: Iterable[str | None]) -> bool:
    """Whether the splits of all pictures, or files, say that the source is laid out in splits: none is without, and
    there are two at least, `train` among them."""
    found = set(splits)
    return None not in found and len(found) >= 2 and "train" in found


def in_proportion(streams: Mapping[str, Iterator[T]], test_share: float) -> Iterator[T]:
    """Rows of several splits, for whoever takes only the first so many: of any beginning the share `test_share` is not
    from train, as long as there are such rows."""
    train = streams.get("train", iter(()))
    others = _in_turn([rows for name, rows in streams.items() if name != "train"])
    for number in count():
        mine, theirs = (others, train) if int((number + 1) * test_share) > int(number * test_share) else (train, others)
        try:
            row = next(mine)
        except StopIteration:
            yield from theirs
            return
        yield row


def _in_turn(streams: Sequence[Iterator[T]]) -> Iterator[T]:
    left = deque(streams)
    while left:
        stream = left.popleft()
        for row in islice(stream, 1):
            yield row
            left.append(stream)
