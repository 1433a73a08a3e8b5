"""Publishing to the loopback Hub with the real client, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.hub import readback
from conceptlib.hub.publish import publish
from conceptlib.store import Artifact, Store
from tests.hub.conftest import TOKEN, weights
from tests.support.loophub import LoopHub

Make = Callable[..., Artifact]
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def folder_state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def commits(hub: LoopHub, repo_id: str = "org/name") -> int:
    """Beyond the one that every repository begins with."""
    repo = hub.repos.get(("model", repo_id)) or hub.dataset(repo_id)
    return len(repo.history()) - 1


def test_published_files_are_the_planned_ones(hub: LoopHub, dataset: Artifact, store: Store) -> None:
    before = folder_state(dataset.path)
    seen: list[tuple[str, int, int]] = []
    result = publish(dataset, "org/name", store=store, progress=lambda *step: seen.append(step))
    repo = hub.dataset("org/name")
    assert result.status == "published"
    assert result.url == f"{hub.url}/datasets/org/name"
    assert set(repo.files) == {file.path for file in result.files} | {".gitattributes"}
    for file in result.files:
        stored = repo.files[file.path]
        assert (stored.sha256 == file.sha256) if stored.sha256 else (stored.data == file.read()), file.path
    assert repo.tags == {f"v-{dataset.id}": result.revision}
    assert repo.branches["main"] == result.revision
    assert folder_state(dataset.path) == before
    assert {stage for stage, _, _ in seen} == {"look for secrets", "upload", "read back"}
    assert seen[-1][1] == seen[-1][2] == len(result.files)


def test_again_makes_no_commit(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    first = publish(checkpoint, "org/name", store=store)
    written = len(hub.writes)
    again = publish(checkpoint, "org/name", store=store)
    assert (again.status, again.revision, again.tag) == ("unchanged", first.revision, first.tag)
    assert commits(hub) == 1
    assert len(hub.writes) == written


def test_published_long_ago_is_still_unchanged(hub: LoopHub, make_checkpoint: Make, store: Store) -> None:
    """A newer version went to the same repository since: the older one is where its tag is."""
    old, new = make_checkpoint(weights), make_checkpoint(weights, convention="model-removal")
    first = publish(old, "org/name", store=store)
    publish(new, "org/name", store=store)
    again = publish(old, "org/name", store=store)
    assert (again.status, again.revision) == ("unchanged", first.revision)
    assert set(hub.model("org/name").tags) == {f"v-{old.id}", f"v-{new.id}"}


def test_dry_run_makes_no_request(
    hub: LoopHub, dataset: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")  # not even a login is needed
    result = publish(dataset, "org/name", store=store, dry_run=True)
    assert (result.status, result.revision, result.tag) == ("dry-run", None, f"v-{dataset.id}")
    assert hub.requests == []
    assert not (store.root / "publications").exists()


def test_files_of_an_earlier_version_go(hub: LoopHub, make_dataset: Make, store: Store) -> None:
    publish(make_dataset(shards=2), "org/name", store=store)
    hub.dataset("org/name").put("notes.md", b"by a person")
    result = publish(make_dataset(shards=1), "org/name", store=store)
    files = set(hub.dataset("org/name").files)
    assert files == {file.path for file in result.files} | {".gitattributes", "notes.md"}
    assert "data/train-00000-of-00001.parquet" in files and "data/train-00001-of-00002.parquet" not in files


@pytest.mark.parametrize("path", ["train.csv", "data/train-00009.parquet"])
def test_a_repository_of_something_else_is_refused(hub: LoopHub, dataset: Artifact, store: Store, path: str) -> None:
    publish(dataset, "org/name", store=store)  # so that the repository exists, and can be emptied
    repo = hub.dataset("org/name")
    repo.tags.clear()
    repo.commit("main", {}, "emptied")
    repo.put(path, b"somebody's")
    count, written = len(repo.history()), len(hub.writes)
    with pytest.raises(ConceptlibError, match=r"did not put there.*nothing was sent"):
        publish(dataset, "org/name", store=store)
    assert (len(repo.history()), len(hub.writes)) == (count, written)


def test_another_artifacts_repository_is_refused(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    with store.draft("detector", "yolo-mini", lock={}) as draft:
        (draft.path / "w.safetensors").write_bytes(b"0" * 9)
        detector = draft.commit()
    publish(detector, "org/name", store=store)
    with pytest.raises(ConceptlibError, match="holds a publication of detector yolo-mini"):
        publish(checkpoint, "org/name", store=store)


def test_a_card_made_by_the_hub_is_no_obstacle(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    import huggingface_hub

    huggingface_hub.HfApi().create_repo("org/name")
    hub.model("org/name").put("README.md", b"---\nlicense: mit\n---\n")
    assert publish(checkpoint, "org/name", store=store).status == "published"


# tags ------------------------------------------------------------


def test_a_tag_is_never_moved(hub: LoopHub, checkpoint: Artifact, make_evaluation: Make, store: Store) -> None:
    first = publish(checkpoint, "org/name", store=store)
    make_evaluation(checkpoint)  # the card changes
    written = len(hub.writes)
    with pytest.raises(ConceptlibError, match=rf"names another version.*README\.md.*--tag v-{checkpoint.id}-2"):
        publish(checkpoint, "org/name", store=store)
    assert len(hub.writes) == written
    second = publish(checkpoint, "org/name", store=store, tag=f"v-{checkpoint.id}-2")
    assert second.status == "published"
    assert hub.model("org/name").tags == {first.tag: first.revision, second.tag: second.revision}


def test_a_missing_tag_is_set_without_a_commit(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    hub.fail("POST", r"/tag/", 403)
    with pytest.raises(ConceptlibError, match="may not write"):
        publish(checkpoint, "org/name", store=store)
    assert hub.model("org/name").tags == {}
    result = publish(checkpoint, "org/name", store=store)
    assert result.status == "published"
    assert commits(hub) == 1
    assert hub.model("org/name").tags == {result.tag: result.revision}


def test_a_tag_set_meanwhile_elsewhere_is_told(
    hub: LoopHub, checkpoint: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conceptlib.hub import remote

    def somebody_tags(*args: object) -> None:
        repo = hub.model("org/name")
        repo.tags[f"v-{checkpoint.id}"] = repo.history()[-1].oid

    monkeypatch.setattr(remote, "read_back", somebody_tags)
    with pytest.raises(ConceptlibError, match=r"the tag v-\w+ names another commit.*--tag"):
        publish(checkpoint, "org/name", store=store)


# failures ------------------------------------------------------------


def test_stopped_at_the_commit_then_finished(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    hub.fail("POST", r"/commit/", 503, times=9)
    with pytest.raises(
        ConceptlibError, match=r"HTTP 503.*0 of 6 files are there, and no tag.*the same command finishes it"
    ):
        publish(checkpoint, "org/name", store=store)
    hub.heal()
    assert publish(checkpoint, "org/name", store=store).status == "published"
    assert commits(hub) == 1


def test_half_of_the_files_arrived_then_finished(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    """As a client leaves it that commits in several parts and is stopped between two of them."""
    publish(checkpoint, "org/name", store=store)
    repo = hub.model("org/name")
    repo.tags.clear()
    repo.commit("main", {path: file for path, file in repo.files.items() if path in ("README.md", WEIGHTS)}, "part")
    result = publish(checkpoint, "org/name", store=store)
    assert result.status == "published"
    assert set(repo.files) >= {file.path for file in result.files}
    assert repo.tags == {result.tag: result.revision}


def test_a_large_file_that_could_not_be_sent(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    hub.fail("PUT", r"/_lfs/", 400)
    with pytest.raises(ConceptlibError, match="0 of 6 files are there"):
        publish(checkpoint, "org/name", store=store)
    assert publish(checkpoint, "org/name", store=store).status == "published"


def test_somebody_commits_meanwhile(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    hub.fail("POST", r"/commit/", 412)
    with pytest.raises(ConceptlibError, match=r"somebody else changed the repository.*run the same command again"):
        publish(checkpoint, "org/name", store=store)


@pytest.mark.parametrize("path", ["README.md", "unet/config.json", WEIGHTS, "manifest.json"])
def test_a_damaged_upload_is_not_published(hub: LoopHub, checkpoint: Artifact, store: Store, path: str) -> None:
    hub.damage(f"^{path}$")
    with pytest.raises(
        ConceptlibError, match=rf"1 of 6 files on the Hub differ from what was sent: {path}; no tag was set"
    ):
        publish(checkpoint, "org/name", store=store)
    assert hub.model("org/name").tags == {}


def test_a_damaged_small_file_is_sent_again(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    hub.damage(r"^unet/config\.json$")
    with pytest.raises(ConceptlibError, match="differ"):
        publish(checkpoint, "org/name", store=store)
    hub.heal()
    assert publish(checkpoint, "org/name", store=store).status == "published"


def test_large_files_are_compared_by_the_hubs_hash(
    hub: LoopHub, checkpoint: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "DOWNLOADED_BYTES", 0)
    publish(checkpoint, "org/name", store=store)
    assert not [one for one in hub.requests if "/resolve/" in one.path]
    repo = hub.model("org/name")
    repo.tags.clear()
    wrong = replace(repo.files[WEIGHTS], sha256="0" * 64)
    repo.commit("main", {**repo.files, WEIGHTS: wrong}, "another file")
    publish(checkpoint, "org/name", store=store)  # noticed, and sent again
    assert repo.files[WEIGHTS].sha256 != "0" * 64


# Xet ------------------------------------------------------------


def test_xet(hub: LoopHub, use_xet: None, dataset: Artifact, store: Store) -> None:
    result = publish(dataset, "org/name", store=store)
    repo = hub.dataset("org/name")
    large = [file for file in repo.files.values() if file.sha256]
    assert large and all(file.xet_hash for file in large)
    assert not [one for one in hub.requests if "/_lfs/" in one.path]
    assert repo.tags == {result.tag: result.revision}
    written = len(hub.writes)
    assert publish(dataset, "org/name", store=store).status == "unchanged"
    assert len(hub.writes) == written


def test_xet_damage_is_noticed(hub: LoopHub, use_xet: None, checkpoint: Artifact, store: Store) -> None:
    hub.damage(f"^{WEIGHTS}$")
    with pytest.raises(ConceptlibError, match="1 of 6 files on the Hub differ"):
        publish(checkpoint, "org/name", store=store)
    assert hub.model("org/name").tags == {}


def test_xet_stopped_then_finished(hub: LoopHub, use_xet: None, checkpoint: Artifact, store: Store) -> None:
    hub.fail("POST", r"/commit/", 400)
    with pytest.raises(ConceptlibError, match=r"HTTP 400.*0 of 6 files are there"):
        publish(checkpoint, "org/name", store=store)
    assert publish(checkpoint, "org/name", store=store).status == "published"


def test_xet_rides_out_a_short_503(hub: LoopHub, use_xet: None, checkpoint: Artifact, store: Store) -> None:
    hub.fail("POST", r"/commit/", 503)
    assert publish(checkpoint, "org/name", store=store).status == "published"
    assert commits(hub) == 1


# access ------------------------------------------------------------


def test_private_and_gated(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    publish(checkpoint, "me/name", store=store, private=True, gated="manual")
    repo = hub.model("me/name")
    assert (repo.private, repo.gated) == (True, "manual")
    publish(checkpoint, "me/name", store=store)
    assert (repo.private, repo.gated) == (True, "manual")  # what was not asked for is left alone


def test_nothing_is_sent_to_a_public_repository_when_private_was_asked_for(
    hub: LoopHub, checkpoint: Artifact, make_evaluation: Make, store: Store
) -> None:
    publish(checkpoint, "me/name", store=store)
    make_evaluation(checkpoint)
    written = len(hub.writes)
    with pytest.raises(ConceptlibError, match="is public, and --private was asked for; nothing was sent"):
        publish(checkpoint, "me/name", store=store, private=True, tag="v2")
    assert len(hub.writes) == written


def test_not_logged_in(hub: LoopHub, checkpoint: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent/token")
    with pytest.raises(ConceptlibError, match=r"not logged in.*hf auth login"):
        publish(checkpoint, "org/name", store=store)
    assert hub.requests == []
    assert publish(checkpoint, "org/name", store=store, token=TOKEN).status == "published"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, None, "refused your access token.*hf auth whoami"),
        (403, None, "may not write there.*write to org"),
        (403, "GatedRepo", "access to this repository is restricted"),
        (429, None, "asks to slow down"),
        (500, None, r"has a problem \(HTTP 500\)"),
    ],
)
def test_refusals(
    hub: LoopHub, checkpoint: Artifact, store: Store, status: int, code: str | None, message: str
) -> None:
    said = "Invalid credentials in Authorization header" if status == 401 else "no"
    hub.fail("GET", r"/api/models/org/name$", status, times=9, message=said, code=code)
    with pytest.raises(ConceptlibError, match=message):
        publish(checkpoint, "org/name", store=store)


def test_a_namespace_of_somebody_else(hub: LoopHub, checkpoint: Artifact, store: Store) -> None:
    with pytest.raises(ConceptlibError, match=r"may not write there.*under the namespace stranger"):
        publish(checkpoint, "stranger/name", store=store)


def test_offline(hub: LoopHub, checkpoint: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConceptlibError, match=r"HF_HUB_OFFLINE is set.*--to \./DIR"):
        publish(checkpoint, "org/name", store=store)
    assert hub.requests == []


def test_no_answer(hub: LoopHub, checkpoint: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConceptlibError, match=r"http://127\.0\.0\.1:9 cannot be reached.*check the network"):
        publish(checkpoint, "org/name", store=store)
