from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.store import files


def test_atomic_write_replaces_and_leaves_nothing_else(folder: Path) -> None:
    target = folder / "deep" / "x.txt"
    files.atomic_write(target, "één")
    files.atomic_write(target, b"two")
    assert target.read_bytes() == b"two"
    assert [path.name for path in target.parent.iterdir()] == ["x.txt"]


def test_a_failing_writer_leaves_the_old_content(folder: Path) -> None:
    target = folder / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        assert temporary.name == "x.txt"
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in folder.iterdir()] == ["x.txt"]


def test_leftovers_are_files_and_folders_ending_in_tmp(folder: Path) -> None:
    (folder / "sub" / ".1234.tmp").mkdir(parents=True)
    (folder / "sub" / ".1234.tmp" / "x.bin").write_bytes(b"half")
    (folder / "x.bin.tmp").write_bytes(b"half")
    (folder / "tmp").write_bytes(b"whole")
    files.remove_leftovers(folder)
    assert [path.name for path in files.walk(folder)] == ["tmp"]


def test_walk_sorts_by_the_whole_path(folder: Path) -> None:
    for name in ("b", "a/z", "a-b", "a/a"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    found = [path.relative_to(folder).as_posix() for path in files.walk(folder)]
    assert found == sorted(["b", "a/z", "a-b", "a/a"])


def test_rename_folder_says_when_somebody_was_first(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / name).touch()
    assert files.rename_folder(folder / "one", folder / "to" / "here")
    assert not files.rename_folder(folder / "two", folder / "to" / "here")
    assert [path.name for path in (folder / "to" / "here").iterdir()] == ["one"]
    assert (folder / "two" / "two").exists()


def test_rename_folder_does_not_hide_other_errors(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.rename_folder(folder / "absent", folder / "to")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full_names_the_place_and_the_way_out(folder: Path, number: int) -> None:
    error = files.disk_full(OSError(number, os.strerror(number)), folder)
    assert isinstance(error, ConceptlibError)
    assert "disk is full" in error.what and error.where == str(folder) and "conceptlib gc" in error.hint


@pytest.mark.parametrize("error", [None, OSError(errno.EACCES, "no"), ValueError("no")])
def test_other_errors_are_not_a_full_disk(folder: Path, error: BaseException | None) -> None:
    assert files.disk_full(error, folder) is None


def test_size_of_counts_bytes(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_bytes(b"12345")
    (folder / "b").write_bytes(b"123")
    assert files.size_of(folder) == 8


def test_a_vacant_folder_is_absent_or_empty(folder: Path) -> None:
    assert files.is_vacant(folder / "new")
    assert files.is_vacant(folder)
    (folder / "x").write_text("mine")
    assert not files.is_vacant(folder)
    with pytest.raises(ConceptlibError, match="the target is a file"):
        files.is_vacant(folder / "x")
