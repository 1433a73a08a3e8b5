"""What a base is called: an embedded model (`tiny`), a diffusers folder, or a repository on the Hub. Nothing heavy is
imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.hub import reading
from conceptlib.specs.registry import METHODS
from conceptlib.worlds import weights


@dataclass(frozen=True)
class Source:
    """A resolved base: what the user wrote, where `from_pretrained` finds it, and the Hub revision if it comes from
    there.
    """

    ref: str
    location: str
    revision: str | None = None

    @property
    def on_hub(self) -> bool:
        """True for a Hub id, false for a folder on this machine."""
        return not Path(self.location).is_dir()


def resolve_base(base: str | Path) -> Source:
    """What `base` names: a model that comes with conceptlib (the name of its spec, `tiny`), a folder with a
    `model_index.json`, or a Hub id `org/name[@revision]`.

    Raises:
        ConceptlibError: a folder that holds no diffusers model, or a name that is neither a folder nor of the form
        `org/name`.
    """
    said = str(base)
    text = reading.without_scheme(said)
    if (shipped := weights(text)) is not None:
        return Source(text, str(shipped))
    folder = Path(said).expanduser()
    if folder.is_file():
        raise ConceptlibError(
            "this is a single file, and a base is a folder in diffusers' layout",
            where=str(folder),
            hint="turn it into one, once: StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)",
        )
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise ConceptlibError(
                "this folder holds no diffusers model: it has no model_index.json",
                where=str(folder),
                hint="give the folder that save_pretrained wrote",
            )
        return Source(str(folder.resolve()), str(folder.resolve()))
    named = reading.hub_name(said)
    if named is None or (not named.explicit and named.repo.partition("/")[0] in METHODS):
        raise ConceptlibError(
            f"no model {said!r}: it is neither a folder here nor a Hub id",
            where="base",
            hint="use tiny, a diffusers folder, or org/name[@revision] (hf:org/name)",
        )
    return Source(text, named.repo, named.revision)
