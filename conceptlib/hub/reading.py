"""Reading from the Hub: which repository a word names, which commit it means now, and that it is said.

A word that may be one of our own names is never asked for on the Hub, or whoever takes that name there decides what is
drawn. Every repository that is read is told, with its commit, as a warning of the logger `conceptlib.hub` (on stderr by
default), once a process.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conceptlib.errors import ConceptlibError

logger = logging.getLogger("conceptlib.hub")

TIMEOUT = 10.0
"""Seconds until the Hub counts as out of reach."""

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_told: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class HubName:
    """`org/name[@revision]`. explicit: it was written `hf:org/name`, so that nothing else can be meant."""

    repo: str
    revision: str | None
    explicit: bool


@dataclass(frozen=True)
class Found:
    """What the Hub said of a repository. commit: 40 hex digits, None where it was out of reach, and `why`. files: their
    paths; empty where it was out of reach.
    """

    commit: str | None
    files: frozenset[str] = frozenset()
    why: str = ""


def hub_name(text: str) -> HubName | None:
    """The repository that `org/name[@revision]`, `hf:org/name` or `hf://org/name` names; None for anything else."""
    bare = without_scheme(text)
    name, _, revision = bare.partition("@")
    return HubName(name, revision or None, bare != text) if _REPO.fullmatch(name) else None


def without_scheme(text: str) -> str:
    """`text` without a leading `hf://`, `hf://models/` or `hf:`."""
    for scheme in ("hf://models/", "hf://", "hf:"):
        if text.startswith(scheme):
            return text.removeprefix(scheme)
    return text


def is_ours(name: str, checkpoints: Iterable[str] = ()) -> bool:
    """Whether `first/rest` may be the name of a recipe or of a checkpoint: its first part is a method's, or one that a
    recipe here begins with, or one of `checkpoints`.
    """
    from conceptlib.specs import discover
    from conceptlib.specs.registry import METHODS

    first = name.partition("/")[0]
    known = {*METHODS, *(other.partition("/")[0] for other in (*discover.names("recipe"), *checkpoints))}
    return first in known


def ask(repo: str, revision: str | None = None, *, repo_type: str = "model") -> Found:
    """What a repository of models (or of the type `dataset`) holds now: one request, not repeated, so that a machine
    without network learns it at once.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the Hub answers, and does not give it.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    from conceptlib.hub.client_errors import is_connection_error

    try:
        info = HfApi().repo_info(repo, revision=revision, repo_type=repo_type, timeout=TIMEOUT)
    except OfflineModeIsEnabled:
        return Found(None, why="HF_HUB_OFFLINE is set")
    except HfHubHTTPError:
        raise
    except Exception as error:
        if not is_connection_error(error):
            raise
        return Found(None, why=f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})")
    return Found(str(info.sha), frozenset(file.rfilename for file in info.siblings or ()))


@dataclass(frozen=True)
class Cached:
    """A file that was fetched before. folder: that of the whole commit. path: of the file in it."""

    path: Path
    folder: Path

    @property
    def commit(self) -> str:
        return self.folder.name


def cached(repo: str, name: str, revision: str | None = None) -> Cached | None:
    """A file that was fetched before, None if it was not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=revision)
    return _cached(Path(found), name) if isinstance(found, str) else None


def fetched(repo: str, name: str, revision: str | None = None) -> Cached:
    """A file that is fetched now, which is said. What is fetched after it should be of its commit.

    Raises:
        ConceptlibError: the Hub is out of reach, and the file was not fetched before.
        huggingface_hub.errors.HfHubHTTPError: the Hub answers, and does not give it.
    """
    from huggingface_hub import hf_hub_download

    here = cached(repo, name, revision)
    if here is not None and revision and _COMMIT.fullmatch(revision):
        return here  # a commit never moves
    found = ask(repo, revision)
    if found.commit is not None:
        # By the name of the branch, so that the cache knows what it meant when the Hub is out of reach.
        here = _cached(Path(hf_hub_download(repo, name, revision=revision)), name)
    if here is None:
        raise out_of_reach(repo, found.why)
    tell(repo, here.commit, cache=found.commit is None)
    return here


def _cached(path: Path, name: str) -> Cached:
    return Cached(path, path.parents[name.count("/")])


def tell(repo: str, commit: str, *, cache: bool = False) -> None:
    """Say which repository is read, and which commit of it; once a process."""
    from huggingface_hub import constants

    if (repo, commit) in _told:
        return
    _told.add((repo, commit))
    where = "the cache of" if cache else "the Hub,"
    logger.warning(f"reading {repo} at {commit[:12]} from {where} {constants.ENDPOINT}")


def out_of_reach(repo: str, why: str) -> ConceptlibError:
    """The error for what is not on this machine while the Hub does not answer."""
    return ConceptlibError(
        f"{repo} is not on this machine and the Hub is out of reach: {why}",
        where=repo,
        hint=f"connect once and run `hf download {repo}`; the base `tiny` needs no network",
    )
