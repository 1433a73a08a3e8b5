"""Publishing to a folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.hub import local
from conceptlib.hub.plan import PlannedFile
from conceptlib.hub.publish import publish
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import sha256_file
from tests.hub.conftest import weights

Make = Callable[..., Artifact]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Its parent holds nothing else, so that leftovers are seen."""
    return tmp_path / "publications" / "name"


def files_of(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_published(dataset: Artifact, store: Store, out: Path) -> None:
    result = publish(dataset, out, store=store)
    assert (result.status, result.target, result.url, result.revision, result.tag) == (
        "published",
        str(out),
        str(out),
        None,
        None,
    )
    assert files_of(out) == {file.path: file.sha256 for file in result.files}
    assert os.listdir(out.parent) == ["name"]
    for path in out.rglob("*"):  # a change in the publication must not reach the artifact
        assert not path.is_symlink() and (path.is_dir() or path.stat().st_nlink == 1)


@pytest.mark.parametrize("path", ["../.bashrc", "a/../../.bashrc", "/tmp/x/.bashrc", "..\\.bashrc", "data/\x1b[2J"])
@pytest.mark.parametrize("listed", ["files", "publication"])
def test_a_folder_that_names_files_outside_writes_nothing(
    checkpoint: Artifact, store: Store, tmp_path: Path, path: str, listed: str
) -> None:
    stranger, bash = tmp_path / "download" / "folder", tmp_path / "download" / ".bashrc"
    publish(checkpoint, stranger, store=store)
    bash.write_bytes(b"evil")
    manifest = json.loads((stranger / "manifest.json").read_text())
    if listed == "files":
        entry = {"path": path, "sha256": sha256_file(bash), "size": 4, "volatile": False}
        manifest["files"].append(entry)
    else:
        manifest["publication"]["files"][path] = sha256_file(bash)
    (stranger / "manifest.json").write_text(json.dumps(manifest))
    target = tmp_path / "user" / "copy"
    target.parent.mkdir()
    (target.parent / ".bashrc").write_bytes(b"precious")
    if listed == "files":
        with pytest.raises(ConceptlibError, match="not a path inside an artifact"):
            publish(stranger, target, store=store)
        assert not target.exists()
    else:  # what an earlier publication claims to have written is not believed
        shutil.copytree(stranger, target)
        with pytest.raises(ConceptlibError, match="files of its own"):
            publish(checkpoint, target, store=store)
    assert (target.parent / ".bashrc").read_bytes() == b"precious"
    with pytest.raises(ConceptlibError, match="cannot be published"):
        PlannedFile.from_bytes(path, b"")


def test_same_layout_as_on_the_hub(dataset: Artifact, store: Store, out: Path) -> None:
    on_the_hub = publish(dataset, "org/name", store=store, dry_run=True)
    here = publish(dataset, out, store=store)
    assert [file.path for file in here.files] == [file.path for file in on_the_hub.files]


def test_again_writes_nothing(checkpoint: Artifact, store: Store, out: Path) -> None:
    publish(checkpoint, out, store=store)
    before = {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]}
    assert publish(checkpoint, out, store=store).status == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in [out, *out.rglob("*")]} == before


def test_a_published_folder_is_an_artifact(checkpoint: Artifact, store: Store, out: Path) -> None:
    publish(checkpoint, out, store=store)
    found = store.get(str(out))
    assert found == checkpoint
    for entry in found.files:
        assert sha256_file(out / entry.path) == entry.sha256


def test_dry_run_writes_nothing(dataset: Artifact, store: Store, out: Path) -> None:
    assert publish(dataset, out, store=store, dry_run=True).status == "dry-run"
    assert not out.parent.exists()


def test_a_new_version_takes_the_place_of_the_old(make_dataset: Make, store: Store, out: Path) -> None:
    publish(make_dataset(shards=2), out, store=store)
    result = publish(make_dataset(shards=1), out, store=store)
    assert result.status == "published"
    assert files_of(out) == {file.path: file.sha256 for file in result.files}
    assert os.listdir(out.parent) == ["name"]


def test_an_empty_folder_is_used(dataset: Artifact, store: Store, out: Path) -> None:
    out.mkdir(parents=True)
    assert publish(dataset, out, store=store).status == "published"


def test_foreign_files_are_never_touched(dataset: Artifact, make_dataset: Make, store: Store, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "thesis.md").write_text("mine")
    with pytest.raises(ConceptlibError, match=r"files of its own.*choose another folder"):
        publish(dataset, out, store=store)
    assert files_of(out).keys() == {"thesis.md"}
    (out / "thesis.md").unlink()

    publish(dataset, out, store=store)
    (out / "data" / "thesis.md").write_text("mine")
    before = files_of(out)
    for version in (dataset, make_dataset(shards=1)):
        with pytest.raises(ConceptlibError, match=r"1 file\(s\) in the folder are not conceptlib's.*data/thesis\.md"):
            publish(version, out, store=store)
    assert files_of(out) == before


def test_a_card_edited_by_hand_is_not_overwritten(
    dataset: Artifact, make_dataset: Make, store: Store, out: Path
) -> None:
    publish(dataset, out, store=store)
    (out / "README.md").write_text("my own words")
    with pytest.raises(ConceptlibError, match=r"1 were changed since: README\.md"):
        publish(make_dataset(shards=1), out, store=store)
    assert (out / "README.md").read_text() == "my own words"


def test_a_missing_file_comes_back(dataset: Artifact, store: Store, out: Path) -> None:
    publish(dataset, out, store=store)
    (out / "README.md").unlink()
    assert publish(dataset, out, store=store).status == "published"
    assert (out / "README.md").is_file()


def test_another_artifacts_folder_is_refused(dataset: Artifact, checkpoint: Artifact, store: Store, out: Path) -> None:
    publish(dataset, out, store=store)
    before = files_of(out)
    with pytest.raises(ConceptlibError, match="a publication of dataset icd-mini"):
        publish(checkpoint, out, store=store)
    assert files_of(out) == before


def test_a_file_in_the_way(dataset: Artifact, store: Store, out: Path) -> None:
    out.parent.mkdir()
    out.write_text("x")
    with pytest.raises(ConceptlibError, match="the target is a file"):
        publish(dataset, out, store=store)


def test_stopped_half_way_leaves_nothing(
    make_checkpoint: Make, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_checkpoint(weights), make_checkpoint(weights, convention="model-removal")
    publish(old, out, store=store)
    before, write = files_of(out), PlannedFile.write

    def full(self: PlannedFile, path: Path, *, link: bool) -> None:
        if self.path.endswith(".safetensors"):
            raise OSError(28, "No space left on device")
        write(self, path, link=link)

    monkeypatch.setattr(PlannedFile, "write", full)
    with pytest.raises(OSError, match="No space left"):
        publish(new, out, store=store)
    assert files_of(out) == before and os.listdir(out.parent) == ["name"]


def test_stopped_between_the_renames(
    make_checkpoint: Make, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old publication was moved aside, then the process was killed: the next run finds the old one again."""
    old, new = make_checkpoint(weights), make_checkpoint(weights, convention="model-removal")
    publish(old, out, store=store)
    out.rename(out.with_name(f".{out.name}.conceptlib-previous"))
    assert publish(old, out, store=store).status == "unchanged"
    out.rename(out.with_name(f".{out.name}.conceptlib-previous"))
    assert publish(new, out, store=store).status == "published"
    assert os.listdir(out.parent) == ["name"]


def test_a_bad_copy_is_noticed(dataset: Artifact, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "sha256_file", lambda path: "0" * 64)
    with pytest.raises(ConceptlibError, match="the copy differs"):
        publish(dataset, out, store=store)
    assert not out.exists()


def test_options_of_the_hub_do_not_fit_a_folder(dataset: Artifact, store: Store, out: Path) -> None:
    with pytest.raises(UsageError, match="are for repositories on the Hub"):
        publish(dataset, out, store=store, private=True)
