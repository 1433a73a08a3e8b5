from __future__ import annotations

import errno
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.store import Store
from conceptlib.store.hashing import artifact_id, artifact_key, digest, sha256_bytes
from tests.test_processes import wait_for


def test_an_artifact_is_a_folder_with_its_manifest(store: Store, make: Any) -> None:
    artifact = make(info={"images": 2, "device": "cpu"}, lock={"rows": 2})
    assert artifact.path == store.root / "artifacts" / "dataset" / "icd-qr" / artifact.id
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert manifest["files"] == [
        {"path": "data/a.bin", "sha256": sha256_bytes(b"aaa"), "size": 3, "volatile": False},
        {"path": "data/b.bin", "sha256": sha256_bytes(b"bbb"), "size": 3, "volatile": False},
    ]
    assert manifest["content"] == digest({"data/a.bin": sha256_bytes(b"aaa"), "data/b.bin": sha256_bytes(b"bbb")})
    assert artifact.id == artifact_id("dataset", manifest["content"], {})
    assert artifact.key == artifact_key("dataset", "icd-qr", {"rows": 2}, {})
    assert (artifact.lock, artifact.info, artifact.parents) == ({"rows": 2}, {"images": 2, "device": "cpu"}, {})
    assert artifact.environment["device"] == "cpu" and artifact.environment["packages"]["numpy"]
    assert datetime.fromisoformat(artifact.created).tzinfo == UTC
    assert artifact.seconds >= 0 and artifact.size == 6
    assert list((store.root / "staging").iterdir()) == []


def test_the_same_lock_is_found_done(store: Store, make: Any) -> None:
    artifact = make(lock={"rows": 2})
    with store.draft("dataset", "icd-qr", lock={"rows": 2}) as draft:
        assert draft.done == artifact
        assert not draft.path.exists()
        with pytest.raises(ConceptlibError, match="not open"):
            draft.commit()


@pytest.mark.parametrize(
    ("kind", "name", "lock", "parents"),
    [
        ("images", "icd-qr", {"rows": 2}, {}),
        ("dataset", "icd-text", {"rows": 2}, {}),
        ("dataset", "icd-qr", {"rows": 3}, {}),
        ("dataset", "icd-qr", {"rows": 2}, {"of": "0" * 16}),
    ],
)
def test_anything_else_asked_for_is_not_done(
    store: Store, make: Any, kind: str, name: str, lock: Any, parents: Any
) -> None:
    make(lock={"rows": 2})
    with store.draft(kind, name, lock=lock, parents=parents) as draft:
        assert draft.done is None


def test_parents_may_be_artifacts(store: Store, make: Any) -> None:
    parent = make()
    child = make("annotations", "truth", {"x": b"1"}, parents={"dataset": parent})
    assert child.parents == {"dataset": parent.id}
    assert make("annotations", "truth", {"x": b"1"}, parents={"dataset": parent.id}) == child


@pytest.mark.parametrize("parent", ["abc", "../../../x", "", None, 7, "G" * 16])
def test_parents_must_be_ids(store: Store, parent: Any) -> None:
    with pytest.raises(ConceptlibError, match="not an artifact's id"):
        store.draft("annotations", "truth", lock={}, parents={"dataset": parent})


def test_equal_content_by_another_way_keeps_the_first_and_is_found_by_both(store: Store, make: Any) -> None:
    first = make(files={"x": b"1"}, lock={"workers": "one"})
    before = (first.path / "manifest.json").read_bytes()
    second = make(files={"x": b"1"}, lock={"way": "another"})
    assert second == first and (first.path / "manifest.json").read_bytes() == before
    for lock in ({"workers": "one"}, {"way": "another"}):
        with store.draft("dataset", "icd-qr", lock=lock) as draft:
            assert draft.done == first
    assert list((store.root / "staging").iterdir()) == []


def test_a_folder_in_the_way_without_a_manifest_is_set_aside(store: Store, make: Any) -> None:
    first = make(lock={"a": 1})
    (first.path / "manifest.json").write_text("{broken")
    again = make(lock={"a": 1})
    assert again.id == first.id and store.verify() == []
    report = store.gc()
    assert [one.what for one in report.removed] == ["removed artifact"]


def test_volatile_files_are_kept_but_do_not_decide_the_id(store: Store, make: Any) -> None:
    first = make(
        files={"x": b"1", "log.jsonl": b"12:00", "sub/t.log": b"1"}, lock={"a": 1}, volatile=("log.jsonl", "*.log")
    )
    second = make(
        files={"x": b"1", "log.jsonl": b"13:00", "sub/t.log": b"2"}, lock={"a": 2}, volatile=("log.jsonl", "*.log")
    )
    assert first.id == second.id
    assert [entry.path for entry in first.files if entry.volatile] == ["log.jsonl", "sub/t.log"]
    assert (
        make(files={"x": b"1", "log.jsonl": b"14:00", "sub/t.log": b"2"}, lock={"a": 3}, volatile=("log.jsonl",)).id
        != first.id
    )


def test_the_producer_may_say_what_the_content_is(make: Any) -> None:
    first = make(files={"x.parquet": b"written by 1"}, lock={"a": 1}, content="c" * 64)
    second = make(files={"x.parquet": b"written by 2"}, lock={"a": 2}, content="c" * 64)
    assert first.id == second.id == artifact_id("dataset", "c" * 64, {})


def test_an_interrupted_draft_goes_on_where_it_was(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.draft("dataset", "icd-qr", lock={}) as draft:
        (draft.path / "shard-0").write_bytes(b"0")
        (draft.path / "shard-1.tmp").write_bytes(b"ha")
        raise KeyboardInterrupt
    assert store.list() == []
    with store.draft("dataset", "icd-qr", lock={}) as draft:
        assert (draft.path / "shard-0").read_bytes() == b"0"
        (draft.path / "shard-1").write_bytes(b"1")
        artifact = draft.commit()
    assert [entry.path for entry in artifact.files] == ["shard-0", "shard-1"]
    assert store.verify() == []


def test_time_adds_up_over_attempts(store: Store) -> None:
    with store.draft("dataset", "icd-qr", lock={}) as draft:
        (draft.path / "x").write_bytes(b"0")
    note = store.layout.staging_note(draft.key)
    note.write_text(json.dumps(json.loads(note.read_text()) | {"seconds": 1000.0}))
    with store.draft("dataset", "icd-qr", lock={}) as draft:
        assert draft.commit().seconds >= 1000.0


@pytest.mark.parametrize("note", ["", "[]", '{"seconds": "x"}'])
def test_a_damaged_note_does_not_stop_the_work(store: Store, note: str) -> None:
    with store.draft("dataset", "icd-qr", lock={}) as draft:
        (draft.path / "x").write_bytes(b"0")
    store.layout.staging_note(draft.key).write_text(note)
    with store.draft("dataset", "icd-qr", lock={}) as draft:
        assert draft.commit().id


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "dataset", "name": "../..", "id": "x"}'])
def test_a_damaged_record_of_a_key_means_doing_it_again(store: Store, make: Any, content: str) -> None:
    artifact = make(lock={"a": 1})
    store.layout.key_file(artifact.key).write_text(content)
    with store.draft("dataset", "icd-qr", lock={"a": 1}) as draft:
        assert draft.done is None
    assert make(lock={"a": 1}) == artifact
    with store.draft("dataset", "icd-qr", lock={"a": 1}) as draft:
        assert draft.done == artifact


def test_a_full_disk_is_said_and_the_work_kept(store: Store) -> None:
    with (
        pytest.raises(ConceptlibError, match="disk is full") as caught,
        store.draft("dataset", "icd-qr", lock={}) as draft,
    ):
        (draft.path / "shard-0").write_bytes(b"0")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "conceptlib gc" in caught.value.hint
    assert (draft.path / "shard-0").exists()
    with store.draft("dataset", "icd-qr", lock={}) as draft:
        assert (draft.path / "shard-0").exists()


def test_a_full_disk_while_committing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(ConceptlibError, match="disk is full"), store.draft("dataset", "icd-qr", lock={}) as draft:
        (draft.path / "shard-0").write_bytes(b"0")
        monkeypatch.setattr("conceptlib.store.files.atomic_write", full)
        draft.commit()
    monkeypatch.undo()
    assert store.list() == [] and (draft.path / "shard-0").exists()


def test_other_errors_pass_through_and_free_the_lock(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(PermissionError), store.draft("dataset", "icd-qr", lock={}):
            raise PermissionError(errno.EACCES, "no")


def test_nothing_written_is_an_error(store: Store) -> None:
    with pytest.raises(ConceptlibError, match="has no files"), store.draft("dataset", "icd-qr", lock={}) as draft:
        draft.commit()


def test_a_link_is_no_content(store: Store, tmp_path: Path) -> None:
    with (
        pytest.raises(ConceptlibError, match="neither a file nor a folder"),
        store.draft("dataset", "x", lock={}) as draft,
    ):
        (draft.path / "link").symlink_to(tmp_path)
        draft.commit()


def test_commit_happens_once_and_inside_the_block(store: Store) -> None:
    with store.draft("dataset", "x", lock={}) as draft:
        (draft.path / "x").write_bytes(b"0")
        draft.commit()
        with pytest.raises(ConceptlibError, match="not open"):
            draft.commit()
    outside = store.draft("dataset", "y", lock={})
    with pytest.raises(ConceptlibError, match="not open"):
        outside.commit()


def test_tokens_never_reach_the_disk(store: Store) -> None:
    token = "hf_" + "a1B2" * 8
    with pytest.raises(ConceptlibError) as caught:
        store.draft("dataset", "x", lock={"params": {"token": token}})
    assert caught.value.where == "lock.params.token" and token not in str(caught.value)
    with pytest.raises(ConceptlibError) as caught, store.draft("dataset", "x", lock={}) as draft:
        (draft.path / "x").write_bytes(b"0")
        draft.commit(info={"url": token})
    assert caught.value.where == "info.url"
    assert not any(token in path.read_text(errors="replace") for path in store.root.rglob("*") if path.is_file())


def test_a_lock_that_is_no_json_is_refused_at_once(store: Store) -> None:
    with pytest.raises(ConceptlibError, match="no canonical form"):
        store.draft("dataset", "x", lock={"a": object()})
    with pytest.raises(ConceptlibError, match="unknown kind"):
        store.draft("model", "x", lock={})
    with pytest.raises(ConceptlibError, match="not a name"):
        store.draft("dataset", "../x", lock={})
    assert not (store.root / "staging").exists()


file_names = st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?", fullmatch=True)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(file_names, st.binary(max_size=20), min_size=1, max_size=4),
    st.dictionaries(file_names, st.binary(max_size=20), min_size=1, max_size=4),
)
def test_ids_agree_exactly_when_the_files_do(make: Any, a: dict[str, bytes], b: dict[str, bytes]) -> None:
    for files in (a, b):
        for path in list(files):
            if any(other.startswith(path + "/") for other in files):
                del files[path]  # a file and a folder cannot share a name
    first, second = (make("images", "x", files) for files in (a, b))
    assert (first.id == second.id) == (a == b)
    assert {entry.path: (first.path / entry.path).read_bytes() for entry in first.files} == a


def test_whoever_waits_for_another_process_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a second thread: a lock of its own, as another process has it."""
    monkeypatch.setattr("conceptlib.store.draft.PATIENCE", 0.01)
    entered = threading.Event()

    def second() -> None:
        with store.draft("dataset", "slow", lock={"a": 1}, parents={}):
            entered.set()

    thread = threading.Thread(target=second)
    with store.draft("dataset", "slow", lock={"a": 1}, parents={}):
        assert not caplog.records, "the first waits for nobody"
        thread.start()
        wait_for(lambda: caplog.records)
        assert not entered.is_set()
    thread.join()
    assert entered.is_set()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "another process is making dataset slow" in record.getMessage()
