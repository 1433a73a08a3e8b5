"""The store's journal: what came, was found again and went, in the order in which it happened.

``journal.jsonl`` is one JSON line an event, appended under a lock and synced. Its order, not the clock, says which
version a name means; its lines tell the catalog what is new without a look at every folder. It is an index: the
manifests are the truth. A lost journal is made again from them (by ``created``), a torn or damaged line is left out,
and what nobody announced (an artifact copied in by hand, of an older release, of a process that died between its rename
and its line) is noticed by the names of the folders and appended.

    changes = Journal(layout).changes(since=position)     # what happened since, and the position to ask from next
    Journal(layout).stamp()                               # equal to an earlier one, and not "": nothing happened since
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple
from zlib import crc32

from filelock import FileLock, Timeout

from conceptlib.errors import ConceptlibError
from conceptlib.store import files
from conceptlib.store.jsonfile import read_json
from conceptlib.store.layout import Layout
from conceptlib.store.names import MANIFEST, folder_of, name_of
from conceptlib.store.scan import Present, name_stamps, scan

MADE: Final = "made"
FOUND: Final = "found"
REMOVED: Final = "removed"
TAGGED: Final = "tagged"

PATIENCE = 120.0
"""Seconds to wait for the lock. It is held for moments: whoever has it longer has been stopped."""

# A line ends with the checksum of what stands before it: a flipped bit must not become another parent.
_CHECKED = re.compile(rb'(.*),"crc":"([0-9a-f]{8})"\}', re.DOTALL)
_LINE = re.compile(
    r'\{"seq":(\d{1,15}),"event":"([a-z]+)","kind":"([a-z]+)","name":"([^"\\]*)","id":"([^"\\]*)",'
    r'"folder":"([^"\\]*)","parents":(null|\[[^\]\\]*\])(?:,"tag":"([^"\\]*)")?'
)
_HEADER = re.compile(rb'\{"journal":1,"generation":"([0-9a-f]{16})"\}\n')
_HEADER_BYTES = len('{"journal":1,"generation":""}\n') + 16
_TAIL = 1 << 16  # bytes that are read to find the last line
_SETTLED = 2_000_000_000  # ns: some file systems count time in steps of two seconds

logger = logging.getLogger(__name__)


class Event(NamedTuple):
    """``what``: ``made``, ``found``, ``removed``, ``tagged``. ``seq`` rises from line to line.

    ``folder`` is relative to the store's root. ``parents``: the ids; None where no manifest could be read.
    """

    seq: int
    what: str
    kind: str
    name: str
    id: str
    folder: str
    parents: tuple[str, ...] | None = ()
    tag: str = ""

    def line(self) -> str:
        """As it stands in the file."""
        text = {"event": self.what, "kind": self.kind, "name": self.name, "id": self.id, "folder": self.folder}
        known: dict[str, Any] = {"seq": self.seq, **text, "parents": self.parents}
        start = json.dumps(known | ({"tag": self.tag} if self.tag else {}), separators=(",", ":"))[:-1]
        return f'{start},"crc":"{crc32(start.encode("ascii")):08x}"}}\n'


@dataclass(frozen=True)
class Changes:
    """What happened since a position.

    ``reset``: the position was not of this journal (the first time, or the journal was made anew): ``events`` tell of
    all that is there, and what they do not tell of is gone. ``position``: to ask from the next time. ``stamp``: as
    ``Journal.stamp``, from before the journal was read. ``unreadable``: folders that nobody may look into, and why.
    """

    events: list[Event]
    position: str
    reset: bool
    stamp: str
    unreadable: dict[str, str]


class Journal:
    """The journal of the store at ``layout.root``. Cheap to make; holds nothing open."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.path = layout.root / "journal.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time: who commits, removes, or appends. It is no reentrant lock.

        Raises:
            ConceptlibError: another process has had it for ``PATIENCE`` seconds.
            OSError: the store cannot be written to.
        """
        self._layout.locks.mkdir(parents=True, exist_ok=True)
        mutex = FileLock(self._layout.lock_file("journal"))
        try:
            mutex.acquire(timeout=PATIENCE, poll_interval=0.01)
        except Timeout as error:
            raise ConceptlibError(
                f"the store has been locked by another process for {PATIENCE:.0f} seconds",
                where=str(self._layout.lock_file("journal")),
                hint="look for a stopped conceptlib process; the lock goes with it",
            ) from error
        try:
            yield
        finally:
            mutex.release()

    def announce(
        self, what: str, kind: str, name: str, id: str, parents: Iterable[str] | None = (), tag: str = ""
    ) -> None:
        """Append an event. The caller holds ``locked``. A disk that is full only costs the line: it is an index."""
        folder = self._layout.artifact_folder(kind, name, id)
        event = Event(0, what, kind, name, id, folder.relative_to(self._layout.root).as_posix(), _ids(parents), tag)
        try:
            self._append([*self._unannounced_of(event), event])
        except OSError as error:
            logger.warning("the journal could not be written (%s): the next command mends it", error)

    def found(self, kind: str, name: str, id: str, parents: Iterable[str]) -> None:
        """Note that an artifact was asked for and was there, so that its name means it. Takes the lock itself.

        Nothing is written where the name means it already, nor to a store that cannot be written to.
        """
        if self.newest(kind, name) == id:
            return
        try:
            with self.locked():
                self.announce(FOUND, kind, name, id, parents)
        except OSError as error:
            logger.info("%s@%s was found, which could not be noted: %s", name, id, error)

    def newest(self, kind: str, name: str) -> str:
        """The id that was last made or found of this kind and name, as far as the journal knows; "" if it does not."""
        events = [one for one in self._about(kind, name) if one.what in (MADE, FOUND, REMOVED)]
        return events[-1].id if events and events[-1].what != REMOVED else ""

    def standing(self, kind: str | None = None, name: str | None = None) -> tuple[dict[str, Event], Present]:
        """Folder to its last event, of everything that is there now, in the order of making and finding; and what was
        seen. Of a kind, or of a kind's name (then only these lines are parsed). Writes nothing.

        What the journal does not know yet comes after what it knows, by the time in its manifest.
        """
        events = self._about(kind, name) if kind and name else _events(self._data())
        present = scan(self._layout, kind, folder_of(name) if name else None)
        known = {
            folder: one
            for folder, one in _replay(events).items()
            if kind in (None, one.kind) and name in (None, one.name)
        }
        return _replay([*known.values(), *self._differences(known, present)]), present

    def places(self, id: str) -> list[str]:
        """The folders of the artifacts with this id that are there: equal content may stand under several names."""
        data = self._data()
        found = {one.folder for one in self._lines_with(data, f'"id":{json.dumps(id)},')}
        there = {one for one in found if os.path.lexists(os.path.join(self._layout.root, one, MANIFEST))}
        return sorted(there or {one for one in scan(self._layout).folders if one.rpartition("/")[2] == id})

    def removed(self, id: str) -> bool:
        """Whether the last that the journal knows of an id is that it was removed."""
        events = [one for one in self._lines_with(self._data(), f'"id":{json.dumps(id)},') if one.what != TAGGED]
        return bool(events) and not _replay(events)

    def live(self) -> dict[str, Event]:
        """Folder to its last event, of everything that is there, in the order of making and finding.

        What came or went without a word is noticed first (and noted, where the store can be written to).
        """
        known, untold, _ = self._caught_up()
        return _replay([*known.values(), *untold])

    def changes(self, since: str = "") -> Changes:
        """What happened since a position ("": from the beginning), with what nobody announced noticed first.

        In a store that cannot be written to, what is noticed is told every time, and the position stays before it.
        """
        stamp = self.stamp()
        _, untold, present = self._caught_up()
        events, position, reset = self.told(since)
        return Changes([*events, *untold], position, reset, stamp, present.unreadable)

    def told(self, since: str = "") -> tuple[list[Event], str, bool]:
        """The events since a position, the position to ask from next, and whether they begin from the beginning: as
        ``changes``, with no look at what nobody announced.
        """
        data, start, reset = self._from(since)
        end = data.rfind(b"\n") + 1
        events = _events(data[:end])
        last = events[-1].seq if events else 0 if reset else int(since.rpartition("/")[2])
        return events, f"{self._generation()}/{start + end}/{last}", reset

    def stamp(self) -> str:
        """A digest of the journal's size and of the times of the names' folders: no file is read, none but these is
        looked at. Equal to an earlier one: no artifact came or went. "" (equal to none) when something changed in the
        last two seconds, since times are too coarse to tell.
        """
        hasher, newest = sha256(), 0
        try:
            status = os.stat(self.path)
            hasher.update(f"{status.st_size} {status.st_ino}".encode())
        except OSError:
            return ""
        for folder, mtime, inode in sorted(name_stamps(self._layout)):
            newest = max(newest, mtime)
            hasher.update(f"{folder}\0{mtime}\0{inode}\n".encode("utf-8", "surrogatepass"))
        return hasher.hexdigest() if newest + _SETTLED < time.time_ns() else ""

    def compact(self) -> bool:
        """Write the journal anew with what still counts, when more than half of it does not. True if it did so.

        Raises:
            OSError: the store cannot be written to.
        """
        data = self._data()
        if data.count(b"\n") <= 2 * len(_replay(_events(data))) + 1000:
            return False
        with self.locked():
            self._rewrite(_replay(_events(self._data())).values())
        return True

    # reading

    def _data(self) -> bytes:
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return b""

    def _generation(self) -> str:
        """The header's word; "" where there is no journal or its header is damaged."""
        try:
            with open(self.path, "rb") as stream:
                match = _HEADER.fullmatch(stream.read(_HEADER_BYTES))
        except OSError:
            return ""
        return match[1].decode() if match else ""

    def _from(self, since: str) -> tuple[bytes, int, bool]:
        """The bytes after a position, where they start, and whether that is the beginning, the position being of
        another journal.
        """
        generation, _, rest = since.partition("/")
        offset, _, seq = rest.partition("/")
        if generation and generation == self._generation() and offset.isdecimal() and seq.isdecimal():
            with open(self.path, "rb") as stream:
                before = max(0, int(offset) - _TAIL)
                stream.seek(before)
                tail = stream.read(int(offset) - before)
                last = _last(tail)
                # The same line must still end there: an older copy may have been put back and gone on.
                if len(tail) == int(offset) - before and tail.endswith(b"\n") and (last.seq if last else 0) == int(seq):
                    return stream.read(), int(offset), False
        return self._data(), 0, True

    def _about(self, kind: str, name: str) -> list[Event]:
        """The events of one kind and name. Of the others' lines none is parsed."""
        return self._lines_with(self._data(), f'"kind":{json.dumps(kind)},"name":{json.dumps(name)},')

    def _lines_with(self, data: bytes, text: str) -> list[Event]:
        """The events of the lines with this text in them."""
        needle = text.encode("ascii")
        lines, at = [], data.find(needle)
        while at >= 0:
            start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
            if end < 0:
                break  # torn
            lines.append(data[start:end])
            at = data.find(needle, end)
        return _events(b"\n".join(lines))

    # catching up

    def _caught_up(self) -> tuple[dict[str, Event], list[Event], Present]:
        """What the journal says is there; the events that it could not be made to tell (in a store that cannot be
        written to); and what was seen.
        """
        known, present = _replay(_events(self._data())), scan(self._layout)
        if self._generation() and not _differs(known, present):
            return known, [], present
        if not present.folders and not known and not present.unreadable:
            return {}, [], present  # nobody has made anything here: looking does not write
        try:
            with self.locked():
                # Again: what was on its way a moment ago has been announced by now.
                known, present = _replay(_events(self._data())), scan(self._layout)
                self._append(self._differences(known, present))
        except OSError as error:
            logger.info("the journal cannot be written: %s", error)
            return known, self._differences(known, present), present
        return _replay(_events(self._data())), [], present

    def _differences(self, known: dict[str, Event], present: Present) -> list[Event]:
        """The events that nobody told: what went, then what came, by when it was made."""
        gone = [one for folder, one in known.items() if folder not in present.folders and not present.hides(folder)]
        came = [self._seen(folder) for folder in sorted(present.folders - known.keys())]
        return [*(one._replace(what=REMOVED, tag="") for one in gone), *(one for _, one in sorted(came))]

    def _unannounced_of(self, event: Event) -> list[Event]:
        """What lies beside an artifact that is announced and is not in the journal yet: it is older than that."""
        present = scan(self._layout, event.kind, event.folder.split("/")[2])
        known = _replay(self._about(event.kind, event.name))
        return [one for one in self._differences(known, present) if one.folder != event.folder]

    def _seen(self, folder: str) -> tuple[str, Event]:
        """An artifact that is there without an event, after when it was made or (by an older release) last found."""
        _, kind, name_folder, identity = folder.split("/")
        created, parents = _manifest_of(self._layout, folder)
        event = Event(0, MADE, kind, name_of(name_folder), identity, folder, parents)
        return max(created, _found_at(self._layout, kind, name_folder, identity)), event

    # writing: the caller holds the lock

    def _append(self, events: list[Event]) -> None:
        if not self._generation():
            known = _replay(_events(self._data()))  # a damaged header: the lines below it still count
            everything = self._differences(known, scan(self._layout))
            self._rewrite(_replay([*known.values(), *everything, *events]).values())
            return
        if not events:
            return
        with open(self.path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            tail = stream.read()
        last = _last(tail) or (_events(self._data()) or [Event(0, "", "", "", "", "")])[-1]
        torn = "" if tail.endswith(b"\n") else "\n"
        text = torn + "".join(one._replace(seq=last.seq + index).line() for index, one in enumerate(events, 1))
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            rest = memoryview(text.encode("ascii"))
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def _rewrite(self, events: Iterable[Event]) -> None:
        """A journal of these events alone, in the place of the present one."""
        lines = [one._replace(seq=number, what=MADE, tag="").line() for number, one in enumerate(events, 1)]
        header = json.dumps({"journal": 1, "generation": uuid.uuid4().hex[:16]}, separators=(",", ":"))
        files.atomic_write(self.path, header + "\n" + "".join(lines))


def _differs(known: dict[str, Event], present: Present) -> bool:
    return known.keys() != present.folders and any(
        (folder in present.folders) is not (folder in known) and not present.hides(folder)
        for folder in known.keys() ^ present.folders
    )


def _events(data: bytes) -> list[Event]:
    """The events of whole lines; a line that is none is left out."""
    found = []
    for whole in data.split(b"\n"):
        checked = _CHECKED.fullmatch(whole)
        if checked is None or crc32(checked[1]) != int(checked[2], 16):
            continue
        line = checked[1].decode("ascii", "replace")
        match = _LINE.fullmatch(line)
        if match is not None:
            seq, what, kind, name, identity, folder, parents, tag = match.groups()
            ids = None if parents == "null" else tuple(parents[2:-2].split('","')) if len(parents) > 2 else ()
            found.append(Event(int(seq), what, kind, name, identity, folder, ids, tag or ""))
        elif event := _by_json(line + "}"):  # names that are no UTF-8 or hold quotes
            found.append(event)
    return found


def _by_json(line: str) -> Event | None:
    try:
        raw = json.loads(line)
        what, kind, name, identity, folder = (raw[field] for field in ("event", "kind", "name", "id", "folder"))
        if not all(isinstance(one, str) for one in (what, kind, name, identity, folder)):
            return None
        return Event(int(raw["seq"]), what, kind, name, identity, folder, _ids(raw["parents"]), str(raw.get("tag", "")))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _last(tail: bytes) -> Event | None:
    """The last event in the end of a journal."""
    for line in reversed(tail.split(b"\n")):
        if events := _events(line):
            return events[0]
    return None


def _replay(events: Iterable[Event]) -> dict[str, Event]:
    """Folder to its last event, of what is there after all these, in the order of making and finding."""
    live: dict[str, Event] = {}
    for event in events:
        if event.what in (MADE, FOUND, REMOVED):
            live.pop(event.folder, None)
        if event.what in (MADE, FOUND):
            live[event.folder] = event
    return live


def _ids(parents: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if parents is None else tuple(sorted({str(one) for one in parents}))


def _manifest_of(layout: Layout, folder: str) -> tuple[str, tuple[str, ...] | None]:
    """When an artifact was made, and its parents' ids (None: they cannot be told). The rest of it is not looked at."""
    try:
        raw = read_json(layout.root / folder / MANIFEST)
        created, parents = raw["created"], raw["parents"].values()
        datetime.fromisoformat(created)
        return created, _ids(parents)
    except (FileNotFoundError, NotADirectoryError):
        return "", ()  # no manifest: it is no artifact, and was made from nothing
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", None


def _found_at(layout: Layout, kind: str, name_folder: str, identity: str) -> str:
    """When an older release last found it: it kept a note for each."""
    try:
        at = read_json(layout.root / "found" / kind / name_folder / f"{identity}.json")["at"]
        datetime.fromisoformat(at)
        return str(at)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
