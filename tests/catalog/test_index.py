from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptlib import catalog
from conceptlib.catalog import index, look, records, schema
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store

Family = dict[str, Artifact]


def dump(store: Store) -> dict[str, list[Any]]:
    """Everything that the catalog says, in one order."""
    with index.current(store.layout) as connection:
        return {name: sorted(map(repr, connection.execute(f"FROM {name}").fetchall())) for name in schema.public()}


def test_deleting_the_database_loses_nothing(store: Store, family: Family) -> None:
    before = dump(store)
    store.layout.catalog.unlink()
    assert dump(store) == before
    assert catalog.reindex(store).artifacts == len(family)
    assert dump(store) == before


def test_what_came_went_and_changed_is_followed(store: Store, family: Family, make: Any) -> None:
    assert catalog.refresh(store).added == len(family)
    assert (catalog.refresh(store).added, catalog.refresh(store).removed) == (0, 0)
    text = make("dataset", "icd-text")
    store.rm(family["evaluation"])
    report = catalog.refresh(store)
    assert (report.artifacts, report.added, report.removed) == (len(family), 1, 1)
    assert [entry.name for entry in catalog.ls(store=store)][-1] == "icd-text"
    assert catalog.query("SELECT count(*) FROM scores", store=store).rows == ((0,),)
    manifest = json.loads((text.path / "manifest.json").read_text())
    (text.path / "manifest.json").write_text(json.dumps(manifest | {"info": {"written": 7}}))
    assert catalog.query("SELECT images FROM datasets WHERE name = 'icd-text'", store=store).rows == ((7,),)
    incremental = dump(store)
    catalog.reindex(store)
    assert dump(store) == incremental


def test_an_unchanged_store_is_not_written_to(store: Store, family: Family) -> None:
    catalog.refresh(store)
    before = store.layout.catalog.stat()
    catalog.ls(store=store)
    catalog.show("icd-qr", store=store)
    catalog.query("FROM artifacts", store=store)
    after = store.layout.catalog.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_only_changed_manifests_are_read(
    store: Store, family: Family, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.refresh(store)
    make("dataset", "icd-text")
    read: list[str] = []
    original = records.document_of
    monkeypatch.setattr(records, "document_of", lambda folder, path: read.append(folder) or original(folder, path))
    catalog.refresh(store)
    assert len(read) == 1 and read[0].startswith("artifacts/dataset/icd-text/")


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_a_damaged_database_is_built_again(store: Store, family: Family, content: bytes) -> None:
    store.layout.catalog.write_bytes(content)
    assert len(catalog.ls(store=store)) == len(family)


def test_a_database_of_another_release_is_built_again(
    store: Store, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    catalog.refresh(store)
    monkeypatch.undo()
    assert catalog.refresh(store).added == len(family)
    with duckdb.connect(store.layout.catalog) as connection:
        connection.execute("DROP TABLE catalog_version")
    assert catalog.refresh(store).added == len(family)


def test_an_empty_store_has_an_empty_catalog(store: Store) -> None:
    assert catalog.ls(store=store) == []
    assert catalog.reindex(store).artifacts == 0


@pytest.mark.parametrize("text", ["", "{}", "\x00", '{"schema_version": 99}'])
def test_a_damaged_manifest_is_named_and_hides_no_other(store: Store, family: Family, text: str) -> None:
    (family["plain"].path / "manifest.json").write_text(text)
    report = catalog.refresh(store)
    assert report.artifacts == len(family) - 1
    assert list(report.damaged) == [family["plain"].path.relative_to(store.root).as_posix()]
    assert catalog.refresh(store).damaged == report.damaged
    (family["plain"].path / "manifest.json").unlink()
    assert "no manifest" in next(iter(catalog.refresh(store).damaged.values()))


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"metric": "x"}]', '[{"subject": "a", "metric": "b", "value": "c"}]']
)
def test_damaged_scores_are_named_and_the_evaluation_stays(store: Store, make: Any, text: str) -> None:
    evaluation = make("evaluation", "x/icd", files={"scores.json": text.encode()})
    report = catalog.refresh(store)
    assert "scores.json cannot be read" in report.damaged[evaluation.path.relative_to(store.root).as_posix()]
    assert [entry.id for entry in catalog.ls(store=store)] == [evaluation.id]
    assert catalog.query("FROM scores", store=store).rows == ()


def test_scores_are_flat_and_keep_what_has_no_column(store: Store, make: Any) -> None:
    rows = [
        {
            "subject": "checkpoint",
            "metric": "kid",
            "value": float("nan"),
            "low": None,
            "n": 5,
            "features": {"layer": 3},
        },
        {"subject": "base", "metric": "kid", "value": 1},
    ]
    make("evaluation", "x/icd", files={"scores.json": json.dumps(rows).encode()})
    found = catalog.query(
        "SELECT subject, metric, value, low, high, n, extra FROM scores ORDER BY subject", store=store
    )
    assert found.rows == (
        ("base", "kid", 1.0, None, None, None, {}),
        ("checkpoint", "kid", None, None, None, 5, {"features": {"layer": 3}}),
    )


def test_the_same_content_under_two_names_is_two_entries(store: Store, make: Any) -> None:
    one, two = (make("dataset", name, files={"x": b"1"}) for name in ("one", "two"))
    make("annotations", "truth", parents={"dataset": one})
    assert [(entry.name, entry.id) for entry in catalog.ls("dataset", store=store)] == [
        ("one", one.id),
        ("two", one.id),
    ]
    store.rm(one.path)
    assert [entry.name for entry in catalog.ls("dataset", store=store)] == ["two"]
    assert [relative.name for relative in catalog.show("truth", store=store).ancestors] == ["two"]
    assert two.id == one.id


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=6)
@given(st.dictionaries(st.sampled_from(["spec", "written", "concepts", "rejected", "labels"]), values))
def test_any_lock_and_info_can_be_indexed(document: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a store an example: the same document twice would be found done
        store = Store(folder)
        with store.draft("dataset", "any", lock=document) as draft:
            (draft.path / "x").write_text("x")
            artifact = draft.commit(info=document)
        assert catalog.refresh(store).damaged == {}
        catalog.query("FROM datasets", store=store)
        assert catalog.query("SELECT info FROM artifacts", store=store).rows == ((artifact.info,),)


def test_many_artifacts_go_in_in_batches(store: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        make("dataset", f"n{number}")
    monkeypatch.setattr(index, "_BATCH", 2)
    heard: list[tuple[str, int, int]] = []
    assert catalog.reindex(store, progress=lambda *step: heard.append(step)).artifacts == 5
    assert heard == [("index", 2, 5), ("index", 4, 5), ("index", 5, 5)]


def test_what_a_killed_process_left_is_removed(store: Store, family: Family) -> None:
    left = store.root / ".catalog.duckdb.0123abcd.tmp"
    left.mkdir()
    (left / "catalog.duckdb").write_bytes(b"half")
    catalog.refresh(store)
    assert not left.exists()


def test_a_name_means_what_was_made_or_found_last(store: Store, make: Any) -> None:
    one, two = (make("dataset", "d", lock={"run": run}) for run in range(2))
    assert [(entry.id, entry.newest) for entry in catalog.ls(store=store)] == [(one.id, False), (two.id, True)]
    with store.draft("dataset", "d", lock={"run": 0}) as draft:
        assert draft.done
    listed = [(entry.id, entry.newest) for entry in catalog.ls(store=store)]
    assert listed == [(two.id, False), (one.id, True)]
    assert store.get("d").id == one.id
    store.journal.path.unlink()  # made anew from the manifests
    assert [one.id for one in catalog.ls(store=store)] == [one.id for one in store.list()]
    catalog.reindex(store)
    assert [one.id for one in catalog.ls(store=store)] == [one.id for one in store.list()]


def test_a_large_store_is_not_looked_through(
    store: Store, family: Family, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only places that changed are listed; what is damaged is looked at again."""
    monkeypatch.setattr(look, "SMALL", 0)
    for place in (store.root / "artifacts").glob("*/*"):
        os.utime(place, (1, 1))
    catalog.refresh(store)
    listed: list[str] = []
    real = look.scan
    monkeypatch.setattr(look, "scan", lambda layout, kind, name: listed.append(name) or real(layout, kind, name))
    assert catalog.refresh(store).added == 0
    assert listed == []
    make("dataset", "icd-text")
    assert catalog.refresh(store).added == 1
    assert set(listed) == {"icd-text"}
    shutil.rmtree(family["evaluation"].path)
    assert catalog.refresh(store).removed == 1
    assert catalog.query("SELECT count(*) FROM scores", store=store).rows == ((0,),)


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _duckdb_full(*_: Any, **__: Any) -> None:
    raise duckdb.IOException("IO Error: Could not write file: No space left on device")


def _read_only(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.parametrize(
    ("where", "fails", "says"),
    [
        ("shutil.copyfile", _full, "the disk is full"),
        ("fsync", _full, "the disk is full"),
        ("_write", _duckdb_full, "the disk is full"),
        ("os.replace", _full, "the disk is full"),
        ("FileLock", _read_only, "Read-only file system"),
    ],
)
@pytest.mark.parametrize("first", ["stale", "none"])
def test_a_store_that_cannot_be_written_to_still_answers(
    store: Store, family: Family, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    where: str, fails: Any, says: str, first: str,
) -> None:  # fmt: skip
    if first == "stale":
        catalog.refresh(store)
        store.rm(family["evaluation"])
    elif where == "shutil.copyfile":
        where = "fsync"  # nothing is copied then
    make("dataset", "icd-text")
    expected = {one.id for one in store.list()}
    real, calls = index._write, []

    def once(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        return fails() if len(calls) == 1 else real(*args, **kwargs)

    target: Any = index
    for part in where.split(".")[:-1]:
        target = getattr(target, part)
    monkeypatch.setattr(target, where.split(".")[-1], once if where == "_write" else fails)
    before = store.layout.catalog.read_bytes() if first == "stale" else None
    assert {one.id for one in catalog.ls(store=store)} == expected
    assert says in caplog.text and "in memory" in caplog.text
    if where != "_write":
        assert catalog.query("SELECT count(*) FROM artifacts", store=store).rows == ((len(expected),),)
        with pytest.raises(ConceptlibError):
            catalog.query("FROM read_text('/etc/hostname')", store=store)
    assert [path.name for path in store.root.glob(".catalog*")] == []
    assert (store.layout.catalog.read_bytes() if store.layout.catalog.exists() else None) == before


def test_duckdb_draws_no_bar(store: Store, family: Family) -> None:
    catalog.refresh(store)
    rows = catalog.query("SELECT current_setting('enable_progress_bar')", store=store).rows
    assert rows == ((False,),)


@contextmanager
def holding(store: Store, *, read_only: bool) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open until it is told to end (`communicate`)."""
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == '1'); print('open', flush=True)"
    )
    command = [sys.executable, "-c", f"{script}; sys.stdin.read()", str(store.layout.catalog), str(int(read_only))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        yield process


def test_a_reader_elsewhere_does_not_stop_an_update(store: Store, family: Family, make: Any) -> None:
    catalog.refresh(store)
    with holding(store, read_only=True) as reader:
        make("dataset", "icd-text")
        assert catalog.refresh(store).artifacts == len(family) + 1
        assert len(catalog.ls(store=store)) == len(family) + 1
        reader.communicate()


def test_a_writer_elsewhere_is_waited_for_and_then_named(
    store: Store, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.refresh(store)
    monkeypatch.setattr(index, "PATIENCE", 0.2)
    with holding(store, read_only=False) as writer:
        with pytest.raises(ConceptlibError, match="locked by another program") as caught:
            catalog.ls(store=store)
        assert caught.value.where == str(store.layout.catalog)
        writer.communicate()
    assert len(catalog.ls(store=store)) == len(family)


SCRIPT = """
import sys
from conceptlib import catalog
from conceptlib.store import Store

store = Store()
for number in range(6):
    with store.draft("dataset", f"{sys.argv[1]}-{number}", lock={}) as draft:
        (draft.path / "x").write_text(f"{sys.argv[1]} {number}")
        draft.commit()
    names = {entry.name for entry in catalog.ls(store=store)}
    assert {f"{sys.argv[1]}-{one}" for one in range(number + 1)} <= names, names
    if number == 3:
        catalog.reindex(store)
"""


def test_two_processes_write_and_read_at_once(store: Store) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [subprocess.Popen([sys.executable, "-c", SCRIPT, name], env=environment) for name in ("a", "b")]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert catalog.refresh(store).added == 0
    assert len(catalog.ls(store=store)) == 12
    assert sorted(path.name for path in store.root.iterdir()) == [
        "artifacts",
        "catalog.duckdb",
        "journal.jsonl",
        "keys",
        "locks",
        "staging",
    ]
