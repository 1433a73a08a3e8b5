from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from conceptlib.store import Artifact, Store


@pytest.fixture
def artifact(make: Any) -> Artifact:
    made: Artifact = make(
        name="icd/qr", files={"data/a.bin": b"aaa", "data/b.bin": b"bbb", "log.jsonl": b"l"}, volatile=("log.jsonl",)
    )
    return made


def found(store: Store, artifact: Artifact) -> list[tuple[str, str]]:
    problems = store.verify(artifact)
    assert problems == store.verify() == store.verify(artifact.id) == store.verify(artifact.path)
    return [(problem.what, problem.path.relative_to(artifact.path).as_posix()) for problem in problems]


def edit(artifact: Artifact, **changes: Any) -> None:
    path = artifact.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sound_store_has_no_problems(store: Store, artifact: Artifact) -> None:
    assert found(store, artifact) == []


def test_one_flipped_bit_is_named(store: Store, artifact: Artifact) -> None:
    (artifact.path / "data/b.bin").write_bytes(b"bbc")
    assert found(store, artifact) == [("damaged", "data/b.bin")]
    assert "sha256" in str(store.verify()[0]) and "icd+qr" in str(store.verify()[0])


def test_sizes_missing_and_extra_files_are_named(store: Store, artifact: Artifact) -> None:
    (artifact.path / "data/a.bin").write_bytes(b"aaaa")
    (artifact.path / "data/b.bin").unlink()
    (artifact.path / "log.jsonl").write_bytes(b"m")
    (artifact.path / "data/c.bin").write_bytes(b"")
    expected = [("damaged", "data/a.bin"), ("missing", "data/b.bin"), ("damaged", "log.jsonl"), ("extra", "data/c.bin")]
    assert found(store, artifact) == expected


def test_a_link_is_named(store: Store, artifact: Artifact, tmp_path: Path) -> None:
    (artifact.path / "data/link").symlink_to(tmp_path)
    assert found(store, artifact) == [("extra", "data/link")]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 9}', "\x00\xff"])
def test_an_unreadable_manifest_is_named(store: Store, artifact: Artifact, text: str) -> None:
    (artifact.path / "manifest.json").write_bytes(text.encode("latin-1"))
    assert found(store, artifact) == [("manifest", "manifest.json")]


def test_a_missing_manifest_is_named(store: Store, artifact: Artifact) -> None:
    (artifact.path / "manifest.json").unlink()
    assert found(store, artifact) == [("manifest", "manifest.json")]


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"lock": {"rows": 1_000_000}}, ["key"]),
        ({"name": "other"}, ["key", "lies at"]),
        ({"parents": {"dataset": "0" * 16}}, ["key", "id"]),
        ({"content": "0" * 64}, ["id", "content digest"]),
        ({"id": "0" * 16}, ["id", "lies at"]),
    ],
)
def test_a_manifest_that_contradicts_itself_is_named(
    store: Store, artifact: Artifact, changes: dict[str, Any], details: list[str]
) -> None:
    edit(artifact, **changes)
    problems = store.verify(artifact.path)
    assert [problem.what for problem in problems] == ["id"] * len(details)
    for problem, detail in zip(problems, details, strict=True):
        assert detail in problem.detail


def test_files_edited_together_with_their_hashes_are_found(store: Store, artifact: Artifact) -> None:
    from conceptlib.store.hashing import sha256_bytes

    (artifact.path / "data/a.bin").write_bytes(b"xyz")
    files = json.loads((artifact.path / "manifest.json").read_text())["files"]
    files[0]["sha256"] = sha256_bytes(b"xyz")
    edit(artifact, files=files)
    assert found(store, artifact) == [("id", "manifest.json")]


def test_a_path_that_leads_out_is_never_read(store: Store, artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = json.loads((artifact.path / "manifest.json").read_text())["files"]
    files[0]["path"] = os.path.relpath(tmp_path / "secret", artifact.path)
    edit(artifact, files=files)
    (problem,) = store.verify(artifact.path)
    assert problem.what == "manifest" and "not a path inside an artifact" in problem.detail


def test_an_artifact_moved_to_another_name_is_found(store: Store, artifact: Artifact) -> None:
    target = artifact.path.parent.parent / "other" / artifact.id
    target.parent.mkdir()
    artifact.path.rename(target)
    assert ["lies at dataset/other" in problem.detail for problem in store.verify()] == [True]


def test_verifying_changes_nothing(store: Store, artifact: Artifact) -> None:
    (artifact.path / "data/b.bin").write_bytes(b"bbc")
    (artifact.path / "extra").write_bytes(b"e")

    def state() -> dict[Path, tuple[int, bytes]]:
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.root.rglob("*") if path.is_file()}

    before = state()
    assert len(store.verify()) == 2
    assert state() == before


def test_progress_counts_artifacts(store: Store, artifact: Artifact, make: Any) -> None:
    make()
    heard: list[tuple[str, int, int]] = []
    store.verify(progress=lambda *step: heard.append(step))
    assert heard == [("verify", 0, 2), ("verify", 1, 2), ("verify", 2, 2)]
