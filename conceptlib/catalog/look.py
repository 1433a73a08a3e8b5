"""What came, went or changed in a store since the catalog was last brought up to date.

An artifact is a folder that never changes, and it comes and goes by one rename. Each rename touches the folder around
it (a *place*: `artifacts/checkpoint/esd+object`), whose time of change says so: there are a few hundred of them where
there are 50,000 artifacts. So a place that looks as it did is not listed again. Looked at every time are what could not
be read (it may be mended, or a copy that is still being made), and in a store of up to `SMALL` artifacts all manifests,
so that one edited in place is noticed as well. Which of a name's versions is the newest the store's journal says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb

from conceptlib.scores import SCORES
from conceptlib.store.journal import FOUND, MADE, Journal
from conceptlib.store.layout import Layout
from conceptlib.store.names import MANIFEST
from conceptlib.store.scan import name_stamps, scan

SMALL = 2000
"""Artifacts: so many manifests are looked at in 15 ms."""

MANY = 2000
"""Artifacts: when so many were looked at and none was new, the next call is spared it."""

_SETTLING = 3_000_000_000
"""Nanoseconds. Clocks of file systems tick in up to two seconds: what changed since may bear the same time."""

_UNSETTLED = ""
"""Stands for such a time, and is none: the place is looked into again."""


class Stamp(NamedTuple):
    """Time of change and size, of an artifact's files that the catalog reads. Zeros: there is no manifest."""

    mtime_ns: int
    bytes: int


@dataclass(frozen=True)
class Look:
    """What is different.

    Args:
        new: folders that came or changed, as they are now. gone: that went or changed.
        paths: where the new ones lie: their names here are text, even where those on disk are not.
        problems: of the new ones that may not even be looked into, why.
        places: those that look different, with their stamps now; None for one that is gone.
        ranks: the places in the journal that folders came to have. position: how far the journal was read.
        reset: whether these are all ranks there are.
        many: whether it took long to see that nothing is new, so that the places' stamps are worth writing down.
    """

    new: dict[str, Stamp]
    gone: list[str]
    paths: dict[str, str]
    problems: dict[str, str]
    places: dict[str, str | None]
    ranks: dict[str, int]
    position: str
    reset: bool
    many: bool

    @property
    def worth_writing(self) -> bool:
        return bool(self.new or self.gone or self.ranks or self.reset or self.many)


def look(layout: Layout, connection: duckdb.DuckDBPyConnection | None) -> Look:
    """Compare a store with its catalog (None: with an empty one). Writes nothing."""
    known, found = _Known(connection), _Found(layout)
    events, position, reset = Journal(layout).told(known.position)
    changed = {place for place in known.places | found.places if known.places.get(place) != found.places.get(place)}
    whole = known.count <= SMALL
    for place in found.places if whole else found.places.keys() & changed:
        found.look_into(place)
    for place in set() if whole else found.places.keys() & (known.suspects() | found.odd) - changed:
        found.look_into(place, only=known.damaged)
    before, present = known.stamps(None if whole else changed) | known.damaged, found.stamps
    new = {folder: stamp for folder, stamp in present.items() if before.get(folder) != stamp}
    settled = {place: _settled(found.places[place]) if place in found.places else None for place in changed}
    told = position != known.position
    ranks = {_text(one.folder): one.seq for one in events if one.what in (MADE, FOUND)} if told else {}
    if not (reset and told):
        ranks = {folder: seq for folder in new if (seq := known.ranks.get(folder)) is not None} | ranks
    return Look(
        new=new,
        gone=sorted(folder for folder, stamp in before.items() if present.get(folder) != stamp),
        paths={folder: found.paths[folder] for folder in new},
        problems={folder: problem for folder, problem in found.problems.items() if folder in new},
        places=settled,
        ranks=ranks,
        position=position,
        reset=reset and told,
        many=len(present) > MANY and any(stamp != _UNSETTLED for stamp in settled.values()),
    )


class _Known:
    """What the catalog knows; nothing without one."""

    def __init__(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        self._connection = connection
        self.places: dict[str, str] = dict(self._fetch("SELECT place, stamp FROM places"))
        self.position = "".join(position for (position,) in self._fetch("SELECT position FROM journal"))
        self.count = sum(row[0] for row in self._fetch("SELECT count(*) FROM indexed"))
        self.ranks: dict[str, int | None] = {}  # of the folders whose stamps were asked for
        self.damaged = self._stamps("WHERE folder IN (SELECT folder FROM damaged)")

    def suspects(self) -> set[str]:
        """The places where something is damaged, or which are so themselves."""
        return self.damaged.keys() | {folder.rpartition("/")[0] for folder in self.damaged}

    def stamps(self, places: set[str] | None) -> dict[str, Stamp]:
        """Of the artifacts in some places; None: in all."""
        if places is None:
            return self._stamps("")
        return self._stamps("WHERE list_contains(?, place)", [*places]) if places else {}

    def _stamps(self, where: str, *parameters: Any) -> dict[str, Stamp]:
        rows = self._fetch(f"SELECT folder, mtime_ns, bytes, seq FROM indexed {where}", *parameters)
        self.ranks |= {folder: seq for folder, _, _, seq in rows}
        return {folder: Stamp(mtime_ns, size) for folder, mtime_ns, size, _ in rows}

    def _fetch(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall() if self._connection else []


class _Found:
    """What is in the store. Names are text here (`_text`); ``paths`` has the paths on disk, from the store's root.

    ``places``: with what tells whether one changed. ``odd``: those that stand for folders nobody may look into.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._names: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.stamps: dict[str, Stamp] = {}
        self.paths: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        for name, mtime_ns, inode in name_stamps(layout):
            place = f"artifacts/{_text(name)}"
            self._names[place], self.places[place] = name, f"{mtime_ns}/{inode}"
        self.odd = {place for place, name in self._names.items() if "/" not in name}

    def look_into(self, place: str, only: Collection[str] | None = None) -> None:
        """Find the artifacts in a place, and their stamps. ``only``: of these."""
        kind, _, name = self._names[place].partition("/")
        present = scan(self._layout, kind.partition(":")[0], name or None)
        for path in present.folders:
            folder = _text(path)
            if only is None or folder in only:
                stamp = _stamp(f"{self._layout.root}/{path}", scores=kind == "evaluation")
                if stamp is not None:
                    self.stamps[folder], self.paths[folder] = stamp, path
        for path, problem in present.unreadable.items():
            folder = _text(path)
            self.stamps[folder], self.paths[folder] = Stamp(0, -1), path
            self.problems[folder] = f"the folder cannot be read: {problem}"


def _text(name: str) -> str:
    """A path as text: bytes that are no UTF-8 are written out (`b\\xff`)."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")


def _stamp(folder: str, *, scores: bool) -> Stamp | None:
    """None: the folder has gone this moment."""
    try:
        status = os.stat(f"{folder}/{MANIFEST}")
    except FileNotFoundError:
        return Stamp(0, 0) if os.path.isdir(folder) else None
    except OSError as error:
        return Stamp(0, -(error.errno or 1))
    stamp = Stamp(_fits(status.st_mtime_ns), status.st_size)
    if scores:
        try:
            status = os.stat(f"{folder}/{SCORES}")
        except OSError:
            return stamp
        stamp = Stamp(max(stamp.mtime_ns, _fits(status.st_mtime_ns)), stamp.bytes + status.st_size)
    return stamp


def _settled(stamp: str) -> str:
    return stamp if int(stamp.partition("/")[0]) < time.time_ns() - _SETTLING else _UNSETTLED


def _fits(mtime_ns: int) -> int:
    """A time that a 64-bit column takes: file systems can bear years that nanoseconds do not reach."""
    return max(min(mtime_ns, 2**63 - 1), 0)
