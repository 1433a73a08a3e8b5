"""Removing an artifact: only what nothing is made from, also not at this moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext

from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.store.artifact import Artifact
from conceptlib.store.journal import REMOVED, Journal
from conceptlib.store.jsonfile import read_json
from conceptlib.store.layout import Layout
from conceptlib.store.tags import tags_named


def remove(layout: Layout, journal: Journal, artifact: Artifact, *, dry_run: bool) -> Artifact:
    """See ``Store.rm``. The checks and the removal are one step under the lock in which children are committed."""
    with nullcontext() if dry_run else journal.locked():
        refuse_if_needed(layout, journal, artifact)
        if dry_run:
            return artifact
        try:
            aside = layout.set_aside(artifact.path)
        except FileNotFoundError as error:
            raise NotFound(f"{artifact.kind} {artifact.ref} was removed meanwhile", where=str(layout.root)) from error
        journal.announce(REMOVED, artifact.kind, artifact.name, artifact.id, artifact.parents.values())
    shutil.rmtree(aside, ignore_errors=True)
    return artifact


def refuse_if_needed(layout: Layout, journal: Journal, artifact: Artifact) -> None:
    """Raise ``ConceptlibError`` if something was made, or is being made, from the artifact, or may have been, or a tag
    means it. An equal artifact under another name may stay its children's parent.
    """
    standing, present = journal.standing()
    own = artifact.path.resolve()
    twins = [
        folder for folder, one in standing.items() if one.id == artifact.id and (layout.root / folder).resolve() != own
    ]
    if not any(layout.open(layout.root / folder) for folder in twins):
        _refuse_parent(layout, artifact, {one.folder: one.parents for one in standing.values()}, present.unreadable)
    damaged: list[str] = []
    tags = [one for one in tags_named(layout, artifact.kind, artifact.name, damaged) if one.id == artifact.id]
    if tags:
        raise ConceptlibError(
            f"{artifact.kind} {artifact.ref} has the tag {', '.join(one.ref for one in tags)}",
            where=str(artifact.path),
            hint=f"conceptlib untag {tags[0].ref}",
        )
    if damaged:
        raise ConceptlibError(
            f"a tag of {artifact.kind} {artifact.name} cannot be read, and may mean {artifact.id}",
            where=damaged[0],
            hint="remove that file, and set the tag again",
        )


def _refuse_parent(
    layout: Layout, artifact: Artifact, standing: dict[str, tuple[str, ...] | None], unreadable: dict[str, str]
) -> None:
    children = [folder for folder, parents in standing.items() if artifact.id in (parents or ())]
    if children:
        raise ConceptlibError(
            f"{len(children)} artifact(s) were made from {artifact.kind} {artifact.ref}: "
            + ", ".join(_words(folder) for folder in children[-5:]),
            where=str(artifact.path),
            hint="remove those first",
        )
    if drafts := list(_drafts_from(layout, artifact.id)):
        raise ConceptlibError(
            f"{', '.join(drafts[:5])} is being made from {artifact.kind} {artifact.ref}",
            where=str(artifact.path),
            hint="let it end; `conceptlib gc --days 0` removes what nobody works on any more",
        )
    unknown = [
        folder for folder, parents in standing.items() if parents is None and layout.root / folder != artifact.path
    ]
    for folder in [*unknown, *unreadable]:
        raise ConceptlibError(
            f"{artifact.kind} {artifact.ref} is kept: what was made from it cannot be told, since "
            f"{os.fsencode(folder).decode('utf-8', 'backslashreplace')} cannot be read",
            where=str(artifact.path),
            hint="`conceptlib verify` says why; make it readable, or remove that folder",
        )


def _words(folder: str) -> str:
    _, kind, name, identity = folder.split("/")
    return f"{kind} {name.replace('+', '/')}@{identity}"


def _drafts_from(layout: Layout, parent: str) -> Iterator[str]:
    """In words, the drafts that name this parent. One without a note is checked when it is committed."""
    try:
        keys = [entry.name for entry in os.scandir(layout.drafts)]
    except OSError:
        return
    for key in sorted(keys):
        try:
            note = read_json(layout.staging_note(key))
            if parent in note["parents"].values():
                yield f"{note['kind']} {note['name']}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
