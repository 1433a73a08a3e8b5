"""WebDataset: tar files whose members of one base name make a sample (`000001.jpg`, `000001.txt`, `000001.json`).

https://github.com/webdataset/webdataset. Members are read one after the other and never written to disk, so their paths
cannot lead anywhere; links, devices and the like are passed over. Memory: one sample.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources.base import (
    MAX_FILE_BYTES,
    Item,
    caption_in,
    captioned,
    first_line,
    hash_files,
    is_picture,
    key_of,
    require_rows,
    split_of,
    walk,
)
from conceptlib.errors import ConceptlibError

SUFFIXES = (".tar", ".tar.gz", ".tgz")
TEXTS = ("txt", "caption", "text")
_MAX_TEXT_BYTES = 1 << 20


def is_tar(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(SUFFIXES)


class TarSource:
    """Samples of one tar file, or of all of a folder in the order of their names.

    The key is the member's path up to the first dot of its name; in a folder the tar's name stands in front. The
    caption is the member `txt`, `caption` or `text`, else a caption column of the member `json`; `caption_column` names
    a member's ending or a column of the `json`.

    Args:
        path: a tar file (gzipped or not) or a folder.
        rows, test_share, image_column, caption_column, missing_captions: see `open_source`; `image_column` is the
            ending of the picture's member (`jpg`).

    Raises:
        ConceptlibError: no pictures; a tar that cannot be read to its end.
    """

    total: int | None = None

    def __init__(
        self,
        path: Path,
        rows: int | None,
        test_share: float,
        image_column: str | None,
        caption_column: str | None,
        missing_captions: str,
    ) -> None:
        self.path, self.rows, self.test_share = path, rows, test_share
        self.image_column, self.caption_column, self.missing_captions = image_column, caption_column, missing_captions
        self.tars = [file for file in walk(path) if is_tar(file)] if path.is_dir() else [path]
        self.ignored = sum(1 for _ in walk(path)) - len(self.tars) if path.is_dir() else 0
        require_rows(self.items(), 1, path, "tar files")

    def lock(self) -> dict[str, Any]:
        """Every tar by name and sha256."""
        folder = self.path if self.path.is_dir() else self.path.parent
        paths = self.tars if self.path.is_dir() else [self.path]
        sha256 = hash_files(folder, paths)
        return {"kind": "webdataset", "sha256": sha256, "image": self.image_column, "caption": self.caption_column}

    def items(self) -> Iterator[Item]:
        return islice(self._items(), self.rows)

    def _items(self) -> Iterator[Item]:
        for tar in self.tars:
            prefix = tar.relative_to(self.path).as_posix().partition(".tar")[0] + "/" if self.path.is_dir() else ""
            seen = Counter[str]()  # of one tar: shards are bounded, data sets are not
            for key, members in _samples(tar):
                if not any(map(self._is_image, members)):
                    continue
                item = self._item(prefix + key, members)
                if seen[key]:
                    reject = Reject("duplicate", f"{key} came before in {tar.name}")
                    item = replace(item, key=f"{item.key}#{seen[key]}", data=reject, caption=None)
                seen[key] += 1
                yield item

    def _is_image(self, ending: str) -> bool:
        return ending == self.image_column if self.image_column else is_picture(f"x.{ending}")

    def _item(self, path: str, members: dict[str, bytes | Reject]) -> Item:
        key = key_of(PurePosixPath(path))
        # `png` before `mask.png`, whatever their order in the tar.
        ending = min(filter(self._is_image, members), key=lambda ending: (ending.count("."), ending))
        return captioned(
            Item(key, split_of(key, self.test_share), members[ending], self._caption(key, members)),
            self.missing_captions,
        )

    def _caption(self, key: str, members: dict[str, bytes | Reject]) -> str | None:
        wanted = TEXTS if self.caption_column is None else (self.caption_column,)
        for ending in wanted:
            text = members.get(ending)
            if isinstance(text, bytes):
                return text.decode("utf-8-sig", errors="replace").strip() or None
        fields = members.get("json")
        if not isinstance(fields, bytes):
            return None
        try:
            parsed = json.loads(fields)
        except ValueError as error:
            raise ConceptlibError(
                f"the member {key}.json is no JSON: {first_line(error)}",
                where=str(self.path),
                hint="write the tar anew",
            ) from error
        return caption_in(parsed, self.caption_column) if isinstance(parsed, dict) else None


def _samples(path: Path) -> Iterator[tuple[str, dict[str, bytes | Reject]]]:
    """Runs of members with one key, by ending."""
    current, members = "", dict[str, bytes | Reject]()
    try:
        with tarfile.open(path, "r|*") as tar:  # a stream: nothing is kept of members that are past
            for member in tar:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.name.startswith((".", "__")):
                    continue
                base, _, ending = name.name.partition(".")
                key = (name.parent / base).as_posix()
                if key != current and members:
                    yield current, members
                    members = {}
                current = key
                limit = MAX_FILE_BYTES if is_picture(f"x.{ending.lower()}") else _MAX_TEXT_BYTES
                if member.size > limit:
                    members[ending.lower()] = Reject("too-large", f"{member.size} bytes; at most {limit} are read")
                elif (file := tar.extractfile(member)) is not None:
                    members[ending.lower()] = file.read()
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
            if members:
                yield current, members
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ConceptlibError(
            f"the tar cannot be read: {first_line(error)}", where=str(path), hint="copy or download it again"
        ) from error
