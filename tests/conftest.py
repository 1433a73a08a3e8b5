"""Fixtures for the whole suite: a home of its own for every test, and no network."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before huggingface_hub is imported anywhere: it reads these once. A test of the Hub starts its own loopback server
# and sets what it needs.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test asserts on wall time, and a busy machine is no counterexample.
# In CI the examples are the same every time: a change is judged by what it changes, new examples are found at the desk.
settings.register_profile("conceptlib", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("conceptlib")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: a process a core that this one may use, so many as there is something to gain and memory for."""
    from conceptlib.cores import available

    return min(available(), 4)


def _not_to_the_disk(handle: int) -> None:
    """`os.fsync` without the disk: tests start no power cut, and several processes that sync wait for each other most
    of the time. What is no open file is an error as before.
    """
    os.fstat(handle)


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _not_to_the_disk)
        yield


@pytest.fixture(scope="module", autouse=True)
def collected() -> None:
    """What the last module left is gone, with its warnings; and what stays, a million objects of large libraries, is
    looked at by no collection from here on: each would take half a second.
    """
    gc.collect()
    gc.freeze()


# At the end all is garbage: some libraries look for what is left of theirs, and tell.
atexit.register(gc.unfreeze)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Each test finds torch's random numbers, threads and type in the same state, whichever tests ran before."""
    torch = sys.modules.get("torch")
    before = (torch.get_num_threads(), torch.get_default_dtype()) if torch else None
    if torch:
        torch.manual_seed(0)
    yield
    if torch and before != (torch.get_num_threads(), torch.get_default_dtype()):
        torch.set_num_threads(before[0])
        torch.set_default_dtype(before[1])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `CONCEPTLIB_HOME` and an empty working folder: no test sees the user's artifacts, specs or tokens."""
    folder = tmp_path / "home"
    folder.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("CONCEPTLIB_HOME", str(folder))
    monkeypatch.setenv("CONCEPTLIB_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("CONCEPTLIB_PLUGINS", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("CONCEPTLIB_DEBUG", raising=False)
    monkeypatch.chdir(work)
    return folder
