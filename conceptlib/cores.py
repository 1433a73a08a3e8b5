"""How many processor cores this process may use: not what the machine has, but what affinity and cgroups leave it.

A container with `--cpus 2` on a machine of 64 cores sees all 64; whoever starts 64 threads or processes there waits for
them most of the time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy, 1 or more: the least of its affinity and the CPU quotas (rounded down) of
    its cgroup and of all groups around that, version 1 and 2.

    root: where `proc` and `sys` are.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([affinity, *_quotas(root)])))


def wanted_threads() -> int:
    """The number of threads that the user asks every library for by `OMP_NUM_THREADS` or `MKL_NUM_THREADS`; 0 if none.

    Of a list, as OpenMP has it for nested regions, the first counts.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        first = os.environ.get(name, "").partition(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return 0


def _quotas(root: Path) -> Iterator[float]:
    """CPU quotas in cores, from the process's own group outwards."""
    groups = dict(_groups(_text(root / "proc/self/cgroup")))
    for kind, top, mount in _mounts(_text(root / "proc/self/mountinfo")):
        if kind not in groups:
            continue
        inside = groups[kind].removeprefix(top.rstrip("/")).strip("/") if groups[kind].startswith(top) else ""
        if ".." in Path(inside).parts:  # a group outside of what is mounted here
            inside = ""
        folder = root / mount.lstrip("/")
        for level in [folder / inside, *list((folder / inside).parents)[: len(Path(inside).parts)]]:
            quota = _quota(level)
            if quota is not None:
                yield quota


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Lines of /proc/self/cgroup: `("cgroup2", path)` of version 2, `("cgroup", path)` of version 1's cpu group."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield "cgroup2", path
        elif "cpu" in controllers.split(","):
            yield "cgroup", path


def _mounts(text: str) -> Iterator[tuple[str, str, str]]:
    """Kind of file system, the group that is its top, and the mount point, of every hierarchy that may limit CPUs."""
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        fields, (kind, _, options) = mount.split(), [*system.split(), "", "", ""][:3]
        if len(fields) > 4 and (kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(","))):
            yield kind, fields[3], fields[4].replace("\\040", " ")


def _quota(folder: Path) -> float | None:
    """A group's own limit in cores; None if it has none."""
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return cores if cores > 0 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
