from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conceptlib.store import Store


@pytest.fixture
def draft(store: Store) -> Path:
    """The staging folder of an interrupted draft of 1000 bytes, ten days old."""
    with store.draft("dataset", "icd-qr", lock={"a": 1}) as draft:
        (draft.path / "shard-0").write_bytes(b"0" * 1000)
    staging = draft.path.parent
    old = time.time() - 10 * 24 * 3600
    for path in [staging, *staging.rglob("*")]:
        os.utime(path, (old, old))
    return staging


def test_old_drafts_go_and_say_what_they_were(store: Store, draft: Path) -> None:
    plan = store.gc(dry_run=True)
    assert draft.exists() and plan.dry_run
    report = store.gc()
    assert not draft.exists()
    assert plan.removed[0].path == report.removed[0].path == draft
    assert report.removed[0].what == "draft of dataset icd-qr" and report.removed[0].age > 9 * 24 * 3600
    assert report.freed == plan.freed > 1000
    assert store.gc().removed == ()


def test_young_drafts_stay(store: Store, draft: Path) -> None:
    (draft / "files" / "shard-1").write_bytes(b"1")  # somebody went on with it just now
    assert [one.path for one in store.gc().kept] == [draft]
    assert store.gc(older_than=timedelta(0)).freed > 1000
    assert not draft.exists()


def test_a_draft_in_use_stays_however_old(store: Store, draft: Path) -> None:
    with store.draft("dataset", "icd-qr", lock={"a": 1}) as held:
        report = store.gc(older_than=timedelta(0))
        assert report.removed == () and [one.path for one in report.kept] == [draft]
        assert held.commit().files[0].size == 1000


def test_artifacts_are_never_touched(store: Store, make: Any) -> None:
    artifact = make()
    assert store.gc(older_than=timedelta(0)).removed == ()
    assert store.verify() == [] and store.get(artifact.id) == artifact


def test_records_of_keys_go_with_their_artifact(store: Store, make: Any) -> None:
    artifact = make()
    store.rm(artifact)
    record = store.layout.key_file(artifact.key)
    assert record.exists()
    assert [one.path for one in store.gc(dry_run=True).removed] == [record] and record.exists()
    store.gc()
    assert not record.exists()


def test_folders_of_unknown_origin_are_described(store: Store) -> None:
    stray = store.root / "staging" / ("0" * 64)
    stray.mkdir(parents=True)
    assert [one.what for one in store.gc(older_than=timedelta(0)).removed] == ["draft"]
    assert not stray.exists()


def dead() -> int:
    """The id of a process that has ended."""
    import subprocess
    import sys

    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


PLACES = ["", "keys", "tags/dataset/icd-qr", "found/dataset/icd-qr", "publications"]


@pytest.mark.parametrize("place", PLACES)
def test_half_written_files_of_dead_processes_go(store: Store, make: Any, place: str) -> None:
    make()
    left = store.root / place / f".0123abcd-{dead()}.tmp"
    left.mkdir(parents=True)
    (left / "x.json").write_bytes(b"0" * 100)
    assert [one.path for one in store.gc(dry_run=True).removed] == [left] and left.exists()
    report = store.gc()
    assert [(one.what, one.size) for one in report.removed] == [("half-written file", 100)] and not left.exists()


@pytest.mark.parametrize("place", PLACES)
def test_half_written_files_of_the_living_stay_for_an_hour(store: Store, make: Any, place: str) -> None:
    make()
    mine = store.root / place / f".0123abcd-{os.getpid()}.tmp"
    mine.mkdir(parents=True)
    assert store.gc(older_than=timedelta(0)).removed == () and mine.exists()
    os.utime(mine, (1e9, 1e9))
    assert [one.path for one in store.gc().removed] == [mine]


def test_a_copy_of_the_catalog_goes_unless_somebody_writes_it(store: Store, make: Any) -> None:
    from filelock import FileLock

    make()
    left = store.root / ".catalog.duckdb.0123abcd.tmp"
    left.mkdir()
    with FileLock(store.layout.lock_file("catalog")):
        assert store.gc(older_than=timedelta(0)).removed == ()
    assert [one.path for one in store.gc(older_than=timedelta(0)).removed] == [left] and not left.exists()


def test_what_stands_for_nothing_goes(store: Store, make: Any) -> None:
    artifact = make()
    note = store.root / "found" / "dataset" / "icd-qr" / f"{artifact.id}.json"
    note.parent.mkdir(parents=True)
    note.write_text("{}")
    assert store.gc(older_than=timedelta(0)).removed == ()
    store.rm(artifact)
    store.gc(older_than=timedelta(0))
    assert not note.exists() and not artifact.path.parent.exists()


def test_a_dry_run_writes_nothing(store: Store, draft: Path, make: Any) -> None:
    artifact = make(files={"x": b"1"})
    make(files={"x": b"2"})
    store.rm(artifact)
    for path in (store.root / "locks").iterdir():
        path.unlink()

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}

    before = state()
    assert len(store.gc(dry_run=True, older_than=timedelta(0)).removed) == 2
    assert state() == before


def test_many_at_once_remove_each_thing_and_raise_nothing(store: Store, make: Any) -> None:
    """gc beside gc, rm and verify: what one removed, the other does not miss."""
    from concurrent.futures import ThreadPoolExecutor

    def round_(number: int) -> None:
        artifacts = [make(name=f"n{number}-{index}", files={"x": bytes([number, index])}) for index in range(4)]
        with store.draft("dataset", f"half-{number}", lock={}) as draft:
            (draft.path / "x").write_bytes(b"1")
        for artifact in artifacts:
            store.rm(artifact)
            store.gc(older_than=timedelta(0))
            assert store.verify() == []

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(round_, range(4)))
    store.gc(older_than=timedelta(0))
    assert list((store.root / "staging").iterdir()) == [] and store.list() == []


def test_a_key_whose_artifact_cannot_be_seen_is_kept(store: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = make()
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if os.fspath(path) == str(artifact.path.parent):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert store.gc(older_than=timedelta(0)).removed == ()
    assert store.layout.key_file(artifact.key).exists()


def test_what_is_there_is_found_in_a_store_that_cannot_be_written_to(
    store: Store, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    from conceptlib.errors import ConceptlibError

    first, _ = make(files={"x": b"1"}), make(files={"x": b"2"})

    def refused(*args: Any, **options: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", refused)
    assert make(files={"x": b"1"}) == first
    assert store.gc(dry_run=True, older_than=timedelta(0)).removed == ()
    with pytest.raises(OSError, match="Read-only"):
        make(files={"x": b"3"})
    monkeypatch.setattr(FileLock, "acquire", lambda *args, **options: (_ for _ in ()).throw(OSError(28, "full")))
    assert make(files={"x": b"1"}) == first
    with pytest.raises(ConceptlibError, match="the disk is full"):
        make(files={"x": b"3"})
