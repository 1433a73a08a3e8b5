"""Publishing to the Hub: compare, upload, read back, tag.

In this order, so that a tag only ever names verified files.
"""

from __future__ import annotations

import fnmatch
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from conceptlib import __version__
from conceptlib.errors import ConceptlibError
from conceptlib.hub import records
from conceptlib.hub.client_errors import hub_errors, no_token_error, offline_error, translated
from conceptlib.hub.plan import CARD, MANIFEST, Plan, published_files
from conceptlib.hub.readback import differing, fetched, read_back, remote_files, token_of
from conceptlib.progress import Progress
from conceptlib.store import Store

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

# What the Hub puts into a repository that a person makes on its pages: no sign that it is used for something else.
_HARMLESS = (".gitattributes", ".gitignore", CARD, "LICENSE*")


@dataclass(frozen=True)
class Sent:
    """revision: the commit that was verified. gated: how readers get access to it, None if nobody has to ask."""

    revision: str
    status: Literal["published", "unchanged"]
    gated: str | None = None


@dataclass(frozen=True)
class Remote:
    """The repository as it was found. head: commit of `main`. tags: name to commit. files: those of `main`."""

    head: str
    private: bool
    gated: str | bool
    tags: dict[str, str]
    files: dict[str, RepoFile]


def page_url(repo_id: str, repo_type: str) -> str:
    """The repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"


def publish_to_hub(
    plan: Plan,
    repo_id: str,
    *,
    store: Store,
    private: bool,
    gated: str | None,
    token: str | None,
    progress: Progress | None,
) -> Sent:
    """Bring the plan's files into the repository, verify them, and tag the commit.

    Raises:
        ConceptlibError: with what arrived and what to do next; the token is in no message.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if constants.HF_HUB_OFFLINE:
        raise offline_error(repo_id)
    with ExitStack() as stack:
        stack.enter_context(hub_errors(repo_id, token or _environment_token()))
        token = token or huggingface_hub.get_token()
        if not token:
            raise no_token_error(repo_id)
        stack.enter_context(hub_errors(repo_id, token))
        # The client draws its own live bar of bytes on stderr, better than one of files; only where a person looks on.
        if progress is None or not sys.stderr.isatty():
            stack.enter_context(disable_progress_bars())
        api = huggingface_hub.HfApi(token=token, library_name="conceptlib", library_version=__version__)
        sent = _publish(api, plan, repo_id, private=private, gated=gated, progress=progress)
    records.add(store, plan.artifact, repo_id, plan.repo_type, sent.revision, plan.tag)
    return sent


def _environment_token() -> str | None:
    """Asking the client for its token can fail by itself (an expired login).

    What is in the environment must be hidden even then.
    """
    import os

    return os.environ.get("HF_TOKEN") or None


def _publish(
    api: HfApi, plan: Plan, repo_id: str, *, private: bool, gated: str | None, progress: Progress | None
) -> Sent:
    remote = _inspect(api, repo_id, plan.repo_type)
    stale: list[str] = []
    if remote is None:
        # None lets the organisation's own default decide; only the user's word makes a difference.
        api.create_repo(repo_id, repo_type=plan.repo_type, private=private or None, exist_ok=True)
        remote = _inspect(api, repo_id, plan.repo_type)
        if remote is None:
            raise ConceptlibError(
                "the repository was created and is not there", where=repo_id, hint="run the same command again"
            )
    if private and not remote.private:
        hint = "make it private on its settings page, or publish to another repository"
        raise ConceptlibError(
            "the repository is public, and --private was asked for; nothing was sent", where=repo_id, hint=hint
        )
    if plan.unsafe:  # also where all is there already: somebody may have opened it since
        gated = _gate(api, plan, repo_id, remote, gated)
    if plan.tag in remote.tags:
        revision = _check_tagged(api, plan, repo_id, remote.tags[plan.tag])
        return Sent(revision, "unchanged", gated or str(remote.gated or "") or None)
    stale = _stale_files(api, plan, repo_id, remote)
    if gated and not plan.unsafe and remote.gated != gated:
        api.update_repo_settings(repo_id, gated=gated, repo_type=plan.repo_type)  # type: ignore[arg-type]
    revision = remote.head
    if stale or differing(plan, remote.files):
        revision = _upload(api, plan, repo_id, remote.head, stale, progress)
    read_back(api, plan, repo_id, revision, progress)
    _tag(api, plan, repo_id, revision)
    return Sent(revision, "published", gated or str(remote.gated or "") or None)


def _gate(api: HfApi, plan: Plan, repo_id: str, remote: Remote, gated: str | None) -> str:
    """Gate the repository of something unsafe, and see that it is, before anything is sent; returns how it is gated.

    Raises:
        ConceptlibError: it stays open, or holds something else already.
    """
    if plan.tag not in remote.tags:
        _stale_files(api, plan, repo_id, remote)  # raises where the repository is somebody else's: leave that as it is
    wanted = gated or remote.gated or "auto"
    if remote.gated != wanted:
        api.update_repo_settings(repo_id, gated=wanted, repo_type=plan.repo_type)  # type: ignore[arg-type]
        if api.repo_info(repo_id, repo_type=plan.repo_type).gated != wanted:
            raise ConceptlibError(
                "this is not for all audiences, and the repository cannot be gated; nothing was sent",
                where=repo_id,
                hint="turn on gated access on the repository's settings page, then run the same command again",
            )
    return str(wanted)


def _inspect(api: HfApi, repo_id: str, repo_type: str) -> Remote | None:
    """The repository as it is; None if there is none."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = api.repo_info(repo_id, repo_type=repo_type)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError as error:
        if error.response.status_code == 404:
            return None
        raise
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo_id, repo_type=repo_type).tags}
    files = remote_files(api, repo_id, repo_type, str(info.sha))
    return Remote(str(info.sha), bool(info.private), info.gated or False, tags, files)


def _check_tagged(api: HfApi, plan: Plan, repo_id: str, revision: str) -> str:
    """The tag exists: it must name exactly these files. Returns its commit."""
    at_tag = remote_files(api, repo_id, plan.repo_type, revision)
    different = differing(plan, at_tag)
    if not different:
        return revision
    first = ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")
    raise ConceptlibError(
        f"the tag {plan.tag} of {repo_id} names another version: {len(different)} file(s) differ ({first}); nothing "
        f"was sent",
        where=f"{repo_id}@{revision[:12]}",
        hint=f"a tag is never moved: publish under a new one with --tag {plan.tag}-2",
    )


def _stale_files(api: HfApi, plan: Plan, repo_id: str, remote: Remote) -> list[str]:
    """Files of an earlier publication that this one no longer has.

    Raises:
        ConceptlibError: the repository is used for something else.
    """
    others = [
        path
        for path in remote.files
        if path not in plan.paths and not any(fnmatch.fnmatch(path, name) for name in _HARMLESS)
    ]
    earlier = None
    if MANIFEST in remote.files:
        with tempfile.TemporaryDirectory(prefix="conceptlib-earlier-") as folder:
            there = fetched(api, repo_id, MANIFEST, remote.head, plan.repo_type, Path(folder))
            earlier = published_files(there.read_bytes())
    artifact = plan.artifact
    if earlier is not None and earlier[:2] != (artifact.kind, artifact.name):
        raise ConceptlibError(
            f"{repo_id} holds a publication of {earlier[0]} {earlier[1]}, not of {artifact.kind} {artifact.name}; "
            f"nothing was sent",
            where=repo_id,
            hint="publish to a repository of its own: --to ORG/ANOTHER-NAME",
        )
    if others and earlier is None:
        raise ConceptlibError(
            f"{repo_id} holds {len(others)} file(s) that conceptlib did not put there ({', '.join(others[:3])}); "
            f"nothing was sent",
            where=repo_id,
            hint="publish to another repository, or empty this one yourself",
        )
    return [path for path in others if earlier is not None and path in earlier[2]]


def _upload(api: HfApi, plan: Plan, repo_id: str, head: str, stale: list[str], progress: Progress | None) -> str:
    """Send the files that differ; returns the commit that holds them all.

    With Xet the client may make several commits, so a failure can leave some of the files on `main`; the error says
    how many.
    """
    if progress is not None:
        progress("upload", 0, len(plan.files))
    with tempfile.TemporaryDirectory(prefix="conceptlib-publish-") as staging:
        for file in plan.files:
            file.write(Path(staging) / file.path, link=True)
        try:
            commit = api.upload_folder(
                repo_id=repo_id,
                repo_type=plan.repo_type,
                folder_path=staging,
                commit_message=f"Publish {plan.artifact.kind} {plan.artifact.ref}",
                parent_commit=head,
                delete_patterns=[_literal(path) for path in stale] or None,
            )
        except Exception as error:
            raise _stopped(api, plan, repo_id, error) from None
    if progress is not None:
        progress("upload", len(plan.files), len(plan.files))
    return str(commit.oid)


def _literal(path: str) -> str:
    """A pattern for exactly this path."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)


def _stopped(api: HfApi, plan: Plan, repo_id: str, error: Exception) -> ConceptlibError:
    """The error of an upload, with how much of it arrived as far as that can be found out."""
    stopped = translated(error, repo_id, token_of(api))
    try:
        missing = len(differing(plan, remote_files(api, repo_id, plan.repo_type, "main")))
    except Exception:
        return stopped
    stopped.what += f"; {len(plan.files) - missing} of {len(plan.files)} files are there, and no tag"
    return stopped


def _tag(api: HfApi, plan: Plan, repo_id: str, revision: str) -> None:
    """Tag the verified commit, and make sure that it is this commit which the tag names."""
    message = f"{plan.artifact.kind} {plan.artifact.ref}"
    api.create_tag(
        repo_id, tag=plan.tag, tag_message=message, revision=revision, repo_type=plan.repo_type, exist_ok=True
    )
    tags = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo_id, repo_type=plan.repo_type).tags}
    if tags.get(plan.tag) != revision:
        raise ConceptlibError(
            f"the files arrived and are right, but the tag {plan.tag} names another commit",
            where=f"{repo_id}@{revision[:12]}",
            hint=f"publish under a new tag: --tag {plan.tag}-2",
        )
