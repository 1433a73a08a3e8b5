"""Comparing what is on the Hub with what was planned, by hash."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from conceptlib import huberrors, hubfiles
from conceptlib.errors import ConceptlibError
from conceptlib.hub.client_errors import of_publishing
from conceptlib.hub.plan import Plan, PlannedFile
from conceptlib.progress import Progress
from conceptlib.store.hashing import sha256_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

DOWNLOADED_BYTES = 8 << 20
"""Files up to this size are downloaded and hashed.

Of larger ones the sha256 that the Hub computed on arrival is compared.
"""

_THREADS = 8


def token_of(api: HfApi) -> str | None:
    """The token that the client was given."""
    return api.token if isinstance(api.token, str) else None


def remote_files(api: HfApi, repo_id: str, repo_type: str, revision: str) -> dict[str, RepoFile]:
    """Every file of a revision by its path."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo_id, recursive=True, revision=revision, repo_type=repo_type)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def differing(plan: Plan, remote: dict[str, RepoFile]) -> list[str]:
    """The planned paths that are missing on the Hub, or listed there with another size or hash."""
    return [file.path for file in plan.files if not _listed_right(file, remote.get(file.path))]


def _listed_right(file: PlannedFile, entry: RepoFile | None) -> bool:
    if entry is None or entry.size != file.size:
        return False
    return entry.lfs.sha256 == file.sha256 if entry.lfs is not None else entry.blob_id == file.git_oid()


def fetched(api: HfApi, repo_id: str, path: str, revision: str, repo_type: str, into: Path) -> Path:
    """A file of the repository that is published to, as the Hub has it now.

    Raises:
        HubError: with what to do then, when something is to be published.
    """
    try:
        return hubfiles.fresh(repo_id, path, revision, repo_type=repo_type, token=token_of(api), into=into)
    except huberrors.HubError as error:
        raise of_publishing(error, repo_id) from None


def read_back(api: HfApi, plan: Plan, repo_id: str, revision: str, progress: Progress | None = None) -> None:
    """Make sure that `revision` holds every planned file, byte for byte.

    All are compared by the hash in the Hub's listing; those up to `DOWNLOADED_BYTES` are also downloaded and hashed
    here.

    Raises:
        ConceptlibError: names the files that differ.
    """
    wrong = set(differing(plan, remote_files(api, repo_id, plan.repo_type, revision)))
    small = [file for file in plan.files if file.size <= DOWNLOADED_BYTES and file.path not in wrong]
    with tempfile.TemporaryDirectory(prefix="conceptlib-readback-") as folder:

        def is_right(file: PlannedFile) -> bool:
            path = fetched(api, repo_id, file.path, revision, plan.repo_type, Path(folder))
            right = sha256_file(path) == file.sha256
            path.unlink()
            return right

        with ThreadPoolExecutor(_THREADS) as pool:
            for done, (file, right) in enumerate(zip(small, pool.map(is_right, small), strict=True), start=1):
                if not right:
                    wrong.add(file.path)
                if progress is not None:
                    progress("read back", done, len(small))
    if wrong:
        names = sorted(wrong)
        raise ConceptlibError(
            f"{len(names)} of {len(plan.files)} files on the Hub differ from what was sent: {', '.join(names[:5])}; "
            f"no tag was set",
            where=f"{repo_id}@{revision[:12]}",
            hint="run the same command again to send them again; if that does not help, delete these files on the "
            "Hub's page first",
        )
