"""Publishing to a folder: the same files as on the Hub, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from conceptlib.errors import ConceptlibError
from conceptlib.hub.plan import MANIFEST, Plan, published_files
from conceptlib.store.files import fsync
from conceptlib.store.hashing import sha256_file
from conceptlib.store.replacing import replacing_folder, restore_folder


def publish_to_folder(plan: Plan, folder: Path) -> Literal["published", "unchanged"]:
    """Make `folder` hold exactly the plan's files.

    They are copied next to it, read back, and take its place by a rename. An existing folder must be empty or an
    earlier publication of
    the same name in which nobody changed or added anything: what conceptlib did not write is never removed.

    Raises:
        ConceptlibError: something else is there, or the copy differs from what was to be copied.
        OSError: the disk is full, or the place may not be written; nothing is left behind.
    """
    restore_folder(folder)
    if folder.exists() and _check(plan, folder):
        return "unchanged"
    with replacing_folder(folder) as staging:
        _copy(plan, staging)
    return "published"


def _copy(plan: Plan, staging: Path) -> None:
    for file in plan.files:
        target = staging / file.path
        file.write(target, link=False)
        fsync(target)
        if sha256_file(target) != file.sha256:
            raise ConceptlibError(
                "the copy differs from what was copied",
                where=file.path,
                hint="the artifact changed meanwhile or the disk is failing: `conceptlib verify`, then the same "
                "command again",
            )
    for folder in sorted({path.parent for path in staging.rglob("*")}):
        fsync(folder)


def _check(plan: Plan, folder: Path) -> bool:
    """True if `folder` holds the plan already, False if it may be replaced; raises for anything else."""
    found, published = check_folder(folder, plan.artifact.kind, plan.artifact.name)
    if not found:
        return False
    manifest = folder / MANIFEST
    same_files = found == set(plan.paths) and sha256_file(manifest) == plan.paths[MANIFEST].sha256
    return same_files and all(published[path] == file.sha256 for path, file in plan.paths.items() if path != MANIFEST)


def check_folder(folder: Path, kind: str, name: str) -> tuple[set[str], dict[str, str]]:
    """Whether an artifact of this kind and name may be published to a folder that is there: it is empty, or an earlier
    publication of the same name that nobody touched.

    Returns:
        The files in it, and the sha256 of those that were published; nothing of either where it is empty.

    Raises:
        ConceptlibError: something else is there.
    """
    if not folder.is_dir():
        raise ConceptlibError("the target is a file", where=str(folder), hint="choose another folder")
    found = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    if not found:
        return set(), {}
    manifest = folder / MANIFEST
    earlier = published_files(manifest.read_bytes()) if manifest.is_file() else None
    if earlier is None or earlier[:2] != (kind, name):
        held = "files of its own" if earlier is None else f"a publication of {earlier[0]} {earlier[1]}"
        raise ConceptlibError(
            f"the folder holds {held}, not an earlier publication of {kind} {name}",
            where=str(folder),
            hint="choose another folder, or empty this one yourself",
        )
    foreign = sorted(found - {*earlier[2], MANIFEST})
    changed = sorted(
        path for path, digest in earlier[2].items() if path in found and sha256_file(folder / path) != digest
    )
    if foreign or changed:
        first = (foreign or changed)[0]
        raise ConceptlibError(
            f"{len(foreign)} file(s) in the folder are not conceptlib's and {len(changed)} were changed since: "
            f"{first}, ...",
            where=str(folder),
            hint="move them elsewhere, or choose another folder; conceptlib does not overwrite them",
        )
    return found, dict(earlier[2])
