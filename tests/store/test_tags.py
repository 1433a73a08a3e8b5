"""Tags: they mean one artifact, move only by force, remember, and never look like an id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.store import Artifact, Store


def make(store: Store, content: str, name: str = "icd-qr", kind: str = "dataset") -> Artifact:
    with store.draft(kind, name, lock={"content": content}) as draft:
        (draft.path / "x").write_text(content)
        return draft.commit()


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_tag_keeps_its_meaning_when_others_come(store: Store) -> None:
    first = make(store, "1")
    tag = store.tag("icd-qr", "v1")
    assert (tag.ref, tag.kind, tag.id) == ("icd-qr@v1", "dataset", first.id)
    second = make(store, "2")
    assert store.get("icd-qr@v1") == first and store.get("icd-qr") == second == store.get("icd-qr@latest")
    assert store.get("icd-qr@v1", "dataset") == first
    assert store.get(f"icd-qr@{first.id[:6]}") == first


def test_a_tag_moves_only_by_force_and_remembers(store: Store) -> None:
    first, second = make(store, "1"), make(store, "2")
    store.tag(first, "v1")
    assert len(store.tag(first, "v1").history) == 1  # the same again changes nothing
    with pytest.raises(ConceptlibError, match=rf"icd-qr@v1 is {first.id} already.*--force"):
        store.tag(second, "v1")
    assert store.get("icd-qr@v1") == first
    moved = store.tag(second, "v1", force=True)
    assert store.get("icd-qr@v1") == second and [change.id for change in moved.history] == [first.id, second.id]
    removed = store.untag("icd-qr@v1")
    assert removed.id == second.id and not store.tags()
    with pytest.raises(NotFound):
        store.get("icd-qr@v1")
    with pytest.raises(ConceptlibError, match="no tag icd-qr@v1"):
        store.untag("icd-qr@v1")
    again = store.tag(first, "v1")
    assert [change.id for change in again.history] == [first.id, second.id, None, first.id]


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("cafe", "first digits of an id"),
        ("2024", "first digits of an id"),
        ("ABCD", "first digits of an id"),
        ("latest", "newest by itself"),
        ("", "not a tag"),
        ("../x", "not a tag"),
        ("a/b", "not a tag"),
        (".x", "not a tag"),
        ("a b", "not a tag"),
        ("nudity>50", "not a tag"),
        ("x" * 65, "not a tag"),
    ],
)
def test_names_that_are_no_tags(store: Store, tag: str, message: str) -> None:
    make(store, "1")
    with pytest.raises(ConceptlibError, match=message):
        store.tag("icd-qr", tag)
    assert not store.layout.tags.exists()


def test_tags_belong_to_a_kind_and_a_name(store: Store) -> None:
    dataset, checkpoint = make(store, "1", "a/b"), make(store, "1", "a/b", "checkpoint")
    other = make(store, "9", "c")
    store.tag(dataset, "v1")
    store.tag(other, "v1")
    assert store.get("a/b@v1") == dataset and store.get("c@v1") == other
    assert [tag.ref for tag in store.tags()] == ["a/b@v1", "c@v1"]
    assert [tag.ref for tag in store.tags(dataset)] == ["a/b@v1"]
    store.tag(checkpoint, "v1")
    with pytest.raises(ConceptlibError, match="a tag of dataset and checkpoint"):
        store.get("a/b@v1")
    assert store.get("a/b@v1", "checkpoint") == checkpoint
    with pytest.raises(ConceptlibError, match="--kind"):
        store.untag("a/b@v1")
    store.untag("a/b@v1", kind="checkpoint")
    assert store.get("a/b@v1") == dataset


def test_what_has_a_tag_is_not_removed(store: Store) -> None:
    artifact = make(store, "1")
    store.tag(artifact, "v1")
    with pytest.raises(ConceptlibError, match=r"has the tag icd-qr@v1.*conceptlib untag icd-qr@v1"):
        store.rm("icd-qr")
    store.untag("icd-qr@v1")
    store.rm("icd-qr")


def test_a_tag_whose_artifact_is_gone_and_a_damaged_tag(store: Store) -> None:
    import shutil

    artifact = make(store, "1")
    make(store, "2")
    store.tag(artifact, "v1")
    shutil.rmtree(artifact.path)
    with pytest.raises(NotFound, match=f"icd-qr@v1 is {artifact.id}, which is not in this store"):
        store.get("icd-qr@v1")
    store.layout.tag_file("dataset", "icd-qr", "v1").write_text("{")
    with pytest.raises(ConceptlibError, match="the tag icd-qr@v1 is damaged"):
        store.get("icd-qr@v1")


def test_an_artifact_elsewhere_gets_no_tag(store: Store, tmp_path: Path) -> None:
    other = make(Store(tmp_path / "other"), "1")
    with pytest.raises(ConceptlibError, match="not in this store"):
        store.tag(other, "v1")


def test_the_commands(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first = make(store, "1")
    assert main(["tag"]) == 0 and "no tags yet" in capsys.readouterr().err
    assert main(["tag", "icd-qr", "v1"]) == 0 and f"icd-qr@v1 is dataset {first.id}" in capsys.readouterr().out
    make(store, "2")
    assert main(["tag", "icd-qr", "v1"]) == 1 and "--force" in capsys.readouterr().err
    assert main(["tag", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["tag"], listed["id"], len(listed["history"])) == ("icd-qr@v1", first.id, 1)
    assert main(["tag", "icd-qr", "v1", "--force", "-q"]) == 0 and capsys.readouterr().out == "icd-qr@v1\n"
    assert main(["untag", "icd-qr@v1"]) == 0 and main(["untag", "icd-qr@v1"]) == 1
