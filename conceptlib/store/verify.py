"""Re-hash artifacts and name what is wrong. Reads only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.store import files
from conceptlib.store.hashing import artifact_id, artifact_key, digest, sha256_file
from conceptlib.store.manifest import MANIFEST, Manifest, read_manifest
from conceptlib.store.names import name_of


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an artifact.

    ``what`` is ``damaged`` (a file's bytes differ), ``missing``, ``extra`` (a file that the manifest does not name),
    ``manifest`` (unreadable), ``unreadable`` (a folder that nobody may look into) or ``id`` (the manifest contradicts
    itself or its place). ``path`` is absolute.
    """

    artifact: str
    what: str
    path: Path
    detail: str

    def __str__(self) -> str:
        return f"{self.artifact}: {self.what}: {self.path} ({self.detail})"


def verify_folder(folder: Path, *, stored: bool = True) -> list[Problem]:
    """The problems of the artifact in ``folder``; none for a sound one.

    Args:
        stored: the folder lies in a store, so its place (``<kind>/<name>/<id>``) must agree with the manifest.
    """
    before = _identity(folder)
    if stored and before is None:
        return []  # removed since it was listed
    problems = _problems(folder, stored)
    if problems and stored and _identity(folder) != before:  # removed, or made again, while it was read
        return verify_folder(folder, stored=stored)
    return problems


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
        return status.st_dev, status.st_ino
    except OSError:
        return None


def _problems(folder: Path, stored: bool) -> list[Problem]:
    label = "/".join(folder.parts[-3:]) if stored else str(folder)
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        return [Problem(label, "manifest", folder / MANIFEST, "there is no manifest")]
    except (ConceptlibError, OSError) as error:
        return [Problem(label, "manifest", folder / MANIFEST, str(error))]
    try:
        contradictions = _contradictions(manifest, folder, stored)
    except ConceptlibError as error:
        return [Problem(label, "manifest", folder / MANIFEST, str(error))]
    problems = [Problem(label, "id", folder / MANIFEST, detail) for detail in contradictions]
    problems.extend(_file_problems(manifest, folder, label))
    return problems


def _contradictions(manifest: Manifest, folder: Path, stored: bool) -> list[str]:
    found = []
    if manifest.key != artifact_key(manifest.kind, manifest.name, manifest.lock, manifest.parents):
        found.append("the key is not that of this kind, name, lock and parents")
    if manifest.id != artifact_id(manifest.kind, manifest.content, manifest.parents):
        found.append("the id is not that of this kind, content and parents")
    named = {entry.path: entry.sha256 for entry in manifest.files if not entry.volatile}
    if manifest.content_from == "files" and manifest.content != digest(named):
        found.append("the content digest is not that of these files")
    place = (folder.parent.parent.name, name_of(folder.parent.name), folder.name)
    if stored and place != (manifest.kind, manifest.name, manifest.id):
        found.append(f"it lies at {'/'.join(place)} but says {manifest.kind}/{manifest.name}/{manifest.id}")
    return found


def _file_problems(manifest: Manifest, folder: Path, label: str) -> list[Problem]:
    problems = []
    expected = {entry.path: entry for entry in manifest.files}
    for relative, entry in expected.items():
        path = folder / relative
        if not path.is_file():
            problems.append(Problem(label, "missing", path, f"{entry.size} bytes"))
        elif (size := path.stat().st_size) != entry.size:
            problems.append(Problem(label, "damaged", path, f"{size} bytes, not {entry.size}"))
        else:
            try:
                sha256 = sha256_file(path)
            except OSError as error:
                problems.append(Problem(label, "damaged", path, f"cannot be read: {error.strerror}"))
                continue
            if sha256 != entry.sha256:
                problems.append(Problem(label, "damaged", path, f"sha256 {sha256[:16]}..., not {entry.sha256[:16]}..."))
    try:
        present = {path.relative_to(folder).as_posix() for path in files.walk(folder)}
    except ConceptlibError as error:
        return [*problems, Problem(label, "extra", Path(error.where or folder), error.what)]
    except OSError as error:
        return [*problems, Problem(label, "unreadable", folder, error.strerror or str(error))]
    problems.extend(
        Problem(label, "extra", folder / relative, "not in the manifest")
        for relative in sorted(present - {MANIFEST, *expected})
    )
    return problems
