from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, NotFound, Store
from conceptlib.store.hashing import artifact_id


@pytest.fixture
def family(make: Any) -> dict[str, Artifact]:
    """Two versions of a dataset, an annotation set of each, and a checkpoint whose name has a slash."""
    old = make(files={"x": b"old"})
    new = make(files={"x": b"new"})
    return {
        "old": old,
        "new": new,
        "truth": make("annotations", "truth", {"x": b"1"}, parents={"dataset": new}),
        "truth of old": make("annotations", "truth", {"x": b"1"}, parents={"dataset": old}),
        "checkpoint": make("checkpoint", "geom-erasing/qr", {"x": b"1"}, parents={"dataset": new}),
    }


def test_the_root_is_the_users_home(home: Path, tmp_path: Path) -> None:
    assert Store().root == home
    assert Store(tmp_path / "other").root == tmp_path / "other"
    assert list(home.iterdir()) == []  # looking writes nothing
    assert Store().list() == [] and Store().verify() == [] and Store().gc().removed == ()
    assert list(home.iterdir()) == []


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConceptlibError, match="root is a file"):
        Store(tmp_path / "file")


def test_a_name_means_its_newest(store: Store, family: dict[str, Artifact]) -> None:
    assert store.get("icd-qr") == family["new"]
    assert store.get("truth") == family["truth of old"]
    assert store.get("geom-erasing/qr") == family["checkpoint"]


def test_a_name_means_what_was_last_asked_for(store: Store, family: dict[str, Artifact], make: Any) -> None:
    old, new = family["old"], family["new"]
    assert make(files={"x": b"old"}) == old  # found
    assert store.get("icd-qr") == store.get("icd-qr@latest") == old and store.list("dataset") == [new, old]
    assert make("annotations", "truth", {"x": b"1"}, parents={"dataset": new}) == family["truth"]
    assert store.get("truth") == family["truth"] and store.list("annotations", parent=new.id) == [family["truth"]]
    assert store.get("icd-qr") == old  # each name by itself
    newest = make(files={"x": b"newest"})
    assert store.get("icd-qr") == newest
    assert make(files={"x": b"new"}) == new and store.list("dataset") == [old, newest, new]
    assert store.verify() == []


def test_equal_content_made_by_another_way_is_what_the_name_means(store: Store, make: Any) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    assert store.get("icd-qr") == second
    assert make(files={"x": b"1"}, lock={"by": "another way"}) == first == store.get("icd-qr")


def test_resolving_a_name_writes_nothing(store: Store, family: dict[str, Artifact], make: Any) -> None:
    make(files={"x": b"old"})

    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}

    before = state()
    lock = {"files": {"x": b"new".hex()}}
    assert store.get("icd-qr") == family["old"] and store.get(family["new"].ref) == family["new"]
    assert store.done("dataset", "icd-qr", lock=lock) == family["new"] and len(store.list("dataset")) == 2
    assert state() == before


def test_what_was_removed_leaves_its_name_to_the_others(store: Store, make: Any) -> None:
    first, second = make(files={"x": b"1"}), make(files={"x": b"2"})
    assert make(files={"x": b"1"}) == first
    store.rm(first)
    assert store.get("icd-qr") == second


def test_every_way_to_say_it(store: Store, family: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    old = family["old"]
    monkeypatch.chdir(store.root)
    refs = [
        old.id, old.id[:6], f"icd-qr@{old.id}", f"icd-qr@{old.id[:5]}", old.ref, old.path, str(old.path), old,
        old.path / "manifest.json", os.path.relpath(old.path), f"./{os.path.relpath(old.path)}/",
    ]  # fmt: skip
    for ref in refs:
        assert store.get(ref) == old, ref
        assert store.get(ref, kind="dataset") == old, ref
    assert store.get(family["checkpoint"].ref) == family["checkpoint"]


def test_a_folder_outside_the_store_is_an_artifact_too(
    store: Store, family: dict[str, Artifact], tmp_path: Path
) -> None:
    shutil.copytree(family["old"].path, tmp_path / "copy")
    found = store.get(tmp_path / "copy")
    assert found == family["old"] and found.path == tmp_path / "copy"
    assert store.verify(tmp_path / "copy") == []


def test_a_folder_called_like_a_name_does_not_change_its_meaning(store: Store, family: dict[str, Artifact]) -> None:
    shutil.copytree(family["old"].path, "icd-qr")
    assert store.get("icd-qr") == family["new"]
    assert store.get("./icd-qr") == family["old"]


def test_kind_narrows(store: Store, family: dict[str, Artifact], make: Any) -> None:
    images = make("images", "icd-qr", {"x": b"pictures"})
    assert store.get("icd-qr", kind="images") == images
    assert store.get("icd-qr", kind="dataset") == family["new"]
    with pytest.raises(NotFound):
        store.get("icd-qr", kind="checkpoint")
    with pytest.raises(NotFound, match="of kind dataset, not images"):
        store.get(family["old"].path, kind="images")


def test_a_name_means_what_a_spec_makes_before_what_was_made_with_it(store: Store, make: Any) -> None:
    """Whatever came last: after an evaluation, a checkpoint's name still means the checkpoint."""
    kinds = ["evaluation", "images", "annotations", "checkpoint", "detector", "dataset"]
    made = [make(kind, "uce/object", {"x": kind.encode()}) for kind in kinds]
    for kind in [*kinds[1:], kinds[0]]:
        make(kind, "uce/object", {"x": kind.encode()})  # found again: the order of making is not that of the kinds
    for expected in reversed(made):
        for ref in ("uce/object", "uce/object@latest"):
            assert store.get(ref) == expected
        assert [one.kind for one in store.namesakes(expected)] == [
            one.kind for one in reversed(made) if one.kind != expected.kind and one.path.exists()
        ]
        store.rm("uce/object")


@pytest.mark.parametrize("kind", [None, "dataset"])
def test_a_name_whose_versions_are_all_damaged_is_damaged_and_not_absent(
    store: Store, make: Any, kind: str | None
) -> None:
    artifact = make()
    make("images", "icd-qr", {"x": b"pictures"})
    (artifact.path / "manifest.json").write_text("{")
    with pytest.raises(ConceptlibError, match="the dataset icd-qr is damaged") as caught:
        store.get("icd-qr", kind)
    assert str(artifact.path) == caught.value.where


@pytest.mark.parametrize(
    ("ref", "kind", "says"),
    [
        ("icd-rq", None, ["icd-qr (dataset)", "conceptlib catalog ls"]),
        ("icd-rq", "dataset", ["icd-qr", "`conceptlib build icd-rq`"]),
        ("geom-erasing/qt", "checkpoint", ["geom-erasing/qr", "conceptlib erase geom-erasing/qt"]),
        ("zxing", "annotations", ["conceptlib annotate DATASET --detector zxing"]),
        ("icd-qr@ffffffffffffffff", None, ["icd-qr (dataset)"]),
        ("./nowhere", None, ["no artifact './nowhere'"]),
        ("../../etc/passwd", "dataset", ["no dataset"]),
        ("", None, ["no artifact"]),
    ],
)
def test_not_found_names_the_nearest_and_the_next_command(
    store: Store, family: dict[str, Artifact], ref: str, kind: str | None, says: list[str]
) -> None:
    with pytest.raises(NotFound) as caught:
        store.get(ref, kind)
    for text in says:
        assert text in str(caught.value)


def test_an_ambiguous_prefix_asks_for_more(store: Store, make: Any) -> None:
    # Content digests whose ids share their first four digits, found by computing ids without making artifacts.
    by_prefix: dict[str, str] = {}
    for number in range(5000):
        content = f"content {number}"
        prefix = artifact_id("images", content, {})[:4]
        if prefix in by_prefix:
            break
        by_prefix[prefix] = content
    one, two = (
        make("images", "one", {}, lock={"n": 1}, content=by_prefix[prefix]),
        make("images", "two", {}, lock={"n": 2}, content=content),
    )
    with pytest.raises(ConceptlibError, match="means 2 artifacts") as caught:
        store.get(prefix)
    assert one.id in str(caught.value) and two.id in str(caught.value) and "more digits" in caught.value.hint
    assert store.get(two.id[:12]) == two


def test_list_filters_and_puts_the_newest_last(store: Store, family: dict[str, Artifact]) -> None:
    assert store.list() == [family[name] for name in ("old", "new", "truth", "truth of old", "checkpoint")]
    assert store.list("dataset") == [family["old"], family["new"]]
    assert store.list(name="geom-erasing/qr") == [family["checkpoint"]]
    assert store.list("annotations", parent=family["new"].id) == [family["truth"]]
    assert store.list("detector") == []
    with pytest.raises(ConceptlibError, match="unknown kind"):
        store.list("datasets")


def test_a_damaged_manifest_is_left_out_with_a_line_in_the_log(
    store: Store, family: dict[str, Artifact], caplog: pytest.LogCaptureFixture
) -> None:
    (family["new"].path / "manifest.json").write_text("{}")
    assert store.list("dataset") == [family["old"]]
    assert "manifest is damaged" in caplog.text and family["new"].id in caplog.text


def test_a_manifest_of_a_later_release_says_upgrade(store: Store, family: dict[str, Artifact]) -> None:
    path = family["new"].path / "manifest.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ConceptlibError, match="schema version 2") as caught:
        store.get(family["new"].path)
    assert "upgrade" in caught.value.hint


def test_rm_refuses_while_there_are_children(store: Store, family: dict[str, Artifact]) -> None:
    with pytest.raises(ConceptlibError, match="2 artifact") as caught:
        store.rm(family["new"])
    assert "truth@" in str(caught.value) and "geom-erasing/qr@" in str(caught.value)
    assert store.rm(family["truth"], dry_run=True) == family["truth"]
    assert family["truth"].path.exists()
    for name in ("truth", "checkpoint", "new"):
        store.rm(family[name])
        assert not family[name].path.exists()
    assert store.get("icd-qr") == family["old"]
    assert list((store.root / "staging").iterdir()) == []


def test_what_was_removed_can_be_made_again(store: Store, make: Any) -> None:
    artifact = make(lock={"a": 1})
    store.rm(artifact)
    assert make(lock={"a": 1}) == artifact and artifact.path.exists()


def test_rm_of_one_of_two_equal_artifacts_needs_no_children_gone(store: Store, make: Any) -> None:
    one, two = make(name="one", files={"x": b"1"}), make(name="two", files={"x": b"1"})
    assert one.id == two.id and one != two
    make("annotations", "truth", {"x": b"1"}, parents={"dataset": one})
    store.rm(one.path)
    with pytest.raises(ConceptlibError, match="made from"):
        store.rm(two.path)


def test_rm_stays_inside_the_store(store: Store, family: dict[str, Artifact], tmp_path: Path) -> None:
    shutil.copytree(family["old"].path, tmp_path / "copy")
    with pytest.raises(ConceptlibError, match="not in this store"):
        store.rm(tmp_path / "copy")
    assert (tmp_path / "copy").exists()


def test_a_store_reached_by_a_link_is_the_same(store: Store, family: dict[str, Artifact], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.root)
    linked = Store(tmp_path / "link")
    assert linked.list() == store.list() and linked.verify() == []
    assert linked.rm(family["truth"].path) == family["truth"]


def test_done_tells_what_a_lock_gave_without_opening_a_draft(store: Store) -> None:
    assert store.done("dataset", "a", lock={"x": 1}) is None
    with store.draft("dataset", "a", lock={"x": 1}) as draft:
        (draft.path / "file").write_text("1")
        made = draft.commit()
    found = store.done("dataset", "a", lock={"x": 1})
    assert found is not None and found.id == made.id
    assert store.done("dataset", "a", lock={"x": 2}) is None and store.done("dataset", "b", lock={"x": 1}) is None
    # Another way to the same content: the artifact is kept, and both locks lead to it.
    with store.draft("dataset", "a", lock={"x": 3}) as draft:
        (draft.path / "file").write_text("1")
        draft.commit()
    twin = store.done("dataset", "a", lock={"x": 3})
    assert twin is not None and twin.id == made.id
