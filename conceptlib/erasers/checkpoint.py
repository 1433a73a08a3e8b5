"""Checkpoints of erased models: written in the formats that diffusers reads, and opened with their erasure switched on.

pipe = conceptlib.load("geom-erasing/qr")           # or an artifact, a folder, or the Hub id of a published checkpoint
pipe("a red circle on grey")                        # the negative prompt is applied
pipe("a red circle on grey", negative_prompt="")    # and here it is not

The forms that a checkpoint may have (whole model, LoRA, changed tensors, new tokens, a configuration) are the modules
of `conceptlib.erasers.adapters`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from conceptlib.erasers.base import Result
from conceptlib.erasers.files import system_errors
from conceptlib.erasers.find import CHECKPOINT
from conceptlib.erasers.find import find as find
from conceptlib.errors import ConceptlibError
from conceptlib.models.devices import Placement, choose
from conceptlib.models.family import of
from conceptlib.models.loading import place
from conceptlib.models.pipeline import ErasedPipeline as ErasedPipeline
from conceptlib.models.pipeline import dressed
from conceptlib.models.reference import ModelRef
from conceptlib.specs.registry import ERASURE_ADAPTERS, METHODS
from conceptlib.specs.schema import ConceptSpec
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write
from conceptlib.store.manifest import MANIFEST

PIPELINE = "StableDiffusionPipeline"


@dataclass(frozen=True)
class Checkpoint:
    """`checkpoint.json`: what the folder holds and how to use it.

    base: `base_lock`'s answer for what it was trained on. concepts: their names; phrases: what each of them is called
    in prompts, in the same order. tensors: `component.name` of every tensor that was changed, where a method says so.
    pipeline: diffusers' class; the file has it only where it is not the default.
    """

    recipe: str
    method: str
    convention: str
    adapter: str
    base: dict[str, str | None]
    concepts: tuple[str, ...]
    negative_prompt: str
    tokens: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    pipeline: str = PIPELINE
    schema: int = 1

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """The description in a checkpoint's folder.

        Raises:
            ConceptlibError: none there, or one that this version does not understand.
        """
        path = folder / CHECKPOINT
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            lists = {name: tuple(raw.get(name, ())) for name in ("phrases", "tensors")}
            found = cls(**{**raw, **lists, "concepts": tuple(raw["concepts"]), "tokens": tuple(raw["tokens"])})
        except FileNotFoundError as error:
            raise ConceptlibError(
                "this folder holds no checkpoint", where=str(path), hint="`conceptlib erase` makes one"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConceptlibError(
                "this checkpoint.json cannot be read", where=str(path), hint=f"{error}; a newer version?"
            ) from error
        if found.adapter not in ERASURE_ADAPTERS:
            raise ConceptlibError(f"unknown adapter {found.adapter!r}", where=str(path), hint="update conceptlib")
        return found

    def write(self, folder: Path) -> None:
        """Write `checkpoint.json`, whole or not at all."""
        said = asdict(self)
        if self.pipeline == PIPELINE:  # as before there was more than one
            del said["pipeline"]
        atomic_write(folder / CHECKPOINT, json.dumps(said, indent=2, sort_keys=True) + "\n")

    def metadata(self) -> dict[str, str]:
        """What a safetensors file of this checkpoint says about itself: it may be passed on alone.

        One key: safetensors writes several in an order that changes from run to run, and so would the file's hash.
        """
        base = {key: value for key, value in self.base.items() if value and key != "ref"}
        name = Path(self.base["ref"] or "").name if Path(self.base["ref"] or "").is_absolute() else self.base["ref"]
        return {
            "conceptlib": json.dumps(
                {
                    "recipe": self.recipe,
                    "method": self.method,
                    "convention": self.convention,
                    "concepts": self.concepts,
                    "base": {"ref": name, **base},
                },
                sort_keys=True,
            ),
        }


def adapter_module(record: Checkpoint) -> ModuleType:
    """The module of `conceptlib.erasers.adapters` that reads and writes a checkpoint's form."""
    return ERASURE_ADAPTERS.get(record.adapter)


def save(
    folder: Path,
    pipe: Any,
    result: Result,
    *,
    recipe: Any,
    base: dict[str, str | None],
    concepts: Sequence[ConceptSpec],
) -> None:
    """Write a checkpoint's files; the layout is in docs/architecture.md.

    Args:
        folder: where to; existing files are replaced.
        pipe: the pipeline that the method changed.
        result: what the method says it changed.
        recipe: its spec (`name`, `method`).
        base: `base_lock` of what was erased from.
        concepts: what was erased.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = Checkpoint(
        recipe=recipe.name,
        method=recipe.method,
        convention=result.convention,
        adapter=result.adapter,
        base=base,
        concepts=tuple(concept.name for concept in concepts),
        negative_prompt=result.negative_prompt,
        tokens=result.tokens,
        phrases=tuple(concept.phrase for concept in concepts),
        tensors=tuple(sorted(result.changed)),
        pipeline=of(pipe).PIPELINE,
    )
    with system_errors(folder):
        adapter_module(record).save(folder, pipe, result, record)
    record.write(folder)


def load(
    ref: str | Path | Artifact | ModelRef,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    base: str | Path | None = None,
    store: Store | None = None,
) -> ErasedPipeline:
    """Open a checkpoint as a pipeline whose erasure is switched on: its weights, its negative prompt
    (`pipe.negative_prompt_default`), its rule of guidance (`pipe.guidance_rule`).

    Args:
        ref: a checkpoint's name, id, artifact or folder, or the Hub id (`org/name[@revision]`) of a published one. A
            base (`tiny`, a diffusers folder, a Hub id) opens too, with no default negative prompt.
        base: what to apply a checkpoint to that is no whole model, instead of the very base that it was made from.
        store: where names are looked up.

    Raises:
        ConceptlibError: nothing by that name; a tensor that is missing, left over or of another shape; a base that is
        not here, or that is not the one that the checkpoint was made from (unless `base` says so).
    """
    placement = choose(device, dtype)
    folder = find(ref, store)
    if folder is None:
        return dressed(ModelRef.of(ref if isinstance(ref, ModelRef) else str(ref)).load(placement), placement)
    return open_folder(folder, placement, base)


def open_folder(folder: Path, placement: Placement, base: str | Path | ModelRef | None = None) -> ErasedPipeline:
    """`load` for the folder of a checkpoint.

    Raises:
        ConceptlibError: as `load`; a file whose bytes are not those that the folder's manifest names. Each is read for
        that once a process.
    """
    if (folder / MANIFEST).is_file():  # a folder of weights without one is nobody's word
        Artifact.open(folder).intact()
    record = Checkpoint.read(folder)
    adapter = adapter_module(record)
    if adapter.WHOLE and base is not None:
        raise ConceptlibError(
            f"a {record.adapter} checkpoint takes no base: it holds the whole model",
            where=str(folder),
            hint="leave base out",
        )
    # Sums of weights and changes are rounded once: to the placement's dtype.
    fused = getattr(adapter, "FUSED", False) and placement.dtype != torch.float32
    reference = ModelRef.of(folder) if adapter.WHOLE else base_of(record, base, folder)
    pipe = reference.load(placement, stored=reference.family.ADAPTABLE if fused else ())
    erased = dressed(pipe, placement)
    erased.checkpoint = record
    erased.negative_prompt_default = record.negative_prompt
    adapter.apply(folder, record, erased)
    if fused:
        for module in (of(erased).components()[name] for name in of(erased).ADAPTABLE):
            module.to(placement.dtype)
    place(erased, placement)
    return erased


def code_lock(folder: Path) -> dict[str, dict[str, int]]:
    """The versions of the code that runs when a checkpoint is opened: of its adapter, and of a method that is applied
    at inference. They decide what is drawn as the folder's files do.
    """
    record = Checkpoint.read(folder)
    versions = {"adapter": ERASURE_ADAPTERS.version_lock(record.adapter)}
    if record.adapter == "config" and record.method in METHODS:
        versions["method"] = METHODS.version_lock(record.method)
    return {name: version for name, version in versions.items() if version}


def model_of(folder: Path) -> str:
    """Where the configurations of a checkpoint's model are: its own folder if it is whole, else its base."""
    record = Checkpoint.read(folder)
    if adapter_module(record).WHOLE:
        return str(folder)
    return "@".join(filter(None, (record.base["ref"], record.base["revision"])))


def base_of(record: Checkpoint, base: str | Path | ModelRef | None, folder: Path) -> ModelRef:
    """The base to apply a checkpoint to: `base`, or the one that it names, which must not have changed since."""
    if base is not None:
        return ModelRef.of(base)
    ref, revision, sha256 = record.base["ref"] or "", record.base["revision"], record.base["sha256"]
    wanted = f"{ref}@{revision}" if revision else ref
    try:
        found = ModelRef.of(wanted)
        here = found.lock
    except ConceptlibError as error:
        raise ConceptlibError(
            f"this checkpoint needs its base, {wanted}: {error.what}",
            where=str(folder),
            hint="say base= (--base) if it is elsewhere",
        ) from error
    if sha256 and here["sha256"] != sha256:
        raise ConceptlibError(
            f"the base {ref} has changed since this checkpoint was trained on it "
            f"({sha256[:12]}, now {str(here['sha256'])[:12]})",
            where=str(folder),
            hint="erase again, or say base= (--base) to apply it all the same",
        )
    return found
