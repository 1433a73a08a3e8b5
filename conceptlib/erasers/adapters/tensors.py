"""The changed tensors alone: `<component>.changed.safetensors`, a tensor under its name in the component.

Plain torch reads them: `unet.load_state_dict(load_file("unet.changed.safetensors"), strict=False)`. This is the
form of ESD's released files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conceptlib.erasers.adapters._tokens import apply_tokens, save_tokens
from conceptlib.erasers.files import read_tensors, save_tensors
from conceptlib.errors import ConceptlibError
from conceptlib.models.family import of

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint

WHOLE = False


def file_name(component: str) -> str:
    """The file that holds a component's changed tensors."""
    return f"{component}.changed.safetensors"


def save(folder: Path, pipe: Any, result: Result, record: Checkpoint) -> None:
    """Write the tensors of `result.changed` as they are in the pipeline now."""
    for component, names in _by_component(record.tensors).items():
        own = dict(of(pipe).components()[component].named_parameters())
        save_tensors(folder / file_name(component), {name: own[name] for name in names}, record.metadata())
    save_tokens(folder, pipe, result)


def apply(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Copy the tensors over the base's.

    Raises:
        ConceptlibError: a tensor of the checkpoint's list that is not in its files, one that is not in the list, one
            that the base lacks, or that has another shape there.
    """
    apply_tokens(folder, record, pipe)
    known = of(pipe).parameters()
    for name, tensor in read_changed(folder, record).items():
        own = known.get(name)
        if own is None or own.shape != tensor.shape:
            found = "no such tensor" if own is None else f"a tensor of shape {tuple(own.shape)}"
            raise ConceptlibError(
                f"the checkpoint changes {name} of shape {tuple(tensor.shape)}, this base has {found}",
                where=str(folder),
                hint="apply it to the base that it was made from",
            )
        with torch.no_grad():
            own.copy_(tensor)


def read_changed(folder: Path, record: Checkpoint) -> dict[str, torch.Tensor]:
    """`{component.name: tensor}` of a checkpoint, exactly those that `checkpoint.json` lists."""
    found: dict[str, torch.Tensor] = {}
    for component in _by_component(record.tensors):
        tensors = read_tensors(folder / file_name(component), "the changed tensors")
        found |= {f"{component}.{name}": tensor for name, tensor in tensors.items()}
    missing, left_over = sorted(set(record.tensors) - set(found)), sorted(set(found) - set(record.tensors))
    if missing or left_over:
        what = f"lack {missing[0]}" if missing else f"hold {left_over[0]}, which the checkpoint does not list"
        raise ConceptlibError(
            f"the changed tensors {what} ({len(missing)} missing, {len(left_over)} left over)",
            where=str(folder),
            hint="the checkpoint is incomplete or its files do not belong together",
        )
    return found


def _by_component(names: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        component, _, inner = name.partition(".")
        if not (component.isidentifier() and inner):  # it becomes a file name
            raise ConceptlibError(f"{name!r} names no tensor of a component", hint="the checkpoint.json is damaged")
        found.setdefault(component, []).append(inner)
    return found
