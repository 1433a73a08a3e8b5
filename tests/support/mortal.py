"""Work that kills the process it runs in. In a module of its own, since workers import it."""

from __future__ import annotations

import os
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


class ClumsyDetector(ZxingDetector):
    """zxing with a bug."""

    def __init__(self) -> None:
        super().__init__("zxing", Params())

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        raise IndexError("list index out of range")
