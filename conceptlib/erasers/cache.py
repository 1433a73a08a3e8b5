"""Tensors that are made once and read many times: rows in files of a fixed number of rows each.

A file is written whole; one that is there is not made again, so an interrupted run goes on where it stopped. Rows are
read from the memory-mapped files, so memory does not grow with their number.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from conceptlib.erasers.files import save_tensors
from conceptlib.erasers.ranks import own, wait
from conceptlib.errors import ConceptlibError
from conceptlib.progress import Progress

Make = Callable[[range], Mapping[str, torch.Tensor]]


class RowCache:
    """`count` rows named by position.

    Args:
        folder: where the files are.
        name: what they begin with.
        count: rows.
        size: rows a file: fixed, so that what is computed in one batch does not depend on the machine.
    """

    def __init__(self, folder: Path, name: str, count: int, size: int) -> None:
        self.folder, self.name, self.count, self.size = folder, name, count, size
        self._open: dict[int, Any] = {}

    def path(self, index: int) -> Path:
        """The file number `index`."""
        return self.folder / f"{self.name}-{index:05d}.safetensors"

    def missing(self) -> list[int]:
        """Numbers of the files that are not there yet."""
        return [index for index in range(-(-self.count // self.size)) if not self.path(index).is_file()]

    def fill(
        self, make: Make, *, accelerator: Any, bytes_per_row: int = 0, stage: str = "", progress: Progress | None = None
    ) -> None:
        """Make what is missing, each process its share of the files, and wait until all are there.

        Args:
            make: rows (a range of positions) to tensors, each with as many rows.
            bytes_per_row: on disk; checked against the free space before the first row is made.
            progress: called with (stage, rows done, rows).

        Raises:
            ConceptlibError: not enough room on the disk.
        """
        missing = self.missing()
        wait(accelerator)  # else one would count what another has made meanwhile
        if accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            need, free = len(missing) * self.size * bytes_per_row, shutil.disk_usage(self.folder).free
            if need > free:
                raise ConceptlibError(
                    f"{need / 1e9:.1f} GB are needed for {stage or self.name}, and {free / 1e9:.1f} GB are free",
                    where=str(self.folder),
                    hint="free some space (see `conceptlib gc --dry-run`), then run the same command again: it resumes",
                )
        for place in own(accelerator, len(missing)):
            index = missing[place]
            rows = range(index * self.size, min((index + 1) * self.size, self.count))
            save_tensors(self.path(index), make(rows))
            if progress is not None and accelerator.is_main_process:
                progress(stage or self.name, rows.stop, self.count)
        wait(accelerator)

    def read(self, name: str, rows: Sequence[int], *inner: Sequence[int]) -> torch.Tensor:
        """The tensor `name` at rows (and at positions inside each row), stacked.

        Raises:
            ConceptlibError: a file is gone or damaged.
        """
        found = []
        for place in zip(rows, *inner, strict=True):
            index, row = divmod(int(place[0]), self.size)
            part = self._file(index).get_slice(name)
            key = tuple(slice(at, at + 1) for at in (row, *map(int, place[1:])))
            found.append(part[key].flatten(0, len(key) - 1)[0])
        return torch.stack(found)

    def remove(self) -> None:
        """Delete the files."""
        self._open.clear()
        for path in self.folder.glob(f"{self.name}-*.safetensors"):
            path.unlink(missing_ok=True)

    def _file(self, index: int) -> Any:
        if index not in self._open:
            try:
                self._open[index] = safe_open(self.path(index), "pt")
            except (OSError, SafetensorError) as error:
                raise ConceptlibError(
                    "rows that were made before cannot be read",
                    where=str(self.path(index)),
                    hint="delete the folder to start over",
                ) from error
        return self._open[index]
