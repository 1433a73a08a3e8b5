"""Mend what `verify` finds: bytes that another copy has are copied back; the rest is taken out, so that the command
which made the artifact makes these bytes again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.store import files, kinds
from conceptlib.store.artifact import Artifact
from conceptlib.store.hashing import sha256_file
from conceptlib.store.journal import Journal
from conceptlib.store.layout import Layout
from conceptlib.store.manifest import FileEntry
from conceptlib.store.names import name_of
from conceptlib.store.verify import Problem


@dataclass(frozen=True)
class Repair:
    """What was done about one problem.

    ``done``: ``copied`` (from an equal artifact), ``taken out`` (moved to where ``gc`` removes it) or ``nothing``.
    ``next``: the command that makes the file again; "" where none is needed or none is known.
    """

    artifact: str
    path: Path
    done: str
    next: str


def repair(layout: Layout, journal: Journal, folder: Path, problems: list[Problem]) -> list[Repair]:
    """Mend one artifact's folder in this store.

    Raises:
        OSError: the store cannot be written to.
    """
    try:
        artifact = Artifact.open(folder)
    except (ConceptlibError, OSError):
        return [
            Repair(one.artifact, one.path, "nothing", _remake(folder.parts[-3], folder.parts[-2])) for one in problems
        ]
    entries = {folder / entry.path: entry for entry in artifact.files}
    again = _remake(artifact.kind, artifact.name, artifact.parents)
    repairs = []
    aside = layout.drafts / f"removed-{artifact.id}-files-{os.getpid()}"
    for problem in problems:
        if problem.what not in ("damaged", "missing", "extra"):
            repairs.append(Repair(problem.artifact, problem.path, "nothing", ""))
            continue
        entry = entries.get(problem.path)
        copied = entry is not None and _copy_back(layout, journal, artifact, entry)
        taken = not copied and os.path.lexists(problem.path)
        if taken:
            _take_out(problem.path, aside / "files" / problem.path.relative_to(folder))
        done = "copied" if copied else "taken out" if taken else "nothing"
        repairs.append(Repair(problem.artifact, problem.path, done, again if entry and not copied else ""))
    return repairs


def _copy_back(layout: Layout, journal: Journal, artifact: Artifact, entry: FileEntry) -> bool:
    """Whether an equal artifact under another name had the file, which now lies here again."""
    target = artifact.path / entry.path
    if target.is_dir():
        return False
    for place in journal.places(artifact.id):
        source = layout.root / place / entry.path
        try:
            if source == target or sha256_file(source) != entry.sha256:
                continue
        except OSError:
            continue
        with files.atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return True
    return False


def _take_out(path: Path, aside: Path) -> None:
    aside.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, aside)


def _remake(kind: str, name: str, parents: Mapping[str, str] | None = None) -> str:
    """The command that makes such an artifact, with its parents where they are known. Its settings are in its lock."""
    parents = parents or {}
    if kind == "annotations" and name == "truth":
        return f"conceptlib build DATASET  # {parents.get('dataset', '')}"
    command = kinds.get(kind).made_by.format(name=name_of(name)) if kind in kinds.names() else ""
    for role, word in (("dataset", "DATASET"), ("checkpoint", "CHECKPOINT"), ("annotations", "--annotations A")):
        if role in parents:
            flag = "--annotations " if role == "annotations" else ""
            command = command.replace(word, flag + parents[role])
    return command
