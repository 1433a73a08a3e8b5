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
