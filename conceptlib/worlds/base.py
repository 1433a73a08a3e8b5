"""What a world is: pictures that are drawn from a seed, captions that state what they show, and who reads it back.

A world is a package of `conceptlib.worlds` (or a plug-in) whose `__init__` has `WORLD = World(...)` and imports nothing
heavy. Its words are known to itself alone: whoever wants them asks `World.labels`. The rest of such a package is as its
recipes need it: a model spec names it as its `family`, and the package then has

- `Params`: what such a recipe may say;
- `weights(name) -> Path | None`: the folder of the model of that name which comes with the package;
- `train(spec, folder, *, device, log, workers) -> Path` and `check(spec, folder, *, ...)`: behind `conceptlib models`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image


class Drawn(ABC):
    """What a picture shows, as numbers and words: the picture is drawn of it when it is needed. Can be pickled; its
    `repr` names everything that decides the pixels.
    """

    @abstractmethod
    def draw(self, size: int) -> Image.Image:
        """The picture, `size` x `size` RGB."""


class Row(Protocol):
    """One row of a world."""

    @property
    def index(self) -> int: ...
    @property
    def scene(self) -> Drawn: ...
    @property
    def caption(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]:
        """A word for every label column."""
        ...


class Judge(Protocol):
    """A classifier that reads a world's pictures."""

    @property
    def sha256(self) -> str:
        """Of its weights."""
        ...

    def read(self, images: Any) -> dict[str, list[str]]:
        """The word of every label column in each picture: RGB pictures of any size, a list of them."""
        ...

    def features(self, images: Any) -> Any:
        """What pictures of this world are compared by, float32 (n, d), of a list of RGB pictures."""
        ...


@dataclass(frozen=True)
class World:
    """A world.

    Args:
        name: as its package, `_` read as `-`.
        labels: its label columns, and the words of each.
        meanings: what each column says, for readers.
        stated: the columns that every caption states in words.
        unsaid: words that no caption says; what they stand for is seen where nothing else is said.
        size: side of its pictures in pixels, where nobody says another.
        splits: its streams of rows: the first is for training, the last held out from it.
        row: of a seed, an index and a split, each from 0 on: the same row on every machine.
        placed: the held-out row of a seed and an index, with a word in the place of its own of that column.
        parse: the words that a caption states, by column.
        judge: the classifier; imports what is heavy.
        license: of its pictures, an SPDX identifier.
    """

    name: str
    labels: Mapping[str, tuple[str, ...]]
    meanings: Mapping[str, str]
    stated: tuple[str, ...]
    size: int
    row: Callable[[int, int, str], Row]
    placed: Callable[[int, int, str, str], Row]
    parse: Callable[[str], dict[str, str]]
    judge: Callable[[], Judge]
    unsaid: tuple[str, ...] = ()
    splits: tuple[str, str] = ("train", "held-out")
    license: str = "apache-2.0"

    def rows(self, seed: int, n: int, start: int = 0, *, held_out: bool = False) -> Any:
        """An iterator over rows `start` to `start + n - 1` of the world `seed`."""
        split = self.splits[-1] if held_out else self.splits[0]
        return (self.row(seed, index, split) for index in range(start, start + n))

    def columns_of(self, word: str) -> list[str]:
        """The label columns that a word is one of."""
        return [column for column, words in self.labels.items() if word in words]
