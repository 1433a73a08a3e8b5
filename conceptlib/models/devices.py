"""Which device, which number format and which memory layout a model runs with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from conceptlib.errors import ConceptlibError
from conceptlib.models.threads import settle

DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Placement:
    """Where a model lives: the torch device, the dtype of its weights, and whether convolutions use channels-last
    memory.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    @property
    def dtype_name(self) -> str:
        """`float32`, `bfloat16` or `float16`: what goes into locks."""
        return str(self.dtype).removeprefix("torch.")


def choose(device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Placement:
    """The placement asked for, or the best one here: CUDA in bfloat16 (float16 on cards without it), MPS and CPU in
    float32. From then on torch uses no more threads than there are cores for this process (`threads.settle`).

    Raises:
        ConceptlibError: an unknown device or dtype name, or a device that this machine does not have.
    """
    chosen = _device(device)
    settle()
    if dtype is None:
        weights = torch.float32
        if chosen.type == "cuda":
            weights = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    elif isinstance(dtype, torch.dtype):
        weights = dtype
    elif dtype.removeprefix("torch.") in DTYPES:
        weights = DTYPES[dtype.removeprefix("torch.")]
    else:
        raise ConceptlibError(f"unknown dtype {dtype!r}", where="dtype", hint=f"choose one of {', '.join(DTYPES)}")
    # Measured on a CPU: a training step of `tiny`'s UNet takes a tenth less; CUDA's tensor cores want it.
    return Placement(chosen, weights, channels_last=chosen.type in {"cpu", "cuda"})


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConceptlibError(
            f"unknown device {str(device)!r}", where="device", hint="use cpu, cuda, cuda:1 or mps"
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(chosen.type, False):
        raise ConceptlibError(
            f"this machine has no device {str(device)!r}", where="device", hint="leave --device out to use what is here"
        )
    return chosen
