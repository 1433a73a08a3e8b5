"""The one way of fetching from the Hub: a listing, a file, a snapshot of the files that match.

    found = listing("org/name", "main")              # the commit that `main` is now, and its files
    config = file("org/name", "config.json").path
    folder = snapshot("org/name", ("*.json", "*.safetensors")).folder

A branch or tag is resolved to a commit once; the answer's `commit` is what belongs into a lock, and what is fetched
next should be of it. Every repository that is read is told with its commit, once a process, by the logger
`conceptlib.hub`. What can go wrong is told apart by `conceptlib.huberrors`; a server's error and a short "slow down"
are tried again, and what was fetched before is used where the Hub is out of reach. New files are compared with the hash
by which the Hub lists them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from conceptlib import progress as telling
from conceptlib.huberrors import (
    HubError,
    OutOfReach,
    RateLimited,
    ServerProblem,
    damaged,
    explained,
)
from conceptlib.progress import Progress
from conceptlib.store.hashing import git_oid, sha256_file

__all__ = ["Fetched", "HubError", "Listing", "cached", "explained", "file", "fresh", "listing", "snapshot", "tell"]

logger = logging.getLogger("conceptlib.hub")

TIMEOUT = 10.0
"""Seconds until the Hub counts as out of reach."""

TRIES = 3
"""How often a server's error is met before it is told."""

LONGEST_WAIT = 30.0
"""Seconds; a Hub that asks to wait longer is told as `RateLimited`."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_ANSWER = (OutOfReach, RateLimited, ServerProblem)
_told: set[tuple[str, str]] = set()
T = TypeVar("T")


@dataclass(frozen=True)
class Listing:
    """A repository at one commit. commit: 40 hex digits. files: their paths. cached: the Hub was out of reach, and
    these are the files that were fetched before, perhaps not all.
    """

    repo: str
    repo_type: str
    commit: str
    files: frozenset[str] = field(repr=False)
    cached: bool = False


@dataclass(frozen=True)
class Fetched:
    """What is on this machine now. folder: that of the whole commit in the client's cache. path: of the file in it, or
    the folder. commit: 40 hex digits.
    """

    path: Path
    folder: Path

    @property
    def commit(self) -> str:
        return self.folder.name


def listing(repo: str, revision: str | None = None, *, repo_type: str = "model", token: str | None = None) -> Listing:
    """What a repository (`repo_type`: "model" or "dataset") holds now, and at which commit. A Hub that is out of reach
    is asked once, so that a machine without network learns it at once; then it is what was fetched before.

    Raises:
        HubError: see `conceptlib.huberrors`.
    """
    try:
        return _tried(lambda: _ask(repo, revision, repo_type, token), repo, revision, token)
    except _NO_ANSWER:
        if (here := _listed_before(repo, revision or "main", repo_type)) is None:
            raise
        return here


def _listed_before(repo: str, revision: str, repo_type: str) -> Listing | None:
    """What the client's cache has of a revision: `refs/` holds the commits of names, `snapshots/` a folder a commit."""
    folder = _cache_folder(repo, repo_type)
    try:
        commit = revision if _COMMIT.fullmatch(revision) else (folder / "refs" / revision).read_text().strip()
    except OSError:
        return None
    here = folder / "snapshots" / commit
    files = frozenset(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file())
    return Listing(repo, repo_type, commit, files, cached=True) if files else None


def _remember(repo: str, repo_type: str, revision: str, commit: str) -> None:
    """Note in the client's cache what a name means now, as the client does: for when the Hub is out of reach."""
    if _COMMIT.fullmatch(revision) or ".." in revision.split("/"):
        return
    ref = _cache_folder(repo, repo_type) / "refs" / revision
    with contextlib.suppress(OSError):  # a cache that cannot be written to
        if not ref.is_file() or ref.read_text() != commit:
            ref.parent.mkdir(parents=True, exist_ok=True)
            staged = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
            staged.write_text(commit)
            os.replace(staged, ref)


def _cache_folder(repo: str, repo_type: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    with explained(repo):
        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type=repo_type)


def _ask(repo: str, revision: str | None, repo_type: str, token: str | None) -> Listing:
    from huggingface_hub import HfApi

    info = HfApi(token=token).repo_info(repo, revision=revision, repo_type=repo_type, timeout=TIMEOUT)
    _remember(repo, repo_type, revision or "main", str(info.sha))
    return Listing(repo, repo_type, str(info.sha), frozenset(one.rfilename for one in info.siblings or ()))


def cached(repo: str, name: str, revision: str | None = None, *, repo_type: str = "model") -> Fetched | None:
    """A file that was fetched before, None if it was not. The Hub is not asked."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=revision, repo_type=repo_type)
    return _fetched(Path(found), name) if isinstance(found, str) else None


def file(
    repo: str,
    name: str,
    revision: str | None = None,
    *,
    repo_type: str = "model",
    token: str | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """One file. Of a commit that was fetched before nobody is asked, since a commit never moves.

    Args:
        progress: by default that of the enclosing `conceptlib.progress.showing`; else the client's own bars.

    Raises:
        HubError: see `conceptlib.huberrors`.
    """
    from huggingface_hub import hf_hub_download

    here = cached(repo, name, revision, repo_type=repo_type)
    if here is not None and revision and _COMMIT.fullmatch(revision):
        return here
    with _told_bytes(repo, progress) as bars:

        def fetch() -> str:
            # That the Hub is out of reach is learnt here, by one request.
            commit = _ask(repo, revision, repo_type, token).commit
            return hf_hub_download(repo, name, revision=commit, repo_type=repo_type, token=token, **bars)

        with _checked(repo, repo_type, revision):
            try:
                found = _fetched(Path(_tried(fetch, repo, revision, token)), name)
            except _NO_ANSWER:
                if here is None:
                    raise
                tell(_named(repo, repo_type), here.commit, cache=True)
                return here
    tell(_named(repo, repo_type), found.commit)
    return found


def snapshot(
    repo: str,
    patterns: Sequence[str] | None = None,
    revision: str | None = None,
    *,
    repo_type: str = "model",
    token: str | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """All files of a commit whose paths match one of `patterns` (as in a shell; all files if None), as a folder.

    Args:
        progress: see `file`.

    Raises:
        HubError: see `conceptlib.huberrors`.
    """
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {
        "repo_type": repo_type,
        "allow_patterns": list(patterns) if patterns is not None else None,
        "token": token,
    }
    from_cache = False
    with _told_bytes(repo, progress) as bars:

        def fetch() -> str:
            commit = _ask(repo, revision, repo_type, token).commit
            return snapshot_download(repo, revision=commit, **wanted, **bars)

        with _checked(repo, repo_type, revision):
            try:
                folder = _tried(fetch, repo, revision, token)
            except _NO_ANSWER as error:
                from_cache = True
                try:
                    folder = snapshot_download(repo, revision=revision, **wanted, local_files_only=True)
                except OSError:  # nothing there, or not all
                    raise error from None
    found = Fetched(Path(folder), Path(folder))
    tell(_named(repo, repo_type), found.commit, cache=from_cache)
    return found


def fresh(
    repo: str, name: str, revision: str, *, repo_type: str = "model", token: str | None = None, into: Path
) -> Path:
    """One file as the Hub gives it now, in the folder `into`: the cache is neither asked nor filled, and nothing is
    compared. For whoever checks what arrived there.

    Raises:
        HubError: see `conceptlib.huberrors`.
    """
    from huggingface_hub import hf_hub_download

    def fetch() -> str:
        return hf_hub_download(
            repo, name, revision=revision, repo_type=repo_type, token=token, local_dir=into, force_download=True
        )

    return Path(_tried(fetch, repo, revision, token))


def tell(repo: str, commit: str, *, cache: bool = False) -> None:
    """Say which repository is read, and which commit of it; once a process."""
    from huggingface_hub import constants

    if (repo, commit) in _told:
        return
    _told.add((repo, commit))
    where = "the cache of" if cache else "the Hub,"
    logger.warning(f"reading {repo} at {commit[:12]} from {where} {constants.ENDPOINT}")


def _named(repo: str, repo_type: str) -> str:
    return f"datasets/{repo}" if repo_type == "dataset" else repo


def _fetched(path: Path, name: str) -> Fetched:
    return Fetched(path, path.parents[name.count("/")])


def _tried(ask: Callable[[], T], repo: str, revision: str | None, token: str | None) -> T:
    """`ask`, and again where the Hub has a problem of its own or asks to wait a little. Raises HubError."""
    wait = 0.5
    for left in reversed(range(TRIES)):
        try:
            with explained(repo, revision=revision, token=token):
                return ask()
        except (ServerProblem, RateLimited) as error:
            asked = error.retry_after if isinstance(error, RateLimited) else None
            wait = wait if asked is None else asked
            if not left or wait > LONGEST_WAIT:
                raise
            logger.warning(f"{error.what}; asking for {repo} again in {wait:g} s")
        time.sleep(wait)
        wait = max(2 * wait, 0.5)
    raise AssertionError("unreachable")


@contextmanager
def _checked(repo: str, repo_type: str, revision: str | None) -> Iterator[None]:
    """Compare what the block adds to the client's cache with the hashes that it is filed under: the sha256 of a large
    file, git's object id of a small one. What differs is removed, so that it is fetched anew.

    Raises:
        Damaged: naming the hash.
    """
    blobs = _cache_folder(repo, repo_type) / "blobs"
    before = {path.name for path in blobs.glob("*")}
    wrong: list[Path] = []
    try:
        yield
    finally:  # after a fetch that failed as well: the next one takes what is there for known
        # Where links are not allowed (Windows) the cache holds no blobs; the client compares sizes there as everywhere.
        wrong += [path for path in blobs.glob("*") if path.name not in before and not _is_right(path)]
        for path in wrong:
            path.unlink(missing_ok=True)
    if wrong:
        raise damaged(f"{repo}@{revision}" if revision else repo, f"its hash is not {wrong[0].name[:12]}...")


def _is_right(blob: Path) -> bool:
    """Whether a file of the cache has the hash that is its name. Names that are no hash (a download that is going on,
    an entity tag of another kind) say nothing.
    """
    name = blob.name
    if re.fullmatch(r"[0-9a-f]{64}", name):
        return sha256_file(blob) == name
    if re.fullmatch(r"[0-9a-f]{40}", name):
        return git_oid(blob) == name
    return True


@contextmanager
def _told_bytes(repo: str, progress: Progress | None) -> Iterator[dict[str, Any]]:
    """What makes the client tell its bytes to `progress`; nothing where there is none: it then draws its own bars."""
    known = progress or telling.shown()
    if known is None:
        yield {}
        return
    shown: Progress = known
    from tqdm import tqdm

    bars: list[Any] = []

    class Told(tqdm):  # type: ignore[type-arg]
        """One of the client's bars: of files, or of bytes (of several, the one that is furthest is told)."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            self.of_bytes = options.get("unit") == "B"
            super().__init__(*arguments, **options | {"disable": False, "file": io.StringIO(), "mininterval": 1e9})
            bars.append(self)

        def update(self, n: float | None = 1) -> bool | None:
            done = super().update(n)
            of_bytes = [bar for bar in bars if bar.of_bytes and bar.total]
            if self.of_bytes and of_bytes:
                most = max(of_bytes, key=lambda bar: bar.n)
                shown(f"fetch {repo}, bytes", min(int(most.n), int(most.total)), int(most.total))
            return done

    yield {"tqdm_class": Told}
