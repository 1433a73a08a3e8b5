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
