"""The journal: what it tells, what it notices by itself, and that losing it loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conceptlib.store import Artifact, Store
from conceptlib.store.journal import Event, Journal


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.what, event.id) for event in events]


def folder_of(artifact: Artifact, store: Store) -> str:
    return artifact.path.relative_to(store.root).as_posix()


def backdate(store: Store) -> None:
    """Let every folder be old enough for a stamp."""
    for path in [store.root / "journal.jsonl", *store.root.glob("artifacts/*/*")]:
        os.utime(path, (1e9, 1e9))


def test_it_tells_what_was_made_found_tagged_and_removed_in_order(store: Store, make: Any) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    make(files={"x": b"1"})
    store.tag(first, "v1")
    store.untag("icd-qr@v1")
    store.rm(second)
    events = store.journal.changes().events
    expected = [("made", first), ("made", second), ("found", first), ("tagged", first), ("tagged", first)]
    assert told(events) == [(what, one.id) for what, one in [*expected, ("removed", second)]]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert {(event.kind, event.name, event.tag) for event in events} == {
        ("dataset", "icd-qr", ""),
        ("dataset", "icd-qr", "v1"),
    }
    assert events[0].folder == folder_of(first, store)


def test_it_tells_the_parents(store: Store, make: Any) -> None:
    dataset = make()
    make("annotations", "zxing", {"a": b"1"}, parents={"dataset": dataset, "other": dataset})
    assert [event.parents for event in store.journal.changes().events] == [(), (dataset.id,)]


def test_what_is_found_and_is_the_newest_already_adds_no_line(store: Store, make: Any) -> None:
    make()
    before = store.journal.path.read_bytes()
    make()
    assert store.journal.path.read_bytes() == before


def test_from_a_position_only_what_came_since(store: Store, make: Any) -> None:
    first = make(files={"x": b"1"})
    start = store.journal.changes()
    assert start.reset and told(start.events) == [("made", first.id)]
    same = store.journal.changes(start.position)
    assert not same.reset and same.events == [] and same.position == start.position
    second = make(files={"x": b"2"})
    then = store.journal.changes(start.position)
    assert not then.reset and told(then.events) == [("made", second.id)]


@pytest.mark.parametrize("since", ["", "x", "0123456789abcdef/31/0", "//", "0123456789abcdef/-1/x", "a/b/c/d"])
def test_a_position_of_another_journal_begins_anew(store: Store, make: Any, since: str) -> None:
    artifact = make()
    changes = store.journal.changes(since)
    assert changes.reset and told(changes.events) == [("made", artifact.id)]


def test_an_older_copy_that_went_on_begins_anew(store: Store, make: Any) -> None:
    make(files={"x": b"1"})
    copy = store.journal.path.read_bytes()
    make(files={"x": b"2"})
    make(files={"x": b"1"})
    position = store.journal.changes().position
    store.journal.path.write_bytes(copy)
    assert store.journal.changes(position).reset
    for number in range(5):
        make(files={"y": bytes([number])})
    assert store.journal.changes(position).reset


def lose(path: Path) -> None:
    path.unlink()


def garble(path: Path) -> None:
    path.write_bytes(b"\xff\x00 no journal\n" * 3)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [lose, garble, empty])
def test_a_lost_journal_is_made_from_the_manifests(store: Store, make: Any, damage: Callable[[Path], None]) -> None:
    artifacts = [make(files={"x": bytes([number])}) for number in range(3)]
    position = store.journal.changes().position
    damage(store.journal.path)
    assert store.list() == artifacts and store.get("icd-qr") == artifacts[-1]
    changes = store.journal.changes(position)
    assert changes.reset and told(changes.events) == [("made", one.id) for one in artifacts]
    assert told(store.journal.changes().events) == told(changes.events)


def test_a_damaged_header_keeps_the_order(store: Store, make: Any) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    make(files={"x": b"1"})
    store.journal.path.write_bytes(b"X" + store.journal.path.read_bytes()[1:])
    assert told(store.journal.changes().events) == [("made", second.id), ("made", first.id)]
    assert store.get("icd-qr") == first


@pytest.mark.parametrize("keep", [1, 20, -2])
def test_a_torn_last_line_is_left_out_and_noticed_again(store: Store, make: Any, keep: int) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    *whole, last = store.journal.path.read_bytes().splitlines(keepends=True)
    store.journal.path.write_bytes(b"".join(whole) + last[:keep])
    assert store.get("icd-qr") == second
    third = make(files={"x": b"3"})
    assert told(store.journal.changes().events) == [("made", one.id) for one in (first, second, third)]


def test_a_damaged_line_in_the_middle_costs_nothing(store: Store, make: Any) -> None:
    artifacts = [make(files={"x": bytes([number])}) for number in range(3)]
    lines = store.journal.path.read_bytes().splitlines(keepends=True)
    store.journal.path.write_bytes(b"".join([*lines[:2], b'{"seq":[[[\n', lines[3]]))
    assert {event.id for event in store.journal.live().values()} == {one.id for one in artifacts}


def test_what_was_copied_in_and_removed_by_hand_is_noticed(store: Store, make: Any, tmp_path: Path) -> None:
    kept, gone = make(files={"x": b"1"}), make(files={"x": b"2"})
    shutil.copytree(gone.path, tmp_path / "copy")
    position = store.journal.changes().position
    shutil.rmtree(gone.path)
    went = store.journal.changes(position)
    assert told(went.events) == [("removed", gone.id)] and store.list() == [kept]
    shutil.copytree(tmp_path / "copy", gone.path)
    came = store.journal.changes(went.position)
    assert told(came.events) == [("made", gone.id)] and not came.reset


def test_what_nobody_announced_is_older_than_what_is_made_after_it(store: Store, make: Any) -> None:
    """A process died between its rename and its line; another version was made then."""
    first = make(files={"x": b"1"})
    lines = store.journal.path.read_bytes().splitlines(keepends=True)
    store.journal.path.write_bytes(lines[0])
    second = make(files={"x": b"2"})
    assert told(store.journal.changes().events) == [("made", first.id), ("made", second.id)]
    assert store.get("icd-qr") == second


def test_a_clock_that_went_back_does_not_matter(store: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    import conceptlib.store.draft as draft

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Earlier:
            return cls(2001, 1, 1, tzinfo=UTC)

    first = make(files={"x": b"1"})
    monkeypatch.setattr(draft, "datetime", Earlier)
    second = make(files={"x": b"2"})
    assert second.created < first.created
    assert store.get("icd-qr") == second and store.list() == [first, second]


def test_a_store_of_an_older_release_keeps_its_order(store: Store, make: Any) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    store.journal.path.unlink()
    note = store.root / "found" / "dataset" / "icd-qr" / f"{first.id}.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"at": "2999-01-01T00:00:00.000000+00:00"}))
    assert store.get("icd-qr") == first  # before the journal is made, and after
    assert told(store.journal.changes().events) == [("made", second.id), ("made", first.id)]
    assert store.get("icd-qr") == first


@pytest.mark.parametrize("note", ["", "{}", '{"at": "tomorrow"}', "[]", '{"at": null}', '{"at": 1}'])
def test_a_damaged_note_of_an_older_release_is_no_note(store: Store, make: Any, note: str) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    store.journal.path.unlink()
    path = store.root / "found" / "dataset" / "icd-qr" / f"{first.id}.json"
    path.parent.mkdir(parents=True)
    path.write_text(note)
    assert store.get("icd-qr") == second


def test_an_empty_store_gets_no_journal_by_being_looked_at(store: Store) -> None:
    assert store.journal.changes().events == [] and store.journal.live() == {}
    assert not store.root.exists() or list(store.root.iterdir()) == []


def test_the_stamp_is_equal_until_something_comes_or_goes(store: Store, make: Any) -> None:
    artifact = make()
    assert store.journal.stamp() == ""  # it was made a moment ago
    backdate(store)
    stamp = store.journal.stamp()
    assert stamp and store.journal.stamp() == stamp == store.journal.changes().stamp
    shutil.rmtree(artifact.path)
    assert store.journal.stamp() != stamp


def test_odd_folders_are_told_and_stop_nothing(store: Store, make: Any) -> None:
    artifact = make()
    odd = os.fsencode(store.root / "artifacts" / "dataset") + b'/b\xff"x/0000'
    os.makedirs(odd)
    circle = store.root / "artifacts" / "dataset" / "circle"
    circle.symlink_to("circle")
    changes = store.journal.changes()
    assert {event.folder for event in changes.events} == {
        folder_of(artifact, store),
        'artifacts/dataset/b\udcff"x/0000',
    }
    assert list(changes.unreadable) == ["artifacts/dataset/circle"]
    again = store.journal.changes(changes.position)
    assert again.events == [] and not again.reset
    os.rmdir(odd)
    assert [event.what for event in store.journal.changes(again.position).events] == ["removed"]


def test_what_cannot_be_looked_into_is_not_gone(store: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make()
    position = store.journal.changes().position
    refuse(monkeypatch, artifact.path.parent)
    changes = store.journal.changes(position)
    assert changes.events == [] and list(changes.unreadable) == ["artifacts/dataset/icd-qr"]
    assert artifact.id in {event.id for event in store.journal.live().values()}


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As the folder of another user with mode 0700; the tests may run as root, whom nothing is refused."""
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_store_that_cannot_be_written_to_tells_what_it_sees(
    store: Store, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(files={"x": b"1"})
    position = store.journal.changes().position
    second = make(files={"x": b"2"})
    lines = store.journal.path.read_bytes().splitlines(keepends=True)
    store.journal.path.write_bytes(b"".join(lines[:2]))
    shutil.rmtree(first.path)

    def refused(self: Journal) -> Any:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Journal, "locked", refused)
    before = store.journal.path.read_bytes()
    for _ in range(2):
        changes = store.journal.changes(position)
        assert told(changes.events) == [("removed", first.id), ("made", second.id)] and not changes.reset
    assert store.journal.path.read_bytes() == before
    assert store.get("icd-qr") == second and list(store.journal.live()) == [folder_of(second, store)]
    assert make(files={"x": b"2"}) == second  # what is there is found, though that cannot be noted


def test_a_full_disk_costs_a_line_and_no_artifact(store: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make(files={"x": b"1"})

    def full(self: Journal, events: list[Event]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_append", full)
        second = make(files={"x": b"2"})
    assert store.get("icd-qr") == second
    assert told(store.journal.changes().events)[-1] == ("made", second.id)


def test_writers_at_once_lose_no_line(store: Store, make: Any) -> None:
    def work(number: int) -> None:
        for round_ in range(5):
            make("dataset", f"name-{number}", {"x": bytes([round_])})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = store.journal.changes().events
    assert [event.seq for event in events] == list(range(1, 21))
    assert {event.folder for event in events} == {folder_of(one, store) for one in store.list()}


def test_compacting_keeps_what_counts(store: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    assert not store.journal.compact()
    for _ in range(600):
        with store.journal.locked():
            store.journal.announce("found", "dataset", "icd-qr", second.id)
            store.journal.announce("found", "dataset", "icd-qr", first.id)
    position = store.journal.changes().position
    assert store.journal.compact()
    changes = store.journal.changes(position)
    assert changes.reset and told(changes.events) == [("made", second.id), ("made", first.id)]
    assert store.list() == [second, first]
