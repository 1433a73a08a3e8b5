"""Removing a parent, while children are there, in the making, unreadable, or come at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, NotFound, Store


@pytest.fixture
def parent(make: Any) -> Artifact:
    made: Artifact = make()
    return made


def given(parent: Artifact, form: str) -> Artifact | str:
    return parent if form == "artifact" else parent.id


def test_a_draft_counts_as_a_child(store: Store, parent: Artifact) -> None:
    with store.draft("annotations", "zxing", lock={}, parents={"dataset": parent}) as draft:
        with pytest.raises(ConceptlibError, match="annotations zxing is being made from dataset icd-qr") as caught:
            store.rm(parent)
        assert "gc --days 0" in caught.value.hint
        (draft.path / "a").write_bytes(b"1")
    with pytest.raises(ConceptlibError, match="is being made"):  # stopped: the same command would resume it
        store.rm(parent)
    store.gc(older_than=timedelta(0))
    assert store.rm(parent) == parent


@pytest.mark.parametrize("form", ["artifact", "id"])
def test_a_commit_without_its_parent_is_refused_and_resumes(
    store: Store, parent: Artifact, make: Any, form: str
) -> None:
    def child() -> Artifact:
        with store.draft("annotations", "zxing", lock={}, parents={"dataset": given(parent, form)}) as draft:
            (draft.path / "a").write_bytes(b"1")
            note.unlink(missing_ok=True)  # as if `rm` had looked before the draft was there
            if parent.path.exists():
                store.rm(parent)
                note.parent.mkdir(exist_ok=True)
            return draft.commit()

    draft = store.draft("annotations", "zxing", lock={}, parents={"dataset": parent})
    note = store.layout.staging_note(draft.key)
    with pytest.raises(ConceptlibError, match=f"the dataset {parent.id}.*was removed from the store"):
        child()
    assert store.list() == [] and store.verify() == []
    with pytest.raises(ConceptlibError, match="was removed"):
        child()
    make()
    with store.draft("annotations", "zxing", lock={}, parents={"dataset": given(parent, form)}) as draft:
        assert (draft.path / "a").read_bytes() == b"1"
        assert draft.commit().parents == {"dataset": parent.id}


def test_a_parent_that_lies_elsewhere_need_not_stand_here(
    store: Store, parent: Artifact, make: Any, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(parent.path, tmp_path / "published")
    store.rm(parent)
    elsewhere = store.get(tmp_path / "published")
    assert make("annotations", "zxing", {"a": b"1"}, parents={"dataset": elsewhere}).parents == {"dataset": parent.id}
    assert make("annotations", "other", {"a": b"2"}, parents={"dataset": "0" * 16})  # never heard of


@pytest.mark.parametrize("form", ["artifact", "id"])
def test_rm_beside_commits_leaves_no_orphan(store: Store, make: Any, form: str) -> None:
    """Many times: a child is committed while its parent is removed. One of both gives way."""
    kept = 0
    for round_ in range(25):
        parent = make(files={"x": bytes([round_])})
        start = threading.Barrier(2)

        def commit(parent: Artifact = parent, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                make("annotations", "zxing", {"a": b"1"}, parents={"dataset": given(parent, form)})
            except ConceptlibError as error:
                assert "was removed" in error.what

        thread = threading.Thread(target=commit)
        thread.start()
        start.wait()
        try:
            store.rm(parent)
        except ConceptlibError as error:
            assert "made from" in error.what
            kept += 1
        thread.join()
        ids = {one.id for one in store.list()}
        orphans = [one for one in store.list() if not set(one.parents.values()) <= ids]
        assert orphans == []
        store.gc(older_than=timedelta(0))
    assert 0 <= kept <= 25


SCRIPT = """
import sys
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store

store = Store()
for number in range(12):
    try:
        parent = store.get("d")
        with store.draft("annotations", f"t-{sys.argv[1]}-{number}", lock={}, parents={"dataset": parent}) as draft:
            (draft.path / "a").write_text(str(number))
            draft.commit()
    except ConceptlibError:
        pass
"""


def test_rm_beside_commits_of_other_processes_leaves_no_orphan(store: Store, make: Any) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    make(name="d")
    children = [subprocess.Popen([sys.executable, "-c", SCRIPT, name], env=environment) for name in ("a", "b")]
    while any(child.poll() is None for child in children):
        try:
            store.rm("d")
        except ConceptlibError:
            for one in store.list("annotations"):
                store.rm(one)
        make(name="d")
    assert [child.returncode for child in children] == [0, 0]
    ids = {one.id for one in store.list()}
    assert [one for one in store.list() if not set(one.parents.values()) <= ids] == [] and store.verify() == []


def test_a_child_whose_manifest_cannot_be_read_keeps_its_parent_and_its_record(
    store: Store, parent: Artifact, make: Any
) -> None:
    child = make("annotations", "zxing", {"a": b"1"}, parents={"dataset": parent})
    path = child.path / "manifest.json"
    good = path.read_bytes()
    path.write_bytes(good[:50])
    for _ in range(2):
        with pytest.raises(ConceptlibError, match=f"zxing.{child.id}"):
            store.rm(parent)
        assert store.gc(older_than=timedelta(0)).removed == ()
        store.journal.path.unlink(missing_ok=True)  # what the journal does not know blocks as well, with its name
    path.write_bytes(good)
    assert store.rm(child) == child and store.rm(parent) == parent


def test_a_folder_that_nobody_may_look_into_keeps_what_may_be_its_parent(
    store: Store, parent: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = store.root / "artifacts" / "annotations" / "secret"
    secret.mkdir(parents=True)
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if os.fspath(path) == str(secret):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ConceptlibError, match="artifacts/annotations/secret cannot be read"):
        store.rm(parent)
    assert [(one.what, one.path) for one in store.verify()] == [("unreadable", secret)]
    assert store.list() == [parent] and store.gc(older_than=timedelta(0)).removed == ()


def test_what_was_removed_meanwhile_is_not_found(store: Store, parent: Artifact) -> None:
    store.rm(parent)
    with pytest.raises(NotFound, match="was removed meanwhile"):
        store.rm(parent)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"history": 3}', '{"history": [{"id": "x", "at": "y"}]}', "[" * 5000])
def test_a_damaged_tag_of_the_name_blocks_with_its_path_and_others_do_not(
    store: Store, parent: Artifact, make: Any, text: str
) -> None:
    other = make(name="other")
    path = store.layout.tag_file("dataset", "icd-qr", "v1")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (store.root / "tags" / "dataset" / "b c").mkdir()
    (store.root / "tags" / "dataset" / "b c" / "v1.json").write_text("{}")
    (path.parent / "cafe.json").write_text("{}")  # no name for a tag
    assert store.tags() == []
    assert store.rm(other) == other
    with pytest.raises(ConceptlibError, match="cannot be read") as caught:
        store.rm(parent)
    assert caught.value.where in {str(path), str(path.parent / "cafe.json")}


def test_what_is_removed_this_moment_gets_no_tag(store: Store, parent: Artifact) -> None:
    store.rm(parent)
    with pytest.raises(NotFound, match="removed meanwhile"):
        store.tag(parent, "v1")
    assert store.tags() == []


def test_a_dry_run_writes_nothing(store: Store, parent: Artifact) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    store.rm(parent, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
