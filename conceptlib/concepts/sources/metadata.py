"""Captions from `metadata.jsonl` and `metadata.csv`, as `datasets` writes them beside an imagefolder."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.sources.base import CAPTION_COLUMNS
from conceptlib.errors import ConceptlibError


def is_metadata(path: Path) -> bool:
    """By its name."""
    return path.name in ("metadata.jsonl", "metadata.csv")


class Metadata:
    """The captions of one metadata file, by normalised path below its folder (macOS writes é as two characters, others
    as one)."""

    def __init__(self, path: Path, column: str | None) -> None:
        self.path = path
        self.captions: dict[str, str] = {}
        self.open: dict[str, str] = {}
        for line, row in self._rows():
            name = row.get("file_name")
            if not isinstance(name, str) or not name.strip():
                raise ConceptlibError(
                    "the row has no file_name", where=f"{path}:{line}", hint="every row names its picture: file_name"
                )
            key = unicodedata.normalize("NFC", PurePosixPath(name.strip().replace("\\", "/")).as_posix())
            if key in self.captions:
                raise ConceptlibError(f"{name!r} is named twice", where=f"{path}:{line}", hint="keep one row a picture")
            caption = row.get(self._caption_column(row, column, line))
            self.captions[key] = "" if caption is None else str(caption).strip()
        self.open = dict.fromkeys(self.captions, "")

    def take(self, path: Path) -> str | None:
        """The caption of a picture below this file's folder; None if it does not name it."""
        key = unicodedata.normalize("NFC", path.relative_to(self.path.parent).as_posix())
        self.open.pop(key, None)
        return self.captions.get(key)

    def unused(self) -> list[str]:
        """Files that it names and nobody asked for."""
        return list(self.open)

    def _caption_column(self, row: dict[str, Any], column: str | None, line: int) -> str:
        names = CAPTION_COLUMNS if column is None else (column,)
        for name in names:
            if name in row:
                return name
        others = ", ".join(str(k) for k in row if k and k != "file_name")
        raise ConceptlibError(
            f"the row has no column {' or '.join(names)}",
            where=f"{self.path}:{line}",
            hint=f"say which holds the caption: caption_column=..., one of {others or 'none'}",
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                if self.path.suffix == ".csv":
                    reader = csv.DictReader(file, strict=True)
                    for row in reader:
                        yield reader.line_num, row
                    return
                for line, text in enumerate(file, 1):
                    if text.strip():
                        row = json.loads(text)
                        if not isinstance(row, dict):
                            raise ConceptlibError("the line is no JSON object", where=f"{self.path}:{line}")
                        yield line, row
        except json.JSONDecodeError as error:
            raise ConceptlibError(
                f"the line is no JSON: {error.msg}", where=f"{self.path}:{line}", hint="one object a line"
            ) from error
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            raise ConceptlibError(
                f"the metadata cannot be read: {error}", where=str(self.path), hint="it must be UTF-8"
            ) from error
