"""Which device, which number format and which memory layout a model runs with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from conceptlib.errors import ConceptlibError
from conceptlib.models.threads import settle

_log = logging.getLogger(__name__)
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
        """`float32`, `bfloat16` or `float16`."""
        return str(self.dtype).removeprefix("torch.")


def dtype_lock(name: str) -> dict[str, str | int]:
    """What goes into locks of a dtype by name. Version 1 rounded trained weights and latents to it, version 2 does not;
    in float32 both are the same.
    """
    return {"dtype": name} if name == "float32" else {"dtype": name, "dtype_version": 2}


def choose(device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Placement:
    """The placement asked for, or the best one here: CUDA in bfloat16 (float16 on cards that only emulate bfloat16, as
    T4 and V100 do), MPS and CPU in float32. From then on torch uses no more threads than there are cores for this
    process (`threads.settle`), and what a GPU multiplies in float32 goes through its tensor cores (TF32).

    Raises:
        ConceptlibError: an unknown device or dtype name, or a device that this machine does not have.
    """
    chosen = _device(device)
    settle()
    if chosen.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if dtype is None:
        weights = torch.float32
        if chosen.type == "cuda":
            weights = torch.bfloat16 if _has_bfloat16(chosen) else torch.float16
    elif isinstance(dtype, torch.dtype):
        weights = dtype
    elif dtype.removeprefix("torch.") in DTYPES:
        weights = DTYPES[dtype.removeprefix("torch.")]
    else:
        raise ConceptlibError(f"unknown dtype {dtype!r}", where="dtype", hint=f"choose one of {', '.join(DTYPES)}")
    if chosen.type == "cpu" and weights == torch.bfloat16 and not cpu_has_bfloat16():
        _log.warning("this processor computes bfloat16 several times slower than float32: leave the dtype out")
    # Measured on a CPU: a training step of `tiny`'s UNet takes a tenth less; CUDA's tensor cores want it.
    return Placement(chosen, weights, channels_last=chosen.type in {"cpu", "cuda"})


@lru_cache(maxsize=1)
def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself (AVX512-BF16, AMX, or Arm's BF16)."""
    # torch's own list is that of the processor's flags: nothing is computed.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is None:  # an older torch does not say; nothing but a warning depends on it
        return True
    able = capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16"))


def narrow(module: nn.Module, dtype: torch.dtype, keep: Iterable[nn.Parameter]) -> None:
    """Bring a module to `dtype`, all but the parameters `keep`, whose values are not rounded on the way."""
    kept = {id(parameter) for parameter in keep}
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and id(tensor) not in kept:
            tensor.data = tensor.data.to(dtype)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device, without waiting for the copy: work on the device that needs it comes after it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device, non_blocking=True)


def fetch(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start to copy a tensor to the CPU. What is returned waits for the copy, in whichever thread calls it; until then
    the device may be given more work.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> torch.Tensor:
        copied.synchronize()
        return host

    return wait


def _has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


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
