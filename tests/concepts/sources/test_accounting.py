"""For every source: what is in it is a row or a reject with its reason, and nothing of it ends in another error."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import conceptlib
from conceptlib.concepts.images import decode
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.sources import Item, open_source
from conceptlib.concepts.sources.base import Slice, is_picture
from conceptlib.errors import ConceptlibError


def picture(form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((40, 32)).save(buffer, form)
    return buffer.getvalue()


PICTURES = [picture(), picture("JPEG"), picture()[:200], b"", b"no picture", b"\xff\xd8\xff\xe0"]
TEXTS = [b"a dog", b"", b"caf\xe9", "a cat".encode("utf-16"), b"a\0", "一只猫".encode("gbk"), "größe".encode()]
FIELDS = [
    b'{"text": "x"}',
    b'{"text": NaN}',
    b'{"text": ["a", "b"]}',
    b'{"text": 3}',
    b"[1]",
    b"{",
    b"[" * 3000,
    b'{"text": "\\ud800"}',
]
LINES = [
    '{"file_name": "a.png", "text": "x"}',
    '{"file_name": "a.png", "text": {"a": 1}}',
    '{"file_name": "sub/b.jpg", "text": null}',
    '{"file_name": "gone.png", "text": "x"}',
    '{"file_name": "../a.png", "text": "x"}',
    '{"file_name": "\\ud800", "text": "x"}',
    '{"text": "x"}',
    "[1]",
    "{",
    "[" * 3000,
    '{"file_name": "a.png", "text": ' + "9" * 5000 + "}",
]
STEMS = ["a", "sub/b", "sub/a", "c.0001", "c.0002", "c", "train/d", "test/d", "weiß 写", "x.mask"]

files = st.dictionaries(
    st.sampled_from(STEMS).flatmap(
        lambda stem: st.sampled_from(
            [f"{stem}.{ending}" for ending in ("png", "jpg", "PNG", "txt", "caption", "json", "npy")]
        )
    ),
    st.integers(0, 7),
    max_size=12,
)
lines = st.none() | st.lists(st.sampled_from(LINES), max_size=5)
quick = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def contents(drawn: dict[str, int], metadata: list[str] | None) -> dict[str, bytes]:
    pools = {"png": PICTURES, "jpg": PICTURES, "txt": TEXTS, "caption": TEXTS, "json": FIELDS, "npy": TEXTS}
    found = {}
    for name, k in drawn.items():
        pool = pools[name.rpartition(".")[2].lower()]
        found[name] = pool[k % len(pool)]
    if metadata is not None:
        found["metadata.jsonl"] = "\n".join(metadata).encode()
    return found


def check(items: list[Item]) -> None:
    """Keys are unique; an item is a reject with its reason, or a picture that decodes to one or to a reject."""
    assert len({item.key for item in items}) == len(items)
    for item in items:
        assert item.split in ("train", "validation", "test") and item.key.encode()
        data = item.data
        if not isinstance(data, Reject):
            assert item.caption is None or item.caption == item.caption.strip() != ""
            try:
                assert decode(item.load(64)).mode == "RGB"  # type: ignore[arg-type]
            except Reject as reject:
                data = reject
        if isinstance(data, Reject):
            assert data.reason in Reject.REASONS and data.detail and "0x" not in data.detail


def opened(ref: Any, **options: Any) -> list[Item] | None:
    try:
        source = open_source(ref, **options)
        items = list(source.items())
    except ConceptlibError:
        return None
    check(items)
    assert source.lock() == open_source(ref, **options).lock()
    assert [item.fingerprint() for item in source.items()] == [item.fingerprint() for item in items]
    return items


def to_folder(folder: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def to_zip(folder: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return folder / "x.zip"


def to_tar(folder: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(folder / "x.tar", "w") as archive:
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return folder / "x.tar"


@pytest.mark.parametrize("make", [to_folder, to_zip])
@quick
@given(
    drawn=files,
    metadata=lines,
    missing=st.sampled_from(["skip", "keep"]),
    splits=st.sampled_from([None, "keep", "hash"]),
)
def test_every_picture_and_row_of_metadata_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[Path, dict[str, bytes]], Path],
    drawn: dict[str, int],
    metadata: list[str] | None,
    missing: str,
    splits: Any,
) -> None:
    members = contents(drawn, metadata)
    ref = make(tmp_path_factory.mktemp("in"), members)
    items = opened(str(ref), missing_captions=missing, splits=splits)
    if items is None:
        return
    pictures = {name for name in members if is_picture(name)}
    assert pictures <= {item.key for item in items}
    named = {"a.png", "sub/b.jpg"} & pictures
    rows = metadata or []
    whole = [line for line in rows if line.endswith("}") and "999" not in line]
    first = sum(any(f'"{name}"' in line for line in whole) for name in named)
    assert len(items) == len(pictures) + len(rows) - first


@quick
@given(drawn=files, missing=st.sampled_from(["skip", "keep"]))
def test_every_picture_of_a_tar_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, int], missing: str
) -> None:
    members = contents(drawn, None)
    items = opened(str(to_tar(tmp_path_factory.mktemp("in"), members)), missing_captions=missing)
    pictures = [name for name in members if is_picture(name)]
    assert items is None if not pictures else items is not None and len(items) == len(pictures)


VALUES: list[Any] = [*PICTURES, None]
PATHS: list[Any] = [
    "a.png",
    "../a.png",
    "/dev/zero",
    "file:///etc/passwd",
    "http://127.0.0.1:9/x",
    "gone.png",
    "",
    "a\0b",
    None,
]
CAPTIONS: list[Any] = ["a", "", None, "写真"]


@quick
@given(
    rows=st.lists(st.tuples(st.sampled_from(VALUES), st.sampled_from(PATHS), st.sampled_from(CAPTIONS)), max_size=5),
    shape=st.sampled_from(["pair", "bytes", "path", "list"]),
    which=st.sampled_from(["first", "each"]),
)
def test_every_row_of_a_table_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, Any, Any]], shape: str, which: Any
) -> None:
    pair = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"pair": pair, "bytes": pa.binary(), "path": pa.string(), "list": pa.list_(pair)}
    pairs = [{"bytes": data, "path": path} for data, path, _ in rows]
    values = {
        "pair": pairs,
        "bytes": [r[0] for r in rows],
        "path": [r[1] for r in rows],
        "list": [[one, None, one] for one in pairs],
    }
    folder = tmp_path_factory.mktemp("in")
    (folder / "a.png").write_bytes(PICTURES[0])
    table = pa.table(
        {"image": pa.array(values[shape], kinds[shape]), "text": pa.array([r[2] for r in rows], pa.string())}
    )
    pq.write_table(table, folder / "t.parquet")
    items = opened(str(folder / "t.parquet"), pictures=which)
    assert (items is None) == (not rows)
    if items is not None:
        assert len(items) == len(rows) * (2 if (shape, which) == ("list", "each") else 1)


any_caption = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.lists(st.text(max_size=3))
)


@quick
@given(st.lists(st.tuples(st.sampled_from([*PICTURES, None, "gone.png", "/dev/zero"]), any_caption), max_size=5))
def test_every_row_from_python_is_accounted_for(rows: list[tuple[Any, Any]]) -> None:
    try:
        items = list(open_source(rows, missing_captions="keep").items())
    except ConceptlibError:
        assert not rows
        return
    check(items)
    assert len(items) == len(rows) and all(isinstance(item.data, (Slice, Reject)) for item in items)


def bytes_of(make: Callable[[Path, dict[str, bytes]], Path], folder: Path) -> bytes:
    members = {name: data for k in range(3) for name, data in ((f"{k}.png", picture()), (f"{k}.txt", b"text"))}
    return make(folder, members | {"metadata.jsonl": b'{"file_name": "0.png", "text": "x"}'}).read_bytes()


def to_parquet(folder: Path, members: dict[str, bytes]) -> Path:
    pictures = [data for name, data in members.items() if is_picture(name)]
    pq.write_table(pa.table({"image": pictures, "text": ["x"] * len(pictures)}), folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize(("make", "ending"), [(to_zip, "zip"), (to_tar, "tar"), (to_parquet, "parquet")])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_archives_and_tables_are_rows_rejects_or_an_error(
    tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path], ending: str, data: st.DataObject
) -> None:
    raw = bytearray(bytes_of(make, tmp_path))
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["flip", "cut", "zero", "insert"]))
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        if kind == "flip" and raw:
            raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del raw[at:]
        elif kind == "zero":
            raw[at : at + 20] = bytes(len(raw[at : at + 20]))
        else:
            raw[at:at] = data.draw(st.binary(min_size=1, max_size=20))
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(bytes(raw))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened(str(path), missing_captions="keep")


@settings(max_examples=60)
@given(
    name=st.sampled_from(["metadata.jsonl", "metadata.csv"]),
    text=st.binary(max_size=80)
    | st.text(max_size=40).map(lambda text: ("file_name,text\n" + text).encode("utf-8", "replace")),
)
def test_any_metadata_is_rows_rejects_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: bytes
) -> None:
    folder = to_folder(tmp_path_factory.mktemp("in"), {"a.png": PICTURES[0], name: text})
    items = opened(str(folder))
    assert items is None or items[0].key == "a.png" or len(items) > 1


@pytest.mark.parametrize("make", [to_folder, to_zip, to_tar])
def test_the_counts_of_a_build_add_up(tmp_path: Path, make: Callable[[Path, dict[str, bytes]], Path]) -> None:
    (tmp_path / "in").mkdir()
    members = {f"{k}.png": data for k, data in enumerate(PICTURES)}
    members |= {f"{k}.txt": TEXTS[0] for k in range(len(PICTURES))} | {
        "x.png": picture(),
        "x.txt": TEXTS[2],
        "y.png": b"",
    }
    ref = make(tmp_path / "in", members)
    built = conceptlib.build("icd-qr", overrides=[f"source={ref}", "resolution=64", "variants=2"], workers=1)
    rejects = [json.loads(line) for line in (built.path / "rejects.jsonl").read_text("utf-8").splitlines()]
    info = built.info
    assert info["read"] == info["written"] + info["rejected"] == info["written"] + len(rejects)
    assert len({PurePosixPath(line["image_id"]).stem.partition("~")[0] for line in rejects}) + info["written"] // 2 == 8
    assert all(line["reason"] in Reject.REASONS and line["detail"] and line["split"] for line in rejects)
