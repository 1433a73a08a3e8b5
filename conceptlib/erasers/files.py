"""Safetensors files: written whole or not at all, read with an explanation of what is wrong."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError

from conceptlib.errors import ConceptlibError
from conceptlib.store.files import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and metadata to a file, by way of a temporary one.

    Raises:
        OSError: it cannot be written (`errno` ENOSPC on a full disk).
    """
    from safetensors.torch import save_file

    found = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary, system_errors(path):
        save_file(found, temporary, metadata=dict(metadata or {"format": "pt"}))


@contextlib.contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Turn what safetensors says of the system's errors, in text alone ("... (os error 28)"), into OSError."""
    try:
        yield
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def read_tensors(path: Path, what: str) -> dict[str, torch.Tensor]:
    """All tensors of a file, on the CPU.

    Args:
        what: the subject of the message, such as "the changed tensors".

    Raises:
        ConceptlibError: it is not there, or is damaged.
    """
    from safetensors.torch import load_file

    try:
        found: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConceptlibError(f"{what} cannot be read", where=str(path), hint=str(error)) from error
    return found
