"""A folder that takes another's place as a whole, and what dead processes left beside it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.store.replacing import replacing_folder, restore_folder, scratch_folder

SCRATCH = """
import sys, tempfile, time
from conceptlib.store.replacing import scratch_folder
class Owner: pass
owner = Owner()
print(scratch_folder(owner, "scratch-"), flush=True)
time.sleep(60)
"""

WRITER = """
import sys, time
from pathlib import Path
from conceptlib.store.replacing import replacing_folder
with replacing_folder(Path(sys.argv[1])) as staging:
    (staging / "half").write_text("written")
    print(staging.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that holds nothing else, so that leftovers are seen."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, text: str) -> None:
    restore_folder(folder)
    with replacing_folder(folder) as staging:
        (staging / "file").write_text(text)


@pytest.mark.skipif(os.name == "nt", reason="without flock only the age of a folder tells")
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(place: Path) -> None:
    folder = place / "a" / "out"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        staging = folder.parent / other.stdout.readline().strip()
        write(folder, "first")
        assert names(folder.parent) == sorted([staging.name, "out"]) and (staging / "half").is_file()
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert staging.is_dir()
    (folder.parent / ".other.conceptlib-1.tmp").mkdir()  # of another target
    (folder.parent / ".out.conceptlib-12345.tmp").mkdir()  # as earlier versions called it
    (folder.parent / ".out.conceptlib-notes").write_text("the user's")
    restore_folder(folder)
    assert names(folder.parent) == [".other.conceptlib-1.tmp", ".out.conceptlib-notes", "out"]
    assert (folder / "file").read_text() == "first"


@pytest.mark.skipif(os.name == "nt", reason="without flock only the age of a folder tells")
def test_scratch_folders_go_with_their_owner_and_those_of_the_dead_with_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Owner:
        pass

    monkeypatch.setattr(tempfile, "tempdir", str(place))
    environment = {**os.environ, "TMPDIR": str(place)}
    command = [sys.executable, "-c", SCRATCH]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        owner = Owner()
        mine = scratch_folder(owner, "scratch-")
        assert theirs.is_dir() and mine.is_dir() and theirs != mine
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert theirs.is_dir()
    del owner
    gc.collect()
    assert names(place) == [theirs.name]
    (place / "scratch-notes").mkdir()
    owner = Owner()
    new = scratch_folder(owner, "scratch-").name
    assert names(place) == sorted(["scratch-notes", new])


@pytest.mark.parametrize("replaced", [True, False], ids=["after the renames", "between them"])
def test_what_was_put_aside(place: Path, replaced: bool) -> None:
    folder, aside = place / "out", place / ".out.conceptlib-previous"
    write(folder, "old")
    folder.rename(aside)
    if replaced:
        folder.mkdir()
        (folder / "file").write_text("new")
    restore_folder(folder)
    assert names(place) == ["out"] and (folder / "file").read_text() == ("new" if replaced else "old")


def test_long_names(place: Path) -> None:
    folder = place / ("x" * 255)
    write(folder, "one")
    write(folder, "two")
    assert names(place) == [folder.name] and (folder / "file").read_text() == "two"


def test_what_cannot_be_replaced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for folder, what in ((Path("/"), "the root"), (Path.cwd(), "the working folder"), (Path("/proc"), "a mount point")):
        if what == "a mount point" and not os.path.ismount(folder):
            continue
        with pytest.raises(ConceptlibError, match=f"{what} cannot be replaced.*a folder inside it"):
            write(folder, "x")
    assert names(place) == []


def test_what_came_meanwhile_is_not_removed(place: Path) -> None:
    folder = place / "out"
    folder.mkdir()
    with pytest.raises(ConceptlibError, match="somebody wrote into the target"), replacing_folder(folder):
        (folder / "thesis.tex").write_text("years of work")
    assert names(place) == ["out"] and (folder / "thesis.tex").read_text() == "years of work"
