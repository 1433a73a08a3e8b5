"""What strangers put into sources: every row is a row or a reject with its reason, nothing outside is read, nothing
hangs, nothing takes all memory."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import conceptlib
from conceptlib.concepts.images import decode
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.sources import Item, open_source
from conceptlib.concepts.sources import samples as sampling
from conceptlib.concepts.sources import tar as tars
from conceptlib.errors import ConceptlibError

PAIR = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(colour: str = "red", form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 32), colour).save(buffer, form, **options)
    return buffer.getvalue()


def by_key(ref: Path, **options: Any) -> dict[str, Item]:
    items = list(open_source(str(ref), **options).items())
    assert len({item.key for item in items}) == len(items)
    return {item.key: item for item in items}


def reason(item: Item) -> str | None:
    return item.data.reason if isinstance(item.data, Reject) else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a captioned picture, and beside it a private picture and a secret."""
    (tmp_path / "private.png").write_bytes(picture("blue"))
    (tmp_path / "secret.txt").write_text("token")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "ok.png").write_bytes(picture())
    (tmp_path / "in" / "ok.txt").write_text("fine")
    return tmp_path / "in"


def test_pictures_and_captions_that_lead_out_of_a_folder(folder: Path) -> None:
    (folder / "a.png").symlink_to("../private.png")
    (folder / "b.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "c.png")
    for name, target in (("d", "/proc/self/environ"), ("e", "../secret.txt"), ("f", "ok.txt")):
        (folder / f"{name}.png").write_bytes(picture())
        (folder / f"{name}.txt").symlink_to(target)
    (folder / "g.png").write_bytes(picture())
    os.mkfifo(folder / "g.txt")
    (folder / "h.png").symlink_to("ok.png")
    (folder / "h.txt").write_text("a link inside")
    items = by_key(folder, missing_captions="keep")
    refused = {key for key, item in items.items() if reason(item) == "refused"}
    assert refused == {"a.png", "b.png", "c.png", "d.png", "e.png", "g.png"}
    assert {key: item.caption for key, item in items.items() if key not in refused} == {
        "ok.png": "fine",
        "f.png": "fine",
        "h.png": "a link inside",
    }
    assert "token" not in repr(items) and open_source(str(folder)).lock()["refused"].keys() >= {"a.png", "d.txt"}


def test_metadata_that_is_no_file_of_the_folder_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\nok.png,stolen\n")
    (folder / "metadata.csv").symlink_to("../metadata.csv")
    with pytest.raises(ConceptlibError, match="metadata file is not read: a link leads out"):
        open_source(str(folder))
    (folder / "metadata.csv").unlink()
    os.mkfifo(folder / "metadata.csv")
    with pytest.raises(ConceptlibError, match="metadata file is not read: it is a fifo"):
        open_source(str(folder))


@pytest.mark.parametrize("name", ["a.png", "a.zip", "a.tar", "a.parquet"])
def test_a_source_that_is_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConceptlibError, match="it is a fifo"):
        open_source(str(tmp_path / name))


def test_a_thousand_folders_in_each_other_and_one_that_cannot_be_read(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    Path("deep.png").write_bytes(picture())
    os.chdir(here)
    (folder / "shut").mkdir(mode=0o000)
    items = by_key(folder, missing_captions="keep")
    (folder / "shut").chmod(0o700)
    subprocess.run(["rm", "-rf", str(folder / "d")], check=True)  # pytest's own removal recurses
    deep = "/".join(["d"] * 1500)
    assert items.keys() - {"shut"} == {"ok.png", f"{deep}/deep.png"}
    if os.geteuid():
        assert reason(items["shut"]) == "unreadable"


# Tables


def table(path: Path, rows: list[Any], kind: pa.DataType | None = PAIR) -> Path:
    pq.write_table(pa.table({"image": pa.array(rows, kind), "text": [f"row {k}" for k in range(len(rows))]}), path)
    return path


def test_a_row_that_names_a_file_or_an_address(folder: Path, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    (folder / "link.png").symlink_to(private)
    paths = ["ok.png", "./ok.png", str(folder / "ok.png"), "gone.png"]
    out = [str(private), "../private.png", "..\\private.png", "link.png", f"file://{private}", "file:///dev/zero"]
    rows = [{"bytes": picture(), "path": "/any/name.png"}, *({"bytes": None, "path": path} for path in [*paths, *out])]
    rows += [{"bytes": None, "path": f"{scheme}://127.0.0.1:9/x.png"} for scheme in ("http", "ftp", "zzz", "s3")]
    path = table(folder / "t.parquet", rows)
    for ref in (path, folder):
        items = list(by_key(ref).values())
        assert items[0].data == picture() and [item.data for item in items[1:4]] == [folder / "ok.png"] * 3
        assert [reason(item) for item in items[4:]] == ["missing-file"] + ["refused"] * 10
    (folder / "ok.png").write_bytes(picture("green"))
    assert open_source(str(path)).lock() != open_source(str(table(tmp_path / "other.parquet", rows))).lock()


def test_an_address_is_opened_where_its_scheme_is_named(tmp_path: Path) -> None:
    import http.server
    import threading

    (tmp_path / "x.png").write_bytes(picture())

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        path = table(
            tmp_path / "t.parquet", [f"{address}/x.png", f"{address}/no.png", "http://127.0.0.1:9/"], pa.string()
        )
        refused = list(open_source(str(path)).items())
        found = list(open_source(str(path), schemes=("http",)).items())
        server.shutdown()
    assert [reason(item) for item in refused] == ["refused"] * 3 and "schemes=[http]" in str(refused[0].data)
    assert found[0].data == picture() and [reason(item) for item in found[1:]] == ["missing-file", "unreadable"]


@pytest.mark.parametrize(
    "pattern", ["/etc/*.parquet", "../*.parquet", "hf://datasets/a/b/x.parquet", "https://h/x.parquet", "C:/x.parquet"]
)
def test_a_readme_that_leads_out(folder: Path, tmp_path: Path, pattern: str) -> None:
    table(tmp_path / "out.parquet", [{"bytes": picture(), "path": None}])
    table(folder / "in.parquet", [{"bytes": picture(), "path": None}])
    (folder / "ok.png").unlink()
    for files in (f'"{pattern}"', f'\n    - split: train\n      path: ["in.parquet", "{pattern}"]'):
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {files}\n---\n")
        with pytest.raises(ConceptlibError, match=r"leads out of the folder.*README\.md"):
            open_source(str(folder))


def test_a_saved_dataset_that_leads_out(folder: Path) -> None:
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}')
    with pytest.raises(ConceptlibError, match=r"leads out of the folder.*state\.json"):
        open_source(str(folder))
    (folder / "state.json").write_text("[" * 100_000)
    with pytest.raises(ConceptlibError, match="nested too deeply"):
        open_source(str(folder))
    (folder / "state.json").write_text("[]")
    with pytest.raises(ConceptlibError, match="no column holds the pictures"):
        open_source(str(folder))


def test_a_linked_table_is_a_reject(folder: Path, tmp_path: Path) -> None:
    (folder / "ok.png").unlink()
    table(tmp_path / "out.parquet", [{"bytes": picture("blue"), "path": None}])
    table(folder / "in.parquet", [{"bytes": picture(), "path": None}])
    (folder / "link.parquet").symlink_to("../out.parquet")
    items = by_key(folder)
    assert {key: reason(item) for key, item in items.items()} == {"link.parquet": "refused", "row-00000000": None}


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"x" * 200])
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_damaged_table_is_an_error(tmp_path: Path, data: bytes, ending: str) -> None:
    (tmp_path / f"t.{ending}").write_bytes(data)
    with pytest.raises(ConceptlibError, match="the table cannot be read"):
        open_source(str(tmp_path / f"t.{ending}"))


def test_a_table_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    rows = pa.table({"image": [bytes(100 << 20)], "text": ["x"]})
    pq.write_table(rows, tmp_path / "t.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(ConceptlibError, match="unpack to over 200 times"):
        list(open_source(str(tmp_path / "t.parquet")).items())


def test_text_in_another_encoding_and_kinds_that_are_no_text(tmp_path: Path) -> None:
    raw = pa.array([b"caf\xe9", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"image": [picture()] * 2, "text": raw}), tmp_path / "a.parquet")
    items = list(open_source(str(tmp_path / "a.parquet")).items())
    assert [reason(item) for item in items] == ["bad-caption", None] and items[1].caption == "fine"
    named = list(open_source(str(tmp_path / "a.parquet"), encoding="cp1252").items())
    assert [item.caption for item in named] == ["café", "fine"]
    for values in ([1.5, float("nan")], [1, None], [True, None], [{"a": 1}, None], [[["x"]], []]):
        pq.write_table(pa.table({"image": [picture()] * 2, "text": values}), tmp_path / "b.parquet")
        found = [reason(item) for item in open_source(str(tmp_path / "b.parquet")).items()]
        assert found == ["bad-caption", "no-caption"]


# Tars


def tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


SIX = [m for k in range(6) for m in ((f"g{k}.png", picture()), (f"g{k}.txt", b"caption"))]


def flip_header(raw: bytearray) -> None:
    raw[raw.index(b"g3.png") + 100] ^= 1


def cut_at_a_member(raw: bytearray) -> None:
    del raw[raw.index(b"g3.png") :]


def zeros_in_the_middle(raw: bytearray) -> None:
    at = raw.index(b"g3.png")
    raw[at:at] = bytes(1024)


def huge_size(raw: bytearray) -> None:
    """2^87 bytes, in base 256, with the checksum that fits."""
    at = raw.index(b"g3.png")
    raw[at + 124 : at + 136] = b"\x80" + (1 << 87).to_bytes(11, "big")
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])


@pytest.mark.parametrize("harm", [flip_header, cut_at_a_member, zeros_in_the_middle, huge_size])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_a_tar_that_lost_rows_is_an_error(
    tmp_path: Path, harm: Callable[[bytearray], None], pack: Callable[[bytes], bytes]
) -> None:
    raw = bytearray(tar(tmp_path / "a.tar", SIX).read_bytes())
    assert len(by_key(tmp_path / "a.tar")) == 6
    harm(raw)
    (tmp_path / "a.tar").write_bytes(pack(bytes(raw)))
    with pytest.raises(ConceptlibError, match=r"the tar cannot be read.*a\.tar"):
        list(open_source(str(tmp_path / "a.tar")).items())


def test_a_packed_tar_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "SLACK", 1 << 20)
    path = tar(tmp_path / "a.tar.gz", [("ok.png", picture()), ("big.png", bytes(8 << 20))], "w:gz")
    with pytest.raises(ConceptlibError, match="unpack to over 200 times its size"):
        list(open_source(str(path), missing_captions="keep").items())


def test_headers_that_claim_megabytes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("long")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
        archive.addfile(info, io.BytesIO(b"x" * (2 << 20)))
    with pytest.raises(ConceptlibError, match="a name of 2097152 bytes"):
        open_source(str(path))


def test_a_sample_holds_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_SAMPLE_BYTES", 1000)
    path = tar(
        tmp_path / "a.tar", [("a.png", picture()), ("a.jpg", b"x" * 990), ("a.txt", b"fine"), ("a.npy", b"x" * 9999)]
    )
    items = by_key(path)
    assert items["a"].caption == "fine" and items["a"].data == picture()
    assert reason(items["a.jpg"]) == "other-picture"


def test_sparse_members_are_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"%011o\0%011o\0" % (0, 0)
    header[483:495] = b"%011o\0" % (1 << 30)  # what it would unpack to
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10240))
    assert reason(by_key(tmp_path / "a.tar")["a"]) == "refused"


# Zips


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_packed_members_are_rejects(tmp_path: Path, method: int) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": os.urandom(5000), "b.png": picture()}, method)
    raw = bytearray(path.read_bytes())
    raw[60:600] = bytes(540)
    path.write_bytes(raw)
    items = by_key(path, missing_captions="keep")
    assert reason(items["a.png"]) == "damaged" and items["b.png"].data == picture()


def test_a_member_that_lies_beyond_the_file(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": picture(), "b.png": picture()})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2") + 42
    raw[at : at + 4] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(raw)
    items = by_key(path, missing_captions="keep")
    assert reason(items["a.png"]) == "damaged" and items["b.png"].data == picture()


def test_empty_names_and_absurd_attributes_do_no_harm(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"x": b"", "a.png": picture()})
    raw = path.read_bytes().replace(b"x", b"", 0)
    with zipfile.ZipFile(path, "w") as archive:
        empty = zipfile.ZipInfo("x")
        empty.filename = empty.orig_filename = ""
        archive.writestr(empty, b"")
        fifo = zipfile.ZipInfo("a.png")
        fifo.external_attr = (stat.S_IFIFO | 0o777) << 16
        archive.writestr(fifo, picture())
    assert raw and by_key(path, missing_captions="keep")["a.png"].data == picture()


def test_a_password_is_asked_for_in_words(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": picture()})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(ConceptlibError, match=r"encrypted.*with its password"):
        open_source(str(path))


# Pictures


def scans(count: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last scan comes so many times."""
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    assert decode(scans(3)).size == (64, 64)
    with pytest.raises(Reject, match=r"too-large.*scans; at most 100 are read of 64x64 px"):
        decode(scans(200))


def test_a_large_jpeg_may_have_fewer_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptlib.concepts.images.MAX_SCAN_PIXELS", 64 * 64 * 20)
    assert decode(scans(2)).size == (64, 64)
    with pytest.raises(Reject, match="at most 20 are read"):
        decode(scans(30))


def test_texts_of_a_png_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import PngImagePlugin

    def with_text(size: int) -> bytes:
        text = PngImagePlugin.PngInfo()
        text.add_text("workflow", "x" * size, zip=True)
        return picture(pnginfo=text)

    assert decode(with_text(5 << 20)).size == (40, 32)
    before = PngImagePlugin.MAX_TEXT_CHUNK
    monkeypatch.setattr("conceptlib.concepts.images.MAX_PNG_TEXT", 1 << 20)
    with pytest.raises(Reject, match=r"too-large.*a text of the PNG has more than 1 MiB"):
        decode(with_text(5 << 20))
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


def test_details_are_the_same_in_every_run() -> None:
    with pytest.raises(Reject) as caught:
        decode(b"hello")
    assert caught.value.detail == "no picture that is read, or a damaged one"


def test_heic_is_read_or_told() -> None:
    from conceptlib.concepts import images

    if not images.reads_heic():
        with pytest.raises(Reject, match=r"a HEIC picture: `pip install 'conceptlib\[heic\]'`"):
            decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        return
    import pillow_heif

    pillow_heif.register_heif_opener()
    assert decode(picture(form="HEIF")).getpixel((5, 5))[0] > 240  # type: ignore[index]


def test_nothing_of_a_hostile_folder_ends_in_a_dataset(folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").write_bytes(picture("green"))
    (folder / "a.txt").symlink_to("/proc/self/environ")
    (folder / "b.png").symlink_to("../private.png")
    options = [f"source={folder}", "resolution=64", "duplicates=off", "missing_captions=keep"]
    built = conceptlib.build("icd-qr", overrides=options, workers=1)
    assert (built.info["read"], built.info["written"], built.info["rejects"]) == (3, 1, {"refused": 2})
