"""WebDataset tars: those that the `webdataset` library writes, and those that nobody should."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from conceptlib.concepts.build import build
from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources import Item, TarSource, open_source
from conceptlib.errors import ConceptlibError


def picture(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def items(path: Path, **options: object) -> list[Item]:
    return list(open_source(str(path), **options).items())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_what_the_webdataset_library_writes(tmp_path: Path, name: str) -> None:
    import webdataset

    path = tmp_path / name
    with webdataset.TarWriter(str(path)) as writer:
        writer.write({"__key__": "a/0001", "jpg": Image.new("RGB", (40, 32), "red"), "txt": "ein Kreis, größer"})
        writer.write(
            {"__key__": "a/0002", "png": Image.new("RGB", (40, 32)), "json": {"caption": "写真", "de": "Bild"}}
        )
        writer.write({"__key__": "0003", "png": Image.new("RGB", (40, 32)), "cls": 3})
    found = items(path)
    assert [(item.key, item.caption) for item in found] == [
        ("a/0001", "ein Kreis, größer"),
        ("a/0002", "写真"),
        ("0003", None),
    ]
    assert isinstance(found[0].data, bytes) and found[0].data.startswith(b"\xff\xd8")
    assert isinstance(found[2].data, Reject) and found[2].data.reason == "no-caption"
    assert [i.caption for i in items(path, caption_column="de", missing_captions="keep")] == [None, "Bild", None]
    assert len(items(path, rows=2)) == 2


def test_a_folder_of_tars_in_the_order_of_their_names(tmp_path: Path) -> None:
    for shard in (1, 0):
        tar(tmp_path / f"s-{shard}.tar", [("x.png", picture()), ("x.txt", b"same key")])
    (tmp_path / "README.md").write_text("about")
    source = open_source(str(tmp_path))
    assert isinstance(source, TarSource) and source.ignored == 1
    assert [item.key for item in source.items()] == ["s-0/x", "s-1/x"]
    before = source.lock()
    tar(tmp_path / "s-1.tar", [("x.png", picture("blue")), ("x.txt", b"same key")])
    assert open_source(str(tmp_path)).lock() != before


def test_a_dataset_is_built_from_a_tar(tmp_path: Path) -> None:
    members = [m for k in range(6) for m in ((f"{k}.png", picture("green")), (f"{k}.txt", f"row {k}".encode()))]
    path = tar(tmp_path / "s.tar", members)
    artifact = build("icd-qr", overrides=[f"source={path}", "resolution=64", "duplicates=off"], workers=1)
    assert artifact.info["written"] == 6
    assert str(tmp_path) not in json.dumps(artifact.lock) and artifact.lock["spec"]["params"]["source"] == "s.tar"


def test_hostile_members_are_rejects_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "in" / "s.tar"
    tar(path, [("../../out.png", picture()), ("/abs.png", picture()), ("._x.png", b"mac"), ("ok.png", picture())])
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("link.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    before = sorted(tmp_path.rglob("*"))
    found = items(path, missing_captions="keep")
    told = [(item.key, item.data.detail) for item in found if isinstance(item.data, Reject)]
    assert told == [
        ("../../out", "../../out.png: the name leads out of the tar"),
        ("/abs", "/abs.png: the name leads out of the tar"),
        *(
            (f"link{k}", f"link.png: {kind} and no file")
            for k, kind in (("", "a link"), ("#1", "a link"), ("#2", "a fifo"))
        ),
    ]
    assert [item.key for item in found if isinstance(item.data, bytes)] == ["ok"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_key_that_comes_twice_is_rejected(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "s.tar", [("a.png", picture()), ("b.png", picture()), ("a.png", picture()), ("b.png", picture())]
    )
    found = items(path, missing_captions="keep")
    assert [item.key for item in found] == ["a", "b", "a#1", "b#1"]
    assert [i.data.reason for i in found if isinstance(i.data, Reject)] == ["duplicate", "duplicate"]


def test_the_picture_is_the_plain_member_and_not_a_mask(tmp_path: Path) -> None:
    members = [("a.mask.png", picture("black")), ("a.png", picture("red")), ("a.jpg.txt", b"no"), ("a.txt", b"yes")]
    path = tar(tmp_path / "s.tar", members)
    item, other = items(path)
    assert (item.key, item.data, item.caption) == ("a", picture("red"), "yes")
    assert other.key == "a.mask.png" and isinstance(other.data, Reject) and other.data.reason == "other-picture"
    (mask,) = items(path, image_column="mask.png")
    assert mask.data == picture("black")


def test_too_large_a_member_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptlib.concepts.sources import tar as module

    monkeypatch.setattr(module, "MAX_FILE_BYTES", 1000)
    path = tar(tmp_path / "s.tar", [("a.png", b"x" * 1001), ("b.png", picture())])
    a, b = items(path, missing_captions="keep")
    assert isinstance(a.data, Reject) and a.data.reason == "too-large" and isinstance(b.data, bytes)


def test_a_broken_tar_is_an_error(tmp_path: Path) -> None:
    whole = tar(tmp_path / "s.tar", [(f"{k}.png", picture()) for k in range(50)]).read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[:20_000])
    with pytest.raises(ConceptlibError, match="the tar cannot be read"):
        items(tmp_path / "s.tar", missing_captions="keep")
    (tmp_path / "t.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ConceptlibError, match=r"the tar cannot be read.*t\.tar"):
        open_source(str(tmp_path / "t.tar"))
    tar(tmp_path / "u.tar", [("notes.txt", b"x")])
    with pytest.raises(ConceptlibError, match="no pictures in the tar files"):
        open_source(str(tmp_path / "u.tar"))


@pytest.mark.parametrize("text", [b"{", b"[" * 100_000, b'{"text": ' + b"9" * 5000 + b"}", b'{"text": "caf\xe9"}'])
def test_json_that_cannot_be_read_is_a_reject(tmp_path: Path, text: bytes) -> None:
    path = tar(tmp_path / "v.tar", [("a.json", text), ("a.png", picture()), ("b.png", picture()), ("b.txt", b"fine")])
    a, b = items(path)
    assert isinstance(a.data, Reject) and a.data.reason == "bad-caption" and a.data.detail.startswith("its .json: ")
    assert b.caption == "fine"


def test_memory_holds_one_sample(tmp_path: Path) -> None:
    """Reading ten times as many pictures takes no more memory."""
    import tracemalloc

    def peak(count: int) -> int:
        path = tar(tmp_path / f"{count}.tar", [(f"{k:05}.png", b"\x89PNG" + bytes(100_000)) for k in range(count)])
        source = open_source(str(path), missing_captions="keep")
        tracemalloc.start()
        for _ in source.items():
            pass
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    assert peak(200) < peak(20) + 200_000
