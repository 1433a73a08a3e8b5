"""The processes of an `accelerate launch`: what each of them does of a shared work, and how they wait for each other.

NCCL ends a job whose processes wait longer than its timeout (ten minutes), and one may well need longer than another:
for a lock of the store, for pictures that are larger, for the files of a checkpoint. So they wait in a group of their
own, by gloo on the CPU, as long as it takes; when one of them fails, the launcher ends the others.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch

PATIENCE = timedelta(days=30)
_group: tuple[Any, Any] = (None, None)


def make_accelerator(placement: Any) -> Any:
    """accelerate's `Accelerator` for a placement: autocast where the dtype is bfloat16 or float16, weights stay
    float32. In float16 losses are scaled (`accelerator.scaler`), or small gradients would vanish.

    A single process computes on the placement's device, `cuda:1` too; under `accelerate launch` each has its own.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    # accelerate keeps one state a process, and refuses a second run of another dtype or device. A new state leaves an
    # earlier accelerator its own.
    AcceleratorState._shared_state = type(AcceleratorState._shared_state)()
    if not torch.distributed.is_initialized():
        PartialState._shared_state = type(PartialState._shared_state)()
    kind = placement.device.type
    precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(placement.dtype, "no")
    by_hand = precision == "fp16" and kind == "cpu"  # torch can do it, accelerate thinks that it cannot
    accelerator = Accelerator(mixed_precision="no" if by_hand else precision, cpu=kind == "cpu")
    if by_hand:
        accelerator.state._mixed_precision, accelerator.native_amp = precision, True
        accelerator.scaler = torch.amp.GradScaler("cpu")
    if accelerator.num_processes == 1 and kind == "cuda":
        if placement.device.index is not None:
            torch.cuda.set_device(placement.device)
        accelerator.state.device = placement.device
    meet(accelerator)
    return accelerator


def meet(accelerator: Any) -> None:
    """Make the group; all processes call it at about the same time."""
    global _group
    world = torch.distributed.group.WORLD if accelerator.num_processes > 1 else None
    if world is not None and _group[0] is not world:
        _group = world, torch.distributed.new_group(backend="gloo", timeout=PATIENCE)


def wait(accelerator: Any) -> None:
    """Until all processes are here."""
    if accelerator.num_processes > 1:
        torch.distributed.barrier(group=_group[1])


def told(accelerator: Any, *said: Any) -> list[Any]:
    """What the main process says, in all processes; the others give as many placeholders."""
    words = list(said)
    if accelerator.num_processes > 1:
        torch.distributed.broadcast_object_list(words, src=0, group=_group[1])
    return words


def own(accelerator: Any, count: int) -> range:
    """Which of `count` parts of a work are this process's."""
    return range(accelerator.process_index, count, accelerator.num_processes)
