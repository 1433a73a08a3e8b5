"""How much memory a piece of work needed at most, and how much the whole process did."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_highest = 0  # bytes: the process's peak before the mark was set back


@dataclass
class Peak:
    """`mb`: MiB, of the CUDA allocator or else the process's resident set; 0 until the work is done, and where the
    system does not tell.
    """

    mb: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the peak within the block.

    On Linux the kernel's high-water mark is set back at the start, so that what the process did before does not count;
    elsewhere the process's peak so far is all that is known.
    """
    global _highest
    peak = Peak()
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    else:
        _highest = max(_highest, _resident_peak())
        with contextlib.suppress(OSError):  # no Linux, or not allowed
            _CLEAR.write_text("5")  # proc_pid_clear_refs(5): sets VmHWM, and with it ru_maxrss, back
    try:
        yield peak
    finally:
        peak.mb = peak_memory_mb(device)


def peak_memory_mb(device: torch.device) -> int:
    """The most memory in use since the mark was set back, in MiB: the CUDA allocator's, else the resident set's."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device) >> 20)
    return _resident_peak() >> 20


def process_peak() -> int | None:
    """The most memory that this process has ever had resident, in bytes; None on systems that do not say."""
    return max(_highest, _resident_peak()) or None


def _resident_peak() -> int:
    """Bytes; 0 where the system does not tell."""
    try:  # not ru_maxrss, which some kernels do not set back
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak << 10)
