"""A second world, as somebody would add it: one package, written into a folder that `conceptlib.worlds` finds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import conceptlib
import conceptlib.worlds

CODE = '''
"""`pond`: one fish in one water."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from conceptlib.specs.params import Params as Base
from conceptlib.worlds.base import Drawn, World

FISH = {"trout": (200, 40, 40), "carp": (40, 200, 40), "eel": (40, 40, 200)}
WATER = {"clear": 240, "muddy": 60}


class Params(Base):
    """Nothing to say: no model comes with it."""


@dataclass(frozen=True)
class Scene(Drawn):
    fish: str
    water: str

    def draw(self, size):
        image = Image.new("RGB", (size, size), (WATER[self.water],) * 3)
        image.paste(FISH[self.fish], (size // 4, size // 4, 3 * size // 4, 3 * size // 4))
        return image


@dataclass(frozen=True)
class Row:
    index: int
    scene: Scene

    @property
    def caption(self):
        return f"a {self.scene.fish} in {self.scene.water} water"

    @property
    def labels(self):
        return {"fish": self.scene.fish, "water": self.scene.water}


def row(seed, index, split):
    rng = np.random.default_rng([seed, index, split == "unseen"])
    return Row(index, Scene(list(FISH)[rng.integers(3)], list(WATER)[rng.integers(2)]))


def placed(seed, index, column, word):
    known = row(seed, index, "unseen").labels | {column: word}
    return Row(index, Scene(**known))


def parse(caption):
    words = caption.split()
    found = {"fish": [w for w in words if w in FISH], "water": [w for w in words if w in WATER]}
    return {column: some[0] for column, some in found.items() if some}


class Judge:
    sha256 = "0" * 64

    def read(self, images):
        pixels = [np.asarray(image.convert("RGB"), int) for image in images]
        middle = [one[one.shape[0] // 2, one.shape[1] // 2] for one in pixels]
        return {
            "fish": [min(FISH, key=lambda f: abs(np.array(FISH[f]) - rgb).sum()) for rgb in middle],
            "water": [min(WATER, key=lambda w: abs(WATER[w] - int(one[0, 0, 0]))) for one in pixels],
        }

    def features(self, images):
        return np.stack([np.asarray(image.resize((4, 4)), np.float32).ravel() for image in images])


WORLD = World(
    name="pond",
    labels={"fish": tuple(FISH), "water": tuple(WATER)},
    meanings={"fish": "the fish", "water": "what it swims in"},
    stated=("fish", "water"),
    size=32,
    splits=("seen", "unseen"),
    row=row,
    placed=placed,
    parse=parse,
    judge=Judge,
    license="cc0-1.0",
)
'''


@contextmanager
def pond(folder: Path) -> Iterator[None]:
    """With `conceptlib.worlds.pond`, in a folder beside conceptlib's own."""
    package = folder / "worlds" / "pond"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(CODE, encoding="utf-8")
    paths = (conceptlib.__path__, str(folder)), (conceptlib.worlds.__path__, str(folder / "worlds"))
    for known, added in paths:
        known.append(added)
    try:
        yield
    finally:
        for known, added in paths:
            known.remove(added)
        sys.modules.pop("conceptlib.worlds.pond", None)
