"""A dataset on the Hub, or Parquet or Arrow files on disk, streamed by the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources.base import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    Item,
    captioned,
    first_line,
    hash_files,
    split_of,
    walk,
)
from conceptlib.errors import ConceptlibError


class HubSource:
    """A dataset with an image column, streamed: on the Hub, or Parquet or Arrow files: one, or a folder of them.

    The row's key is its number. Args: see `open_source`.

    Raises:
        ConceptlibError: it cannot be reached or opened; it has no such column.
    """

    total: int | None = None
    ignored = 0

    def __init__(
        self,
        ref: str,
        rows: int | None,
        test_share: float,
        image_column: str | None,
        caption_column: str | None,
        split: str,
        subset: str | None,
        missing_captions: str,
    ) -> None:
        self.local = Path(ref).expanduser() if Path(ref).expanduser().exists() else None
        self.ref, _, revision = (ref, "", "") if self.local else ref.partition("@")
        self.rows, self.test_share, self.split, self.subset = rows, test_share, split, subset
        self.image_column, self.caption_column, self.missing_captions = image_column, caption_column, missing_captions
        self.revision = None if self.local else self._commit(revision or None)

    def lock(self) -> dict[str, Any]:
        common = {"kind": "dataset", "split": self.split, "subset": self.subset}
        if self.local:
            folder = self.local if self.local.is_dir() else self.local.parent
            files = [p for p in walk(folder) if is_data_file(p)] if folder == self.local else [self.local]
            return common | {"sha256": hash_files(folder, files)}
        return common | {"id": self.ref, "revision": self.revision}

    def items(self) -> Iterator[Item]:
        from datasets import Image as ImageFeature

        stream = self._load()
        columns = list(stream.column_names or [])
        image = self._column("image", self.image_column, IMAGE_COLUMNS, columns)
        caption = self._column("caption", self.caption_column, (*CAPTION_COLUMNS, "txt"), columns)
        if image is None:
            hint = f"say which holds the pictures: image_column=..., one of {', '.join(columns)}"
            raise ConceptlibError("no column holds the pictures", where=self.ref, hint=hint)
        stream = stream.select_columns([c for c in (image, caption) if c]).cast_column(
            image, ImageFeature(decode=False)
        )
        for number, row in enumerate(islice(stream, self.rows)):
            key = f"row-{number:08d}"
            text = row[caption] if caption else None
            text = next(iter(text), None) if isinstance(text, list) else text  # several captions a picture: the first
            text = None if text is None else str(text).strip()
            item = Item(key, split_of(key, self.test_share), self._bytes(row[image]), text)
            yield captioned(item, self.missing_captions)

    def _load(self) -> Any:
        from datasets import load_dataset

        try:
            if self.local and self.local.is_file():
                form = self.local.suffix.removeprefix(".")
                return load_dataset(form, data_files=str(self.local), split=self.split, streaming=True)
            if self.local:
                return load_dataset(str(self.local), self.subset, split=self.split, streaming=True)
            return load_dataset(self.ref, self.subset, split=self.split, streaming=True, revision=self.revision)
        except Exception as error:  # the library raises its own and the network's, of many kinds
            raise ConceptlibError(
                f"the dataset cannot be opened: {first_line(error)}",
                where=self.ref,
                hint=f"check its name, source_split={self.split}, source_subset, and `hf auth login` for a gated one",
            ) from error

    def _commit(self, revision: str | None) -> str:
        """The commit that a branch or tag means now: names move, and the lock must not."""
        from huggingface_hub import HfApi

        try:
            return str(HfApi().dataset_info(self.ref, revision=revision).sha)
        except Exception as error:
            raise ConceptlibError(
                f"the Hub does not answer for this dataset: {first_line(error)}",
                where=self.ref,
                hint="nor is it a folder; check its name, the network, HF_HUB_OFFLINE; if it is gated, `hf auth login`",
            ) from error

    def _column(self, what: str, name: str | None, usual: tuple[str, ...], columns: list[str]) -> str | None:
        if name is None:
            return next((c for c in usual if c in columns), None)
        if name not in columns:
            raise ConceptlibError(
                f"there is no column {name!r}",
                where=self.ref,
                hint=f"{what}_column is one of: {', '.join(columns) or 'none'}",
            )
        return name

    @staticmethod
    def _bytes(value: Any) -> bytes | Path | Reject:
        if isinstance(value, bytes):
            return value
        value = value if isinstance(value, dict) else {}
        if value.get("bytes"):
            return bytes(value["bytes"])
        path = str(value.get("path") or "")
        if "://" not in path:
            return Path(path) if path and Path(path).is_file() else Reject("missing-file", "the row holds no picture")
        import fsspec

        try:
            with fsspec.open(path, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return Reject("missing-file", path)


def is_data_file(path: Path) -> bool:
    """By its name: Parquet or Arrow."""
    return path.suffix in (".parquet", ".arrow")
