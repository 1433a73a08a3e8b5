"""Where a checkpoint is: in the store, in a folder, or on the Hub."""

from __future__ import annotations

from pathlib import Path

from conceptlib.errors import NotFound
from conceptlib.store import Artifact, Store

CHECKPOINT = "checkpoint.json"


def find(ref: str | Path | Artifact, store: Store | None = None) -> Path | None:
    """The folder of a checkpoint; None if `ref` names a base instead.

    Raises:
        ConceptlibError: nothing by that name.
    """
    if isinstance(ref, Artifact):
        return ref.path
    text = str(ref)
    folder = Path(text).expanduser()
    if folder.is_dir() and (folder / CHECKPOINT).is_file():
        return folder.resolve()
    if text == "tiny" or (folder / "model_index.json").is_file():
        return None
    try:
        return (store or Store()).get(text, kind="checkpoint").path
    except NotFound as error:
        published = _published(text)
        if published is None:
            raise error
        return published if (published / CHECKPOINT).is_file() else None


def _published(text: str) -> Path | None:
    """The local copy of a checkpoint on the Hub, a folder without `checkpoint.json` for a plain model; None if there is
    no such repository.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
    )

    name, _, revision = text.partition("@")
    if name.count("/") != 1:
        return None
    try:
        hf_hub_download(name, CHECKPOINT, revision=revision or None)
        return Path(snapshot_download(name, revision=revision or None))
    except RemoteEntryNotFoundError:
        return Path(hf_hub_download(name, "model_index.json", revision=revision or None)).parent
    except LocalEntryNotFoundError:  # offline: the repository may still be in the cache, as a plain model
        try:
            return Path(
                hf_hub_download(name, "model_index.json", revision=revision or None, local_files_only=True)
            ).parent
        except LocalEntryNotFoundError:
            return None
    except (HfHubHTTPError, HFValidationError, OSError):
        return None
