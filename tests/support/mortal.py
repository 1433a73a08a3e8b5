"""Work that kills the process it runs in. In a module of its own, since workers import it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.detectors.adapters.zxing import Params, ZxingDetector
from conceptlib.geometry import Detections


@dataclass(frozen=True)
class Mortal:
    """A `draw` that dies at the item `key`: the first `times` times that anybody comes to it. Can be pickled.

    log: a line for every item that it was given, whoever it was.
    """

    draw: Any
    key: str
    times: int
    log: Path

    def __call__(self, item: Any) -> Any:
        with self.log.open("a") as file:
            file.write(f"{item.key}\n")
        if item.key == self.key and self.log.read_text().splitlines().count(self.key) <= self.times:
            os._exit(9)
        return self.draw(item)


class MortalDetector(ZxingDetector):
    """zxing, but its process dies at its `dies`-th batch, once."""

    def __init__(self, log: Path, dies: int) -> None:
        super().__init__("zxing", Params())
        self.log, self.dies = log, dies

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(self.log.read_text().splitlines()) == self.dies:
            os._exit(9)
        return super().detect(images, min_score=min_score)


@dataclass(frozen=True)
class Numbered:
    """A piece of work that is a number."""

    number: int

    @property
    def name(self) -> str:
        return f"piece {self.number}"


@dataclass(frozen=True)
class Lingering:
    """Work that squares numbers, but never ends on the node `where`; it leaves the file `marker` there."""

    where: str
    marker: Path

    def __call__(self, piece: Numbered) -> int:
        import ray

        if ray.get_runtime_context().get_node_id() == self.where:
            self.marker.touch()
            time.sleep(600)
        return piece.number**2


class Unborn:
    """An actor whose module is not there."""

    def __init__(self, setup: object) -> None:
        raise ModuleNotFoundError("No module named 'conceptlib'")

    def run(self, task: object) -> None:
        """Never."""


class ClumsyDetector(ZxingDetector):
    """zxing with a bug."""

    def __init__(self) -> None:
        super().__init__("zxing", Params())

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        raise IndexError("list index out of range")
