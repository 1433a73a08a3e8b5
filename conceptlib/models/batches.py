"""How many rows are worked on at once: as many as the caller wants, and no more than fit the memory there is.

A result must not depend on the batch beyond float rounding; a batch is a matter of speed and memory alone.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from conceptlib.errors import ConceptlibError

Part = TypeVar("Part")
SHARE = 0.25
"""Of the free memory, what one stage may take: the rest is for what else the process and its neighbours do."""
_CGROUP = Path("/sys/fs/cgroup")
_log = logging.getLogger(__name__)


def free_memory(device: torch.device) -> int:
    """Bytes that a device can still give: of a CPU within this process's control group (a container's limit)."""
    if device.type == "cuda":
        # What torch has set aside and does not use is free for torch.
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + spare
    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            free = min(free, int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
    return max(0, free)


def in_batches(
    count: int, work: Callable[[slice], Part], *, most: int, row_bytes: int, device: torch.device, what: str
) -> Iterator[Part]:
    """`work` over rows 0 to `count`, in order, batch by batch.

    Args:
        work: rows to whatever they give; may be called again for rows that did not fit.
        most: rows at once, at most.
        row_bytes: roughly what a row needs while it is worked on.
        what: the rows, in the plural, for messages.

    Raises:
        ConceptlibError: a single row does not fit.
    """
    fits = int(SHARE * free_memory(device)) // max(1, row_bytes)
    size = max(1, min(most, count, fits))
    if size < min(most, count):
        _log.info("%s are worked on %d at once: more do not fit the memory", what, size)
    start = 0
    while start < count:
        try:
            part = work(slice(start, min(start + size, count)))
        except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if size == 1:
                raise ConceptlibError(
                    f"one of the {what} does not fit the memory of {device}",
                    hint="use a smaller resolution, another device, or close what else uses it",
                ) from error
            size //= 2
            if device.type == "cuda":
                torch.cuda.empty_cache()
            _log.warning("out of memory: %s are worked on %d at once from here on", what, size)
            continue
        yield part
        start += size


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's CPU allocator and MPS say so in a RuntimeError's words alone."""
    words = str(error).lower()
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "not enough memory" in words or "out of memory" in words
