"""Names on this machine and names on the Hub: ours are never asked for there, and what is read is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from conceptlib import hubfiles
from conceptlib.erasers.erase import erase
from conceptlib.erasers.find import find
from conceptlib.erasers.foreign.fetch import fetch
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.hub.publish import publish
from conceptlib.models.loading import base_lock, resolve_base
from conceptlib.specs.registry import METHODS
from conceptlib.store import Store
from tests.support.loophub import LoopHub


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubfiles, "_told", set())


@pytest.fixture
def stranger(hub: LoopHub, store: Store) -> LoopHub:
    """Somebody published a checkpoint under every name that a recipe might have; the store is empty again."""
    checkpoint = erase("negative-prompt/unsafe", store=store, overrides=["targets=[moon]"])
    published = publish(checkpoint, "me/no-moon", store=store)
    assert published.status == "published"
    hub.organizations += ("uce", "my")
    api = HfApi(endpoint=hub.url)
    for repo in ("uce/object", "my/own"):
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=str(checkpoint.path))
    store.rm(checkpoint)
    hub.requests.clear()
    return hub


@pytest.mark.parametrize("name", ["uce/object", "uce/obejct", "uce/object@main", *(f"{m}/x" for m in METHODS)])
def test_a_name_of_ours_is_not_asked_for_on_the_hub(stranger: LoopHub, store: Store, name: str) -> None:
    with pytest.raises(NotFound, match="hf:"):
        find(name, store)
    with pytest.raises(ConceptlibError, match="hf:"):
        resolve_base(name)
    with pytest.raises(ConceptlibError, match="hf:"):
        fetch(name)
    assert not stranger.requests


def test_nor_is_one_that_a_recipe_or_a_checkpoint_here_begins_with(stranger: LoopHub, store: Store, home: Path) -> None:
    recipe = home / "specs" / "recipes" / "my" / "thing.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text("kind: recipe\nname: my/thing\nmethod: uce\ntargets: [moon]\n")
    with pytest.raises(NotFound):
        find("my/own", store)
    recipe.unlink()
    with store.draft("checkpoint", "my/other", lock={"a": 1}) as draft:
        (draft.path / "checkpoint.json").write_text("{}")
        draft.commit()
    with pytest.raises(NotFound):
        find("my/own", store)
    assert not stranger.requests


@pytest.mark.parametrize("name", ["hf:uce/object", "hf://uce/object", "me/no-moon", "hf://models/me/no-moon"])
def test_what_is_read_from_the_hub_is_said_with_its_commit(
    stranger: LoopHub, store: Store, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = find(name, store)
    assert folder is not None and (folder / "checkpoint.json").is_file()
    repo = "/".join(name.split("/")[-2:]).removeprefix("hf:")
    (told,) = [record for record in caplog.records if record.name == "conceptlib.hub"]
    assert told.levelno == logging.WARNING and f"{repo} at {folder.name[:12]}" in told.getMessage()


def test_a_base_of_the_hub_is_said_too(hub: LoopHub, caplog: pytest.LogCaptureFixture) -> None:
    api = HfApi(endpoint=hub.url)
    api.create_repo("me/model")
    commit = api.upload_file(path_or_fileobj=b"{}", path_in_repo="model_index.json", repo_id="me/model").oid
    for name in ("me/model", "hf:me/model", f"me/model@{commit}"):
        assert base_lock(name) == {"ref": "me/model", "revision": commit, "sha256": None}
    assert caplog.text.count(f"me/model at {commit[:12]}") == 1
    requests = len(hub.requests)
    assert (
        base_lock(f"me/model@{commit}")["revision"] == commit and len(hub.requests) == requests
    )  # a commit never moves


def test_what_was_fetched_is_there_without_the_hub(
    stranger: LoopHub, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import constants

    folder = find("me/no-moon", store)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    caplog.clear()
    hubfiles._told.clear()
    assert find("me/no-moon", store) == folder
    assert "the cache of" in caplog.text


def test_out_of_reach_is_the_reason_that_is_told(hub: LoopHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def slept(seconds: float) -> None:
        raise AssertionError(f"waits {seconds} s before it asks again")

    monkeypatch.setattr("time.sleep", slept)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for ask in (lambda: find("me/nothing", store), lambda: base_lock("me/nothing"), lambda: fetch("me/nothing/x.pt")):
        with pytest.raises(ConceptlibError, match=r"out of reach: http://127\.0\.0\.1:9 cannot be reached"):
            ask()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    from huggingface_hub.utils import close_session

    close_session()
    with pytest.raises(ConceptlibError, match="out of reach: HF_HUB_OFFLINE is set"):
        find("me/nothing", store)


def test_what_the_hub_does_not_have_is_said(hub: LoopHub, store: Store) -> None:
    with pytest.raises(NotFound, match="no me/nothing in the store: there is no such repository"):
        find("me/nothing", store)
    HfApi(endpoint=hub.url).create_repo("me/empty")
    with pytest.raises(ConceptlibError, match="neither a checkpoint of conceptlib nor a diffusers model"):
        find("me/empty", store)
    with pytest.raises(NotFound):
        find("a//b", store)
