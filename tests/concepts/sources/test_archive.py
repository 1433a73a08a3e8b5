"""Zip archives: what is in them is read, what is meant to do harm is refused, nothing is unpacked."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources import Reading, ZipSource, open_source
from conceptlib.concepts.sources.archive import Limits, check_download
from conceptlib.errors import ConceptlibError


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 32), 60).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes | zipfile.ZipInfo]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            if isinstance(data, zipfile.ZipInfo):
                opened.writestr(data, b"/etc/passwd")
            else:
                opened.writestr(name, data)
    return path


def test_pictures_and_texts_in_the_order_of_their_names(tmp_path: Path) -> None:
    members = {"b/2.png": picture(), "b/2.txt": "größe".encode(), "a.jpg": picture(), "notes.md": b"x"}
    path = archive(tmp_path / "x.zip", members | {"__MACOSX/a.jpg": b"mac", "b/.x.png": b"hidden"})
    source = open_source(str(path), missing_captions="keep")
    assert isinstance(source, ZipSource) and (source.total, source.ignored) == (2, 1)
    found = list(source.items())
    assert [(item.key, item.caption) for item in found] == [("a.jpg", None), ("b/2.png", "größe")]
    assert found[0].data == members["a.jpg"] and list(source.items()) == found
    assert source.lock()["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [item.key for item in open_source(str(path), rows=1).items()] == ["a.jpg"]


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../a.png": b"x"}, "leads out"),
        ({"a/../../b.png": b"x"}, "leads out"),
        ({"/etc/a.png": b"x"}, "leads out"),
        ({"a\\..\\b.png": b"x"}, "leads out"),
        ({"C:/a.png": b"x"}, "leads out"),
        ({"link.png": link()}, "symbolic link"),
        ({"a.png": bytes(3 << 20)}, "times its size"),
        ({"a.bin": bytes(3 << 20), "b.png": b"x"}, "times its size"),
        ({f"{k}.png": b"x" for k in range(12)}, "12 files, more than 10"),
        ({f"{k}.png": picture() * 100 for k in range(5)}, "would unpack to"),
        ({"a.png": picture() * 1000}, "bytes, more than"),
    ],
)
def test_hostile_archives_are_refused_before_anything_is_read(
    tmp_path: Path, members: dict[str, bytes | zipfile.ZipInfo], message: str
) -> None:
    path = archive(tmp_path / "x.zip", members)
    limits = Limits(files=10, bytes=500_000, file_bytes=4 << 20)
    if message == "bytes, more than":
        limits = Limits(file_bytes=500_000)
    with pytest.raises(ConceptlibError, match=f"the archive is refused.*{message}"):
        ZipSource(path, Reading(missing_captions="keep"), limits)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["x.zip"]


def test_a_name_twice_and_an_encrypted_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("a.png", b"1")
        opened.writestr("a.png", b"2")
    with pytest.raises(ConceptlibError, match="there twice"):
        open_source(str(tmp_path / "x.zip"))
    raw = bytearray(archive(tmp_path / "y.zip", {"a.png": picture()}).read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(raw)
    with pytest.raises(ConceptlibError, match="encrypted"):
        open_source(str(tmp_path / "y.zip"))


def test_damaged_members_are_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    data = picture()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.png", data)
        opened.writestr("b.png", data)
    raw = bytearray(path.read_bytes())
    raw[raw.index(data) + 100] ^= 255  # the first copy no longer has the CRC that the table says
    path.write_bytes(raw)
    a, b = open_source(str(path), missing_captions="keep").items()
    assert isinstance(a.data, Reject) and a.data.reason == "damaged" and b.data == data


def test_a_member_that_lies_about_its_size_is_rejected(tmp_path: Path) -> None:
    """The table of contents says 100 bytes, the stream holds a megabyte: no more than promised comes out."""
    path = archive(tmp_path / "x.zip", {"a.png": bytes(range(256)) * 4096})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = (100).to_bytes(4, "little")
    path.write_bytes(raw)
    (item,) = open_source(str(path), missing_captions="keep").items()
    assert isinstance(item.data, Reject) and item.data.reason == "damaged"


def test_no_zip_and_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"nothing")
    with pytest.raises(ConceptlibError, match="the archive cannot be read"):
        open_source(str(tmp_path / "x.zip"))
    with pytest.raises(ConceptlibError, match="no pictures in the archive"):
        open_source(str(archive(tmp_path / "y.zip", {"notes.txt": b"x"})))


def test_a_download_is_known_by_size_and_sha256(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    good = hashlib.sha256(b"abc").hexdigest()
    heard: list[tuple[str, int, int]] = []
    check_download(path, 3, good, lambda *args: heard.append(args))
    assert heard[-1] == ("check", 3, 3)
    with pytest.raises(ConceptlibError, match="3 bytes, not 4"):
        check_download(path, 4, good)
    with pytest.raises(ConceptlibError, match=f"sha256 is {good}, not {'0' * 64}"):
        check_download(path, 3, "0" * 64)
    with pytest.raises(ConceptlibError, match="no such file"):
        check_download(tmp_path / "g", 3, good)
