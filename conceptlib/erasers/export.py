"""A checkpoint in another form: the whole model, LoRA, or the changed tensors. Exactly, or not at all.

What is exact: laying any weights on their base gives the whole model; a whole model differs from its base by certain
tensors; changes of low rank (closed forms, trained LoRA) are products of thin matrices. Sums and factors are rounded to
float32 once. What is not: a change of full rank as a LoRA, or a rule of inference as weights.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from conceptlib.erasers.base import Result
from conceptlib.erasers.checkpoint import Checkpoint, adapter_module, base_of, open_folder
from conceptlib.erasers.files import system_errors
from conceptlib.erasers.find import find
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.models.devices import choose
from conceptlib.models.family import of
from conceptlib.specs.registry import METHODS
from conceptlib.store import Artifact, Store
from conceptlib.store.files import is_vacant
from conceptlib.store.replacing import replacing_folder, restore_folder

WEIGHTS = ("full", "lora", "tensors")


@dataclass(frozen=True)
class Exported:
    """path: the folder. adapter: its form. was: the form before. tensors: how many changed. notes: how exact it is."""

    path: Path
    adapter: str
    was: str
    tensors: int
    notes: tuple[str, ...]


def export_checkpoint(
    ref: str | Path | Artifact,
    adapter: str,
    to: str | Path,
    *,
    base: str | Path | None = None,
    store: Store | None = None,
) -> Exported:
    """Write a checkpoint in another form.

    Args:
        ref: a checkpoint: name, id, artifact, folder or Hub id.
        adapter: `full`, `lora` or `tensors`.
        to: a folder that is not there yet, or is empty; `conceptlib.load` opens it.
        base: where the checkpoint's base is, if not where the checkpoint says.

    Raises:
        ConceptlibError: no such checkpoint; a form that it cannot have exactly (the message says why); a folder that
            is in use. Nothing is left behind.
    """
    target = Path(to).expanduser().absolute()
    restore_folder(target)
    if not is_vacant(target):
        raise _in_use(target)
    folder = find(ref, store)
    if folder is None:
        raise NotFound(f"{ref} is a base: it has no other form", hint="name a checkpoint")
    record = Checkpoint.read(folder)
    _check(record, adapter)
    pipe, before = _opened(folder, record, base)
    changed = _changed(pipe, before, record)
    if not changed and adapter != "full":
        raise ConceptlibError(
            "no weight of this checkpoint differs from its base", where=str(folder), hint="nothing to export"
        )
    with replacing_folder(target) as staging:
        written = dataclasses.replace(record, adapter=adapter, tensors=tuple(sorted(changed)))
        result = Result(adapter=adapter, tokens=record.tokens, changed=changed)  # type: ignore[arg-type]
        with system_errors(target):
            adapter_module(written).save(staging, pipe, result, written)
        written.write(staging)
    return Exported(target, adapter, record.adapter, len(changed), _notes(record.adapter, adapter))


def _in_use(target: Path) -> ConceptlibError:
    return ConceptlibError("this folder is in use", where=str(target), hint="name one that is not there yet")


def _check(record: Checkpoint, adapter: str) -> None:
    """Refuse what has no exact answer before anything is loaded."""
    if adapter not in WEIGHTS:
        raise UsageError(f"a checkpoint cannot be exported as {adapter!r}", hint=f"one of {', '.join(WEIGHTS)}")
    if record.adapter == adapter:
        raise UsageError(f"this checkpoint is of the form {adapter} already", hint="copy its folder")
    if record.adapter == "config" and hasattr(METHODS.get(record.method), "apply"):
        raise ConceptlibError(
            f"{record.method} works at inference and changes no weight: no weights do the same",
            hint="`conceptlib.load` applies it, and `conceptlib publish` passes it on as it is",
        )
    if record.adapter == "embeddings" and adapter != "full":
        raise ConceptlibError(
            f"this checkpoint holds new tokens alone, nothing that could be {adapter}", hint="export it as full"
        )


def _opened(folder: Path, record: Checkpoint, base: str | Path | None) -> tuple[Any, Any]:
    """The erased pipeline with every change in its own weights, and the base; in float32 on the CPU."""
    placement = choose("cpu", "float32")
    whole = bool(adapter_module(record).WHOLE)
    reference = base_of(record, base, folder)  # hashed once for both
    pipe = open_folder(folder, placement, None if whole else reference)
    return pipe, reference.load(placement)


def _changed(pipe: Any, before: Any, record: Checkpoint) -> dict[str, torch.Tensor]:
    """`Result.changed`: the base's values of the tensors that differ; new tokens' rows are not among them.

    Raises:
        ConceptlibError: a tensor of another name or shape than the base's.
    """
    found: dict[str, torch.Tensor] = {}
    tables = {id(encoder.module.get_input_embeddings().weight) for encoder in of(pipe).encoders}
    for component, module in of(pipe).components().items():
        now, then = (dict(one.named_parameters()) for one in (module, of(before).components()[component]))
        for name in sorted(set(now) | set(then)):
            ours, theirs = now.get(name), then.get(name)
            is_table = bool(record.tokens) and id(ours) in tables
            if is_table and ours is not None and theirs is not None and torch.equal(ours[: len(theirs)], theirs):
                continue
            if ours is None or theirs is None or ours.shape != theirs.shape:
                raise ConceptlibError(
                    f"{component}.{name} is not of the same shape in the checkpoint and in its base",
                    hint="export it as full",
                )
            if not torch.equal(ours, theirs):
                found[f"{component}.{name}"] = theirs.detach()
    return found


def _notes(was: str, adapter: str) -> tuple[str, ...]:
    if was == "lora":
        return ("exact but for the rounding of the sum of weight and product to float32",)
    if adapter == "lora":
        return ("exact but for the rounding of the factors to float32: singular values below 1e-5 of the largest",)
    return ("exact: the same bits",)
