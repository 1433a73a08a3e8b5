"""Where a checkpoint is: in the store, in a folder, or on the Hub. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from conceptlib import hubfiles
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.hub import reading
from conceptlib.huberrors import Absent
from conceptlib.models.bases import ENDINGS, hub_file, whole_models
from conceptlib.models.reference import ModelRef
from conceptlib.store import Artifact, Store
from conceptlib.worlds import weights

CHECKPOINT = "checkpoint.json"
_INDEX = "model_index.json"


def find(ref: str | Path | Artifact | ModelRef, store: Store | None = None) -> Path | None:
    """The folder of a checkpoint; None if `ref` names a base instead.

    A name is looked up in the store. `org/name` that is not there is a repository on the Hub, unless it may be a name
    of ours (`conceptlib.hub.reading.is_ours`); `hf:org/name` always is.

    Raises:
        ConceptlibError: nothing by that name; the Hub is out of reach and nothing was fetched before.
    """
    if isinstance(ref, Artifact):
        return ref.path
    if isinstance(ref, ModelRef):
        return None
    text = str(ref)
    folder = Path(text).expanduser()
    if _is_file(folder / CHECKPOINT):
        return folder.resolve()
    if weights(text) is not None or _is_file(folder / _INDEX) or (_is_file(folder) and folder.suffix in ENDINGS):
        return None
    if hub_file(text) is not None:
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
        HubError: there is no such repository, it is gated, the Hub is out of reach, ...
        ConceptlibError: the repository holds neither.
    """
    try:
        found = hubfiles.listing(named.repo, named.revision)
        if CHECKPOINT in found.files:
            return hubfiles.snapshot(named.repo, None, found.commit).folder
        if _INDEX in found.files or whole_models(found.files):
            if found.cached:
                hubfiles.tell(named.repo, found.commit, cache=True)
            return None
    except Absent as error:
        raise error.about(f"there is no {named.repo} in the store", "`conceptlib catalog ls` lists yours") from None
    raise ConceptlibError(
        "this repository holds neither a checkpoint of conceptlib nor a diffusers model",
        where=f"{named.repo} at {found.commit[:12]}",
        hint="`conceptlib import` reads checkpoints that were erased elsewhere",
    )
