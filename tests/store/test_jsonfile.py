"""Whatever stands in a JSON file is a value that we can work with, or one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import canonical_json
from conceptlib.store.jsonfile import MAX_DEPTH, loads

ODD = {
    "nothing": b"",
    "no JSON": b"{",
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": [-Infinity]}',
    "a number that overflows": b'{"a": 1e999}',
    "thousands of digits": b'{"a": ' + b"9" * 5000 + b"}",
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a surrogate pair as a key": b'{"\\udfff": 1}',
    "a surrogate in bytes": b'{"a": "\xed\xa0\x80"}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "101 lists": b"[" * 101 + b"]" * 101,
    "101 mappings": b'{"a":' * 101 + b"1" + b"}" * 101,
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 lists, open": b"[" * 100_000,
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_what_is_no_value_of_ours_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        loads(data)


@pytest.mark.parametrize(
    "value", [None, [], {}, {"a": [1.5, True, "é \U0001f600 \0"]}, [[]] * 200, "[" * 200, {"x": {"[": 1}}]
)
def test_what_json_can_say_is_read(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == loads(json.dumps(value, ensure_ascii=False).encode()) == value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_committed_can_be_read_again(store: Store, make: Any) -> None:
    deep = {"a": nested(MAX_DEPTH - 2)}  # the manifest and the lock are two more
    assert make(lock=deep).lock == deep and make(files={"x": b"1"}, info=deep).info == deep
    assert len(store.list()) == 2
    for levels in (MAX_DEPTH - 1, 100_000):
        with pytest.raises(ConceptlibError, match=r"too (deep|many levels)"):
            make(lock={"a": nested(levels)})
    with pytest.raises(ConceptlibError, match="too many levels"):
        canonical_json(nested(100_000))


@pytest.mark.parametrize("odd", ["no JSON", "NaN", "half a surrogate pair", "thousands of digits", "100,000 lists"])
@pytest.mark.parametrize("where", ["manifest", "lock", "key", "tag", "note", "found"])
def test_one_odd_file_stops_nothing(store: Store, make: Any, where: str, odd: str) -> None:
    """Lists, tags, removals, verification and gc go on; what is odd is named where it matters."""
    data = ODD[odd]
    good, bad = make(files={"x": b"good"}, name="good"), make(files={"x": b"bad"}, name="bad")
    other: Artifact = make(files={"x": b"other"}, name="other")
    with store.draft("dataset", "half", lock={}) as draft:
        (draft.path / "x").write_bytes(b"1")
    path = {
        "manifest": bad.path / "manifest.json",
        "lock": bad.path / "manifest.json",
        "key": store.layout.key_file(bad.key),
        "tag": store.root / "tags" / "dataset" / "bad" / "v1.json",
        "note": store.layout.staging_note(draft.key),
        "found": store.root / "found" / "dataset" / "bad" / f"{bad.id}.json",
    }[where]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_bytes() if where == "lock" else b""
    path.write_bytes(text.replace(b'"lock": {', b'"lock": {"odd": ' + data + b", ", 1) if where == "lock" else data)
    expected = [good, other] if where in ("manifest", "lock") else [good, bad, other]
    for _ in range(2):  # with the journal, and when it has to be made again
        assert store.list() == expected
        assert {problem.what for problem in store.verify()} == (
            {"manifest"} if where in ("manifest", "lock") else set()
        )
        assert store.tag(good, "v1").id == good.id and store.get("good@v1") == good
        store.untag("good@v1")
        store.gc(dry_run=True)
        store.journal.path.unlink()
    if where not in ("manifest", "lock"):  # else it may have been made from `other`
        assert store.rm(other) == other
    store.gc()
    assert make(files={"x": b"bad"}, name="bad") == bad and store.verify() == []


PATHS = [
    "../up", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "", "..", "a\\b", "..\\b", "C:/x", "c:x", "a\nb", "a\0b",
    "a\x1bb", "\u202eb", "manifest.json", "Manifest.JSON", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_none_inside_the_artifact_damages_the_manifest(
    store: Store, make: Any, tmp_path: Path, path: str
) -> None:
    manifest = make().path / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["files"][0]["path"] = path
    manifest.write_text(json.dumps(raw))
    with pytest.raises(ConceptlibError, match="the manifest is damaged"):
        Artifact.open(manifest.parent)
    assert store.list() == [] and [one.what for one in store.verify()] == ["manifest"]


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_link_that_leads_out_damages_the_manifest(store: Store, make: Any, tmp_path: Path, form: str) -> None:
    artifact = make()
    (tmp_path / "a.bin").write_bytes(b"aaa")
    (tmp_path / "b.bin").write_bytes(b"bbb")
    inside = artifact.path / "data" if form == "folder" else artifact.path / "data" / "a.bin"
    inside.rename(tmp_path / "was")
    inside.symlink_to(tmp_path if form == "folder" else tmp_path / "a.bin")
    with pytest.raises(ConceptlibError, match="leads out of the artifact"):
        Artifact.open(artifact.path)


@pytest.mark.parametrize("changes", [{"kind": "pictures"}, {"name": "../x"}, {"parents": {"dataset": "../x"}}])
def test_other_fields_that_become_paths_are_checked_too(store: Store, make: Any, changes: dict[str, Any]) -> None:
    manifest = make().path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
    with pytest.raises(ConceptlibError, match="the manifest is damaged"):
        Artifact.open(manifest.parent)


def test_files_twice_in_a_manifest_damage_it(store: Store, make: Any) -> None:
    manifest = make().path / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["files"].append(raw["files"][0])
    manifest.write_text(json.dumps(raw))
    with pytest.raises(ConceptlibError, match="twice"):
        Artifact.open(manifest.parent)


@pytest.mark.parametrize("name", ["a\\b", "C:x"])
def test_a_file_that_no_manifest_may_name_is_refused_at_the_commit(make: Any, name: str) -> None:
    with pytest.raises(ConceptlibError, match="not a path inside an artifact"):
        make(files={name: b"x"})
