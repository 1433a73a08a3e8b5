"""Cores that a process may use, by fake files of cgroups as they look on real machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conceptlib import cores

V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "33 32 0:28 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 32 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
)
CPU = "sys/fs/cgroup/cpu,cpuacct/"


def machine(root: Path, group: str, mounts: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": group, "proc/self/mountinfo": mounts, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def sixty_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)


@pytest.mark.parametrize(
    ("group", "mounts", "files", "expected"),
    [
        ("0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ("0::/\n", V2.format(top="/"), {}, 64),
        ("0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 64),
        ("0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "nonsense"}, 64),
        # a group inside of groups: the tightest counts, wherever it is
        (
            "0::/kubepods/pod1/app\n",
            V2.format(top="/"),
            {
                "sys/fs/cgroup/kubepods/cpu.max": "3200000 100000",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "300000 100000",
                "sys/fs/cgroup/kubepods/pod1/app/cpu.max": "max 100000",
            },
            3,
        ),
        # the container's own group is what is mounted, and the path is the host's
        ("0::/docker/abc\n", V2.format(top="/docker/abc"), {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        ("0::/docker/abc/in\n", V2.format(top="/docker/abc"), {"sys/fs/cgroup/in/cpu.max": "500000 100000"}, 5),
        ("0::/../../other\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
        # version 1
        (
            "5:cpu,cpuacct:/\n4:memory:/\n",
            V1.format(top="/"),
            {CPU + "cpu.cfs_quota_us": "200000\n", CPU + "cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "5:cpu,cpuacct:/\n",
            V1.format(top="/"),
            {CPU + "cpu.cfs_quota_us": "-1\n", CPU + "cpu.cfs_period_us": "100000\n"},
            64,
        ),
        (
            "5:cpu,cpuacct:/docker/abc\n",
            V1.format(top="/docker/abc"),
            {CPU + "cpu.cfs_quota_us": "150000", CPU + "cpu.cfs_period_us": "50000"},
            3,
        ),
        (
            "5:cpu,cpuacct:/slurm/job/step\n",
            V1.format(top="/"),
            {
                CPU + "slurm/job/cpu.cfs_quota_us": "800000",
                CPU + "slurm/job/cpu.cfs_period_us": "100000",
                CPU + "slurm/job/step/cpu.cfs_quota_us": "-1",
                CPU + "slurm/job/step/cpu.cfs_period_us": "100000",
            },
            8,
        ),
        # both versions are mounted, and version 1 has the cpu controller
        (
            "5:cpu,cpuacct:/\n0::/\n",
            V1.format(top="/") + "41 32 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            {CPU + "cpu.cfs_quota_us": "600000", CPU + "cpu.cfs_period_us": "100000"},
            6,
        ),
        ("", "", {}, 64),
        ("garbage\n::\n", "garbage - \n - - -\n", {}, 64),
    ],
)
def test_quotas(group: str, mounts: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert cores.available(machine(tmp_path, group, mounts, files)) == expected


def test_the_affinity_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, "0::/\n", V2.format(top="/"), {"sys/fs/cgroup/cpu.max": "800000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert cores.available(root) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.available(root) == 1


def test_this_machine_has_some() -> None:
    assert cores.available() >= 1


@pytest.mark.parametrize(
    ("code", "set_to", "expected"),
    [
        ("import conceptlib", None, "PASSIVE"),
        ("import conceptlib", "ACTIVE", "ACTIVE"),
        ("import sys; sys.modules['torch'] = sys; import conceptlib", None, "None"),  # it would come too late
    ],
)
def test_threads_that_wait_do_not_spin(code: str, set_to: str | None, expected: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": set_to} if set_to else {}
    code += "; import os; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
