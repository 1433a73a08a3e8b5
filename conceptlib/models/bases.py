"""What a base is called: an embedded model (`tiny`), a folder, a file, or a repository or file on the Hub.

Nothing heavy is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.hub import reading
from conceptlib.specs.registry import METHODS
from conceptlib.worlds import weights

ENDINGS = (".safetensors", ".ckpt")
"""Of files that may hold a whole model."""


@dataclass(frozen=True)
class Source:
    """A resolved base: what the user wrote, where `from_pretrained` finds it, and the Hub revision if it comes from
    there. file: of a repository, the one file that holds the whole model.
    """

    ref: str
    location: str
    revision: str | None = None
    file: str | None = None

    @property
    def on_hub(self) -> bool:
        """True for a Hub id, false for what is on this machine."""
        return not Path(self.location).is_absolute()

    @property
    def single(self) -> bool:
        """Whether it is one file (`conceptlib.models.single_file`)."""
        return self.file is not None or Path(self.location).is_file()


def resolve_base(base: str | Path | Source) -> Source:
    """What `base` names: a model that comes with conceptlib (the name of its spec, `tiny`), a folder with a
    `model_index.json`, a file with a whole model, a Hub id `org/name[@revision]`, or a file there,
    `org/name/path/to/file[@revision]`.

    Raises:
        ConceptlibError: a folder that holds no diffusers model, or a name that is neither a folder, a file nor of the
        form `org/name`.
    """
    if isinstance(base, Source):
        return base
    said = str(base)
    text = reading.without_scheme(said)
    if (shipped := weights(text)) is not None:
        return Source(text, str(shipped))
    folder = Path(said).expanduser()
    if folder.is_file():
        return Source(str(folder.resolve()), str(folder.resolve()))
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise ConceptlibError(
                "this folder holds no diffusers model: it has no model_index.json",
                where=str(folder),
                hint="give the folder that save_pretrained wrote",
            )
        return Source(str(folder.resolve()), str(folder.resolve()))
    inside = hub_file(said)
    if inside is not None:
        repo, name, revision = inside
        return Source(text, repo, revision, name)
    named = reading.hub_name(said)
    if named is None or (not named.explicit and named.repo.partition("/")[0] in METHODS):
        raise ConceptlibError(
            f"no model {said!r}: it is neither a folder or file here nor a Hub id",
            where="base",
            hint="use tiny, a diffusers folder, a .safetensors or .ckpt file, or org/name[@revision] (hf:org/name)",
        )
    return Source(text, named.repo, named.revision)


def hub_file(text: str) -> tuple[str, str, str | None] | None:
    """Repository, file and revision of `org/name/path/to/file[@revision]`; None for anything else, and for what may be
    a name of ours (`conceptlib.hub.reading.is_ours`) unless `hf:` is before it.
    """
    bare = reading.without_scheme(text)
    name, _, revision = bare.partition("@")
    parts = name.split("/")
    repo = "/".join(parts[:2])
    if len(parts) < 3 or not name.endswith(ENDINGS) or reading.hub_name(repo) is None or {"", ".", ".."} & {*parts}:
        return None
    if bare == text and reading.is_ours(name):
        return None
    return repo, "/".join(parts[2:]), revision or None


def whole_models(files: Iterable[str]) -> list[str]:
    """The files of a repository that may be a whole model each: those at its top."""
    return sorted(name for name in files if "/" not in name and name.endswith(ENDINGS))


def one_of(source: Source, files: Iterable[str]) -> Source | None:
    """The file in a repository without an index that holds the whole model; None if there is none.

    Raises:
        ConceptlibError: several may.
    """
    found = whole_models(files)
    if len(found) > 1:
        raise ConceptlibError(
            f"this repository is no diffusers model, and has {len(found)} files that may each be a whole one",
            where=source.ref,
            hint=f"say which, such as {source.location}/{found[0]}",
        )
    if not found:
        return None
    name = f"{source.location}/{found[0]}"
    return replace(source, ref=f"{name}@{source.revision}" if source.revision else name, file=found[0])


def artifact_name(base: str) -> str:
    """What artifacts of a base are called, in letters that the store takes: by a folder's name, a file's without its
    ending, a Hub id without its revision; not by where on this machine it lies.
    """
    here = Path(base)
    text = here.name if here.is_dir() else here.stem if here.is_file() else base.partition("@")[0]
    return "/".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip(".-") or "model" for part in text.split("/"))
