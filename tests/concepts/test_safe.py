"""Files that somebody's data names: regular ones inside their root are read, everything else says why it is not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import Root, leads_out, read_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, and beside it one that is nobody's business."""
    (tmp_path / "secret.txt").write_text("secret")
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.txt").write_text("fine")
    return inside


def reason(path: Path, root: Path | None = None, limit: int = 100) -> str:
    with pytest.raises(Reject) as caught:
        read_file(path, limit, root and Root(root))
    assert caught.value.reason in Reject.REASONS and caught.value.detail
    return caught.value.reason


def test_a_file_and_a_link_inside_are_read(folder: Path, tmp_path: Path) -> None:
    (folder / "link.txt").symlink_to("a.txt")
    (tmp_path / "root").symlink_to(folder)  # the user named it
    for path in (folder / "a.txt", folder / "link.txt"):
        assert read_file(path, 100, Root(folder)) == b"fine"
    assert read_file(tmp_path / "root" / "a.txt", 100, Root(tmp_path / "root")) == b"fine"


def test_a_snapshot_of_the_hubs_cache_is_made_of_links(tmp_path: Path) -> None:
    (tmp_path / "repo" / "blobs").mkdir(parents=True)
    (tmp_path / "repo" / "blobs" / "abc").write_text("fine")
    (tmp_path / "out").write_text("secret")
    snapshot = tmp_path / "repo" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "a.txt").symlink_to("../../blobs/abc")
    (snapshot / "b.txt").symlink_to("../../../out")
    assert read_file(snapshot / "a.txt", 100, Root(snapshot)) == b"fine"
    assert reason(snapshot / "b.txt", snapshot) == "refused"


@pytest.mark.parametrize("target", ["../secret.txt", "/proc/self/environ", "/dev/zero", "/dev/null", ".."])
def test_links_that_lead_out_are_refused(folder: Path, target: str) -> None:
    (folder / "link.txt").symlink_to(target)
    assert reason(folder / "link.txt", folder) == "refused"


def test_what_is_no_file_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "sub").mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        os.chdir(folder)  # names of sockets are short
        opened.bind("socket")
        assert {reason(folder / name) for name in ("fifo", "sub", "socket")} == {"refused"}
    assert {reason(Path(name)) for name in ("/dev/zero", "/dev/null")} == {"refused"}


def test_what_cannot_be_read_says_so(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("nothing")
    assert reason(folder / "no", folder) == reason(folder / "gone", folder) == "missing-file"
    assert reason(folder / "a.txt" / "x", folder) == "missing-file"
    assert reason(folder / "loop") == reason(folder / "a\0b") == reason(folder / ("x" * 300)) == "unreadable"


def test_no_more_is_read_than_the_limit(folder: Path) -> None:
    assert read_file(folder / "a.txt", 4) == b"fine" and reason(folder / "a.txt", limit=3) == "too-large"
    assert reason(Path("/proc/self/environ"), limit=1) == "too-large"  # its size is said to be 0


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("a/b.png", False),
        ("a..b/c..png", False),
        ("12:30/a.png", False),
        ("../a", True),
        ("a/../b", True),
        ("a\\..\\b", True),
        ("/a", True),
        ("\\\\host\\a", True),
        ("C:\\a", True),
        ("c:a", True),
    ],
)
def test_names_that_lead_out(name: str, out: bool) -> None:
    assert leads_out(name) is out


def test_others_errors_have_one_line_and_no_addresses() -> None:
    import io

    assert first_line(ValueError(f"cannot identify image file {io.BytesIO()!r}\nmore")) == (
        "cannot identify image file the file"
    )
    assert first_line(ValueError(f"{object()!r} is bad")) == "a object is bad" and first_line(KeyError()) == "KeyError"
