"""The log of a training: a JSON line a step, in a file that people watch."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from conceptlib.errors import ConceptlibError
from conceptlib.store.files import atomic_write


class StepLog:
    """Appends a JSON line a step; `history` is kept in step with the file. Losses wait on their device until `read`."""

    def __init__(self, path: Path, history: list[dict[str, Any]], *, enabled: bool) -> None:
        self._path, self._history, self._enabled = path, history, enabled
        self._waiting: list[tuple[dict[str, Any], torch.Tensor]] = []
        self._since = 0.0

    def __enter__(self) -> StepLog:
        if self._enabled:
            # What was logged after the last state is trained again, and logged again.
            atomic_write(self._path, "".join(json.dumps(entry) + "\n" for entry in self._history))
            self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._enabled:
            self._file.close()

    @property
    def waiting(self) -> int:
        """Steps whose losses were not read yet."""
        return len(self._waiting)

    def add(self, entry: dict[str, Any], loss: torch.Tensor, began: float) -> None:
        """A step that began at a time of `time.monotonic`, with its loss, ()."""
        if not self._waiting:
            self._since = began
        self._waiting.append((entry, loss))

    def read(self) -> None:
        """Fetch the losses that wait, and log their steps.

        Raises:
            ConceptlibError: one is not finite.
        """
        if not self._waiting:
            return
        losses = torch.stack([loss for _, loss in self._waiting]).tolist()
        spent = round((time.monotonic() - self._since) / len(losses), 4)
        entries, self._waiting = [entry for entry, _ in self._waiting], []
        for entry, loss in zip(entries, losses, strict=True):
            if not math.isfinite(loss):
                raise ConceptlibError(
                    f"the loss is {loss} at step {entry['step']}",
                    where=f"lr {entry['lr']:.3g}",
                    hint="lower the learning rates or add warm-up steps",
                )
            line = {"step": entry["step"], "loss": loss, "lr": entry["lr"], "seconds": spent} | entry
            self._history.append(line)
            if self._enabled:
                self._file.write(json.dumps(line) + "\n")
        if self._enabled:
            self._file.flush()  # people watch it


def read_log(path: Path, steps: int) -> list[dict[str, Any]]:
    """The lines of the first `steps` steps; fewer if the file was cut off."""
    return [entry for entry in _lines(path) if entry["step"] < steps]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                yield json.loads(line)
