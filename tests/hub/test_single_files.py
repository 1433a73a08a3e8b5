"""A base that is one file of a repository on the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi

from conceptlib.erasers.checkpoint import load
from conceptlib.erasers.erase import erase
from conceptlib.errors import ConceptlibError
from conceptlib.models.loading import base_lock, resolution_of
from conceptlib.store import Store
from tests.support.compvis import save_single
from tests.support.loophub import LoopHub
from tests.support.models import build_pipeline, save_pipeline


@pytest.fixture
def commit(hub: LoopHub, tmp_path: Path) -> str:
    """`me/one`: a model in one file, with the configurations that a small one needs beside it, and no index."""
    configs = save_pipeline(tmp_path / "configs")
    save_single(build_pipeline(seed=3), tmp_path / "up" / "model.safetensors", configs=configs)
    api = HfApi(endpoint=hub.url)
    api.create_repo("me/one")
    return str(api.upload_folder(repo_id="me/one", folder_path=str(tmp_path / "up")).oid)


@pytest.mark.parametrize(
    "name", ["me/one", "hf:me/one", "me/one/model.safetensors", "hf:me/one/model.safetensors@main"]
)
def test_it_is_found_and_pinned(commit: str, name: str) -> None:
    assert base_lock(name) == {"ref": "me/one/model.safetensors", "revision": commit, "sha256": None}
    assert resolution_of(name) == 32
    opened, wanted = load(name, device="cpu"), build_pipeline(seed=3)
    for key, value in opened.unet.named_parameters():
        assert torch.equal(value, dict(wanted.unet.named_parameters())[key])


def test_it_is_erased_from_and_opened_again(commit: str, store: Store) -> None:
    artifact = erase("uce/object", base="me/one", store=store, overrides=["targets=[star]", "neighbours.nearest=0"])
    assert artifact.lock["base"]["revision"] == commit
    assert load(artifact, device="cpu", store=store).checkpoint.base["ref"] == "me/one/model.safetensors"


def test_which_of_several_must_be_said(commit: str, hub: LoopHub) -> None:
    api = HfApi(endpoint=hub.url)
    api.upload_file(path_or_fileobj=b"x", path_in_repo="other.ckpt", repo_id="me/one")
    with pytest.raises(ConceptlibError, match="2 files that may each be a whole one") as caught:
        load("me/one", device="cpu")
    assert "me/one/model.safetensors" in caught.value.hint
    with pytest.raises(ConceptlibError):
        load("me/one/third.safetensors", device="cpu")


@pytest.mark.parametrize("name", ["uce/object/model.safetensors", "esd/x/y/model.ckpt"])
def test_a_name_of_ours_is_not_asked_for_there(hub: LoopHub, store: Store, name: str) -> None:
    with pytest.raises(ConceptlibError):
        load(name, device="cpu", store=store)
    with pytest.raises(ConceptlibError, match="no model"):
        base_lock(name)
    assert not hub.requests
