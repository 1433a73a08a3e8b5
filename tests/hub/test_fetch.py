"""Foreign checkpoints on the Hub: a file, a model, a revision, and what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi

from conceptlib.erasers.foreign.fetch import fetch
from conceptlib.errors import ConceptlibError
from tests.support.loophub import LoopHub


def put(hub: LoopHub, repo: str, files: dict[str, bytes]) -> str:
    """Upload, and say which commit it became."""
    api = HfApi(endpoint=hub.url)
    api.create_repo(repo, exist_ok=True)
    for path, data in files.items():
        done = api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=repo)
    return str(done.oid)


def test_a_file_of_a_repository_and_of_an_older_revision(hub: LoopHub) -> None:
    first = put(hub, "me/erased", {"models/esd.json": b"one"})
    put(hub, "me/erased", {"models/esd.json": b"two"})
    assert fetch("me/erased/models/esd.json").read_bytes() == b"two"
    assert fetch(f"me/erased/models/esd.json@{first}").read_bytes() == b"one"


def test_a_diffusers_model_is_fetched_as_a_folder(hub: LoopHub) -> None:
    put(hub, "me/model", {"model_index.json": b"{}", "unet/config.json": b"{}", "unet/extra.bin": b"pickle"})
    folder = fetch("me/model")
    assert (folder / "unet" / "config.json").is_file() and not (folder / "unet" / "extra.bin").exists()


def test_what_is_not_there_is_said(hub: LoopHub) -> None:
    put(hub, "me/erased", {"a.json": b"one"})
    with pytest.raises(ConceptlibError, match="say which"):
        fetch("me/erased")
    with pytest.raises(ConceptlibError, match="no such file"):
        fetch("me/erased/b.json")
    with pytest.raises(ConceptlibError, match="there is no such repository"):
        fetch("me/nobody/a.json")


@pytest.mark.parametrize("source", ["nowhere.safetensors", "./a/b", "~/a/b", "a//b"])
def test_what_can_be_no_hub_id_is_not_looked_up(source: str) -> None:
    with pytest.raises(ConceptlibError, match="there is no file"):
        fetch(source)


def test_a_path_here_comes_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert fetch(tmp_path / "file") == (tmp_path / "file").resolve()
