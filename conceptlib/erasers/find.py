"""Where a checkpoint is: in the store, in a folder, or on the Hub. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.hub import reading
from conceptlib.store import Artifact, Store
from conceptlib.worlds import weights

CHECKPOINT = "checkpoint.json"
_INDEX = "model_index.json"


def find(ref: str | Path | Artifact, store: Store | None = None) -> Path | None:
    """The folder of a checkpoint; None if `ref` names a base instead.

    A name is looked up in the store. `org/name` that is not there is a repository on the Hub, unless it may be a name
    of ours (`conceptlib.hub.reading.is_ours`); `hf:org/name` always is.

    Raises:
        ConceptlibError: nothing by that name; the Hub is out of reach and nothing was fetched before.
    """
    if isinstance(ref, Artifact):
        return ref.path
    text = str(ref)
    folder = Path(text).expanduser()
    if _is_file(folder / CHECKPOINT):
        return folder.resolve()
    if weights(text) is not None or _is_file(folder / _INDEX):
        return None
    store = store or Store()
    named = reading.hub_name(text)
    if named is not None and named.explicit:
        return _published(named)
    try:
        return store.get(text, kind="checkpoint").path
    except NotFound as error:
        if named is None:
            raise
        checkpoints = [one.name for one in store.list(kind="checkpoint")]
        if reading.is_ours(named.repo, checkpoints):
            hint = f"{error.hint}; a repository of that name on the Hub is hf:{text}"
            raise NotFound(error.what, where=error.where, hint=hint.removeprefix("; ")) from None
    return _published(named)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _published(named: reading.HubName) -> Path | None:
    """The local copy of a checkpoint on the Hub; None for a plain model.

    Raises:
        ConceptlibError: there is no such repository, or it holds neither; the Hub is out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError

    repo, wanted = named.repo, "@".join(filter(None, (named.repo, named.revision)))
    try:
        found = reading.ask(repo, named.revision)
        if found.commit is None:
            return _fetched_before(named, found.why)
        if CHECKPOINT in found.files:
            here = reading.fetched(repo, CHECKPOINT, named.revision)
            return Path(snapshot_download(repo, revision=here.commit))
    except GatedRepoError:
        hint = f"accept its terms at huggingface.co/{repo}, then `hf auth login`"
        raise ConceptlibError("this repository is gated", where=repo, hint=hint) from None
    except HFValidationError:
        raise NotFound(f"no checkpoint and no model {wanted!r}", hint="`conceptlib catalog ls` lists yours") from None
    except HfHubHTTPError as error:
        raise _refused(wanted, error.response.status_code) from None
    if _INDEX in found.files:
        return None
    raise ConceptlibError(
        "this repository holds neither a checkpoint of conceptlib nor a diffusers model",
        where=f"{repo} at {found.commit[:12]}",
        hint="`conceptlib import` reads checkpoints that were erased elsewhere",
    )


def _refused(wanted: str, status: int) -> ConceptlibError:
    if status in (401, 403, 404):
        return NotFound(
            f"no checkpoint {wanted!r} in the store, and the Hub shows no such repository or revision",
            hint="`conceptlib catalog ls` lists yours; a private repository needs `hf auth login`",
        )
    return ConceptlibError(f"the Hub has a problem (HTTP {status})", where=wanted, hint="try again in a while")


def _fetched_before(named: reading.HubName, why: str) -> Path | None:
    """The copy in the cache, if the Hub is out of reach. Raises ConceptlibError."""
    from huggingface_hub import snapshot_download

    for name in (CHECKPOINT, _INDEX):
        here = reading.cached(named.repo, name, named.revision)
        if here is None:
            continue
        reading.tell(named.repo, here.commit, cache=True)
        if name == _INDEX:
            return None
        return Path(snapshot_download(named.repo, revision=here.commit, local_files_only=True))
    raise reading.out_of_reach(named.repo, why)
