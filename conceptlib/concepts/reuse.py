"""Rows of an earlier build of the same recipe, so that a build of more rows, or of a folder that has grown, draws only
what is new.

A row may be used again when the recipe (everything but the item that decides what is drawn: the spec without its
source, and the versions of conceptlib and of the builder's and the overlays' code) is the same and the item's
fingerprint is: then drawing it would give the same bytes. So the result is that of a fresh build, and so is its id.
Memory: 24 bytes a row of the earlier build.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from conceptlib import __version__
from conceptlib.concepts.builders import Outcome
from conceptlib.concepts.rows import Rows
from conceptlib.concepts.sources import Item
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.specs import BUILDERS
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import digest, sha256_bytes


def recipe_digest(builder: str, recipe: Mapping[str, Any]) -> str:
    """64 hex digits: builds that agree in this draw the same item alike."""
    whole = {"conceptlib": __version__, "builder": builder, "recipe": recipe}
    return digest(whole | BUILDERS.version_lock(builder))


@dataclass
class Earlier:
    """The rows of a dataset that may be used again. `count` says how many were."""

    artifact: Artifact
    exact: bool
    count: int = 0
    _keys: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._data = Rows(ImageTable(self.artifact).shards())
        self._truth = Rows([self.artifact.path / "truth" / p.name for p in self._data.paths]) if self.exact else None
        self._inputs = Rows([self.artifact.path / "inputs" / p.name for p in self._data.paths])
        entries = [
            (_short(sha256_bytes(row["image_id"].encode())), _short(row["input"] or "0" * 16), position)
            for position, row in enumerate(self._inputs.all())
        ]
        table = np.array(entries, np.uint64).reshape(-1, 3)
        self._table = table[np.argsort(table[:, 0], kind="stable")]
        self._keys = np.ascontiguousarray(self._table[:, 0])

    def rows(self, items: Iterable[Item]) -> Iterator[Item | Outcome]:
        """The items, those that are known replaced by what became of them."""
        for item in items:
            outcome = self._find(item)
            self.count += outcome is not None
            yield item if outcome is None else outcome

    def _find(self, item: Item) -> Outcome | None:
        at = int(np.searchsorted(self._keys, _short(sha256_bytes(item.key.encode()))))
        if at == len(self._keys) or self._keys[at] != _short(sha256_bytes(item.key.encode())):
            return None
        fingerprint = item.fingerprint()
        if self._table[at, 1] != _short(fingerprint):
            return None
        position = int(self._table[at, 2])
        inputs, row = self._inputs[position], self._data[position]
        whole = sha256_bytes(row["image"]["bytes"]) == row["image_sha256"]
        if (inputs["image_id"], inputs["input"], row["image_id"]) != (item.key, fingerprint, item.key) or not whole:
            return None
        known = None if self._truth is None else self._truth[position]
        captioned = bool(inputs["machine_caption"])
        return Outcome(item.key, item.split, row, None, known=known, input=fingerprint, machine_caption=captioned)


def find_earlier(store: Store, name: str, recipe: str, exact: bool) -> Earlier | None:
    """The largest dataset of this name and recipe that is still whole enough to read; None if there is none."""
    known = [one for one in store.list("dataset", name) if one.info.get("recipe") == recipe]
    for artifact in sorted(known, key=lambda one: -int(one.info.get("written", 0))):
        try:
            return Earlier(artifact, exact)
        except (ConceptlibError, OSError, pa.ArrowException):
            continue  # damaged: `verify` names it; here it is only no help
    return None


@dataclass(frozen=True)
class Recorded:
    """`draw`, and in its outcome what the row was made from. Can be pickled."""

    draw: Any

    def __call__(self, item: Item) -> Outcome:
        outcome: Outcome = self.draw(item)
        if outcome.row is None:
            return outcome
        return replace(outcome, input=item.fingerprint(), machine_caption=item.machine_caption)


def _short(digits: str) -> np.uint64:
    """The first 64 bits of a digest."""
    return np.uint64(int(digits[:16], 16))
