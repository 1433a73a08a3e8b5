"""Layouts that everybody has: each row with the picture, caption and split that its makers meant."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import conceptlib
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.sources import FolderSource, Item, TableSource, TarSource, ZipSource, open_source
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError


def picture(colour: str = "red", form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 32), colour).save(buffer, form)
    return buffer.getvalue()


def write(folder: Path, members: dict[str, bytes | str]) -> Path:
    for name, data in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def captions(ref: Path, **options: Any) -> dict[str, str | None]:
    items = list(open_source(str(ref), **options).items())
    assert not any(isinstance(item.data, Reject) for item in items)
    return {item.key: item.caption for item in items}


def statistics(path: Path) -> None:
    """The table that img2dataset writes beside its shards."""
    pq.write_table(pa.table({"url": ["http://x/0.jpg"], "caption": ["x"], "key": ["0"], "status": ["success"]}), path)


def test_img2dataset_files(tmp_path: Path) -> None:
    one = {"0000.jpg": picture(), "0000.txt": "a", "0000.json": '{"caption": "other", "url": "x"}'}
    write(tmp_path / "00000", one)
    statistics(tmp_path / "00000.parquet")
    source = open_source(str(tmp_path))
    assert isinstance(source, FolderSource) and source.ignored == 1
    assert captions(tmp_path) == {"00000/0000.jpg": "a"}


def test_img2dataset_tars(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as archive:
        for name, data in (("0.jpg", picture()), ("0.txt", b"a"), ("0.json", b'{"caption": "other"}')):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    statistics(tmp_path / "00000.parquet")
    source = open_source(str(tmp_path))
    assert isinstance(source, TarSource) and source.ignored == 1
    assert captions(tmp_path) == {"00000/0": "a"}


def test_kohya_and_others_beside_the_picture(tmp_path: Path) -> None:
    files = {
        "a.caption": "kohya",
        "b.TXT": "upper case",
        "c.json": '{"caption": "json"}',
        "d.txt": " ",
        "d.caption": "d",
    }
    write(tmp_path, {**files, **{f"{name}.jpg": picture() for name in "abcd"}})
    assert captions(tmp_path) == {"a.jpg": "kohya", "b.jpg": "upper case", "c.jpg": "json", "d.jpg": "d"}
    assert open_source(str(tmp_path)).ignored == 0
    before = open_source(str(tmp_path)).lock()
    (tmp_path / "a.caption").write_text("changed")
    assert open_source(str(tmp_path)).lock() != before


def test_a_single_picture(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": picture(), "a.txt": "a", "b.png": picture(), "metadata.csv": "file_name,text\nb.png,b\n"})
    assert captions(tmp_path / "a.png") == {"a.png": "a"} and captions(tmp_path / "b.png") == {"b.png": "b"}
    source = open_source(str(tmp_path / "a.png"))
    assert (source.total, source.ignored) == (1, 0)
    before = source.lock()
    (tmp_path / "b.png").write_bytes(picture("blue"))
    assert open_source(str(tmp_path / "a.png")).lock() == before


def test_metadata_as_parquet(tmp_path: Path) -> None:
    write(tmp_path, {"train/a.png": picture(), "b.png": picture()})
    rows = {"file_name": ["train/a.png", "b.png", "gone.png"], "text": ["a", "b", "c"]}
    pq.write_table(pa.table(rows), tmp_path / "metadata.parquet")
    items = {item.key: item for item in open_source(str(tmp_path)).items()}
    assert {key: item.caption for key, item in items.items()} == {"train/a.png": "a", "b.png": "b", "gone.png": None}


@pytest.mark.parametrize("name", ["metadata.jsonl", "photos/metadata.csv", "photos/metadata.parquet"])
def test_a_zip_with_metadata_and_windows_names(tmp_path: Path, name: str) -> None:
    prefix = "" if "/" in name else "photos/"
    rows = [{"file_name": f"{prefix}sub/{k}.png", "text": f"picture {k}"} for k in range(2)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    table = "file_name,text\n" + "".join(f"{row['file_name']},{row['text']}\n" for row in rows)
    text = {"jsonl": "\n".join(map(json.dumps, rows)).encode(), "csv": table.encode(), "parquet": buffer.getvalue()}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for member, data in [
            (name, text[name.rpartition(".")[2]]),
            *((f"photos/sub/{k}.png", picture()) for k in "01"),
        ]:
            info = zipfile.ZipInfo(member)
            info.filename = info.orig_filename = member.replace("/", "\\")
            archive.writestr(info, data)
    source = open_source(str(tmp_path / "a.zip"))
    assert isinstance(source, ZipSource) and source.ignored == 0
    assert captions(tmp_path / "a.zip") == {"photos/sub/0.png": "picture 0", "photos/sub/1.png": "picture 1"}


@pytest.mark.parametrize("several", [False, True])
def test_a_saved_dataset(tmp_path: Path, several: bool) -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    write(tmp_path, {"a.png": picture()})
    rows = {"image": [str(tmp_path / "a.png")] * 3, "text": ["a", "b", "c"]}
    data = datasets.Dataset.from_dict(rows, features=features).map(lambda row: row)
    whole = datasets.DatasetDict({"train": data, "validation": data.select([0])}) if several else data
    whole.save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "cache-0.arrow").write_bytes(b"left by a run")
    items = list(open_source(str(tmp_path / "saved")).items())
    assert [(i.caption, i.split) for i in items[:3]] == [("a", "train"), ("b", "train"), ("c", "train")] or not several
    assert [i.caption for i in items] == ["a", "b", "c", "a"][: len(items)] and len(items) == (4 if several else 3)
    assert all(item.data == picture() for item in items)


def test_lists_of_pictures(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    both = [{"bytes": picture("red"), "path": None}, {"bytes": picture("blue"), "path": None}]
    table = pa.table({"images": pa.array([both, [], both[:1]], kind), "text": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "t.parquet")
    path = str(tmp_path / "t.parquet")
    first = list(open_source(path, image_column="images").items())
    assert [(i.key, i.data) for i in first if isinstance(i.data, bytes)] == [
        ("row-00000000", picture("red")),
        ("row-00000002", picture("red")),
    ]
    assert isinstance(first[1].data, Reject) and first[1].data.reason == "missing-file"
    each = list(open_source(path, image_column="images", pictures="each").items())
    assert [i.key for i in each] == ["row-00000000", "row-00000000.1", "row-00000001", "row-00000002"]
    assert each[1].data == picture("blue") and each[1].caption == "a"


def test_a_table_without_rows_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "t.parquet")
    with pytest.raises(ConceptlibError, match="the table has no rows"):
        open_source(str(tmp_path / "t.parquet"))


def test_paths_relative_to_the_folder_or_to_the_table(tmp_path: Path) -> None:
    write(tmp_path, {"images/a.png": picture(), "data/b.png": picture("blue")})
    pq.write_table(pa.table({"image": ["images/a.png", "b.png"], "text": ["a", "b"]}), tmp_path / "data" / "t.parquet")
    source = open_source(str(tmp_path))
    assert isinstance(source, TableSource) and captions(tmp_path) == {"row-00000000": "a", "row-00000001": "b"}
    assert [i.data for i in source.items()] == [tmp_path / "images" / "a.png", tmp_path / "data" / "b.png"]
    before = source.lock()
    (tmp_path / "data" / "b.png").write_bytes(picture("green"))
    assert open_source(str(tmp_path)).lock() != before


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "in", {"a.png": picture(), "a.txt": "a"})
    pq.write_table(pa.table({"image": [picture()], "text": ["t"]}), tmp_path / "in" / "t.parquet")
    for name in ("a.png", "t.parquet"):
        (tmp_path / name).symlink_to(tmp_path / "in" / name)
    (tmp_path / "folder").symlink_to(tmp_path / "in")
    (tmp_path / "blob").write_bytes((tmp_path / "in" / "t.parquet").read_bytes())
    (tmp_path / "named.parquet").symlink_to("blob")
    assert captions(tmp_path / "a.png") == {"a.png": "a"}
    assert captions(tmp_path / "t.parquet") == captions(tmp_path / "named.parquet") == {"row-00000000": "t"}
    (tmp_path / "in" / "t.parquet").unlink()
    assert captions(tmp_path / "folder") == {"a.png": "a"}


def test_hints_say_what_helps(tmp_path: Path) -> None:
    def build_of(members: dict[str, bytes | str], *more: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        write(folder, members)
        with pytest.raises(ConceptlibError) as caught:
            conceptlib.build("icd-qr", overrides=[f"source={folder}", "resolution=64", *more], workers=1)
        return str(caught.value)

    assert "a zip is a source by itself" in build_of({"a.zip": b"x"})
    assert "a caption is text" in build_of({"a.png": picture(), "metadata.jsonl": '{"file_name": "a.png", "text": 3}'})
    named = {"t/metadata.csv": "file_name,text\nt/a.png,x\n", "t/a.png": picture()}
    assert "relative to its own folder" in build_of(named)
    assert "splits=hash" in build_of({"a.png": picture(), "a.txt": "x"}, "splits=keep")


# Splits


def by_split(items: list[Item]) -> dict[str, list[str]]:
    return {split: sorted(i.key for i in items if i.split == split) for split in sorted({i.split for i in items})}


def own_splits(folder: Path, names: dict[str, int], form: str) -> Path:
    """So many rows a split, in folders of pictures, in a zip, in tars or in tables."""
    for split, count in names.items():
        files = {f"{split}/{k}.png": picture() for k in range(count)} | {f"{split}/{k}.txt": "x" for k in range(count)}
        if form in ("folder", "zip"):
            write(folder, files)
        elif form == "tar":
            with tarfile.open(folder / f"{split}-0.tar", "w") as archive:
                for name, data in sorted(files.items()):
                    raw = data if isinstance(data, bytes) else data.encode()
                    info = tarfile.TarInfo(name.partition("/")[2])
                    info.size = len(raw)
                    archive.addfile(info, io.BytesIO(raw))
        else:
            table = pa.table({"image": [picture()] * count, "text": ["x"] * count})
            pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    if form == "zip":
        with zipfile.ZipFile(folder.parent / "a.zip", "w") as archive:
            for path in sorted(folder.rglob("*.*")):
                archive.write(path, path.relative_to(folder))
        return folder.parent / "a.zip"
    return folder


FORMS = ("folder", "zip", "tar", "table")


@pytest.mark.parametrize("form", FORMS)
def test_own_splits_are_kept(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    ref = str(own_splits(tmp_path / "in", {"train": 8, "val": 4, "test": 4}, form))
    kept = list(open_source(ref).items())
    assert {split: len(keys) for split, keys in by_split(kept).items()} == {"train": 8, "validation": 4, "test": 4}
    assert len({item.key for item in kept}) == 16
    hashed = open_source(ref, splits="hash")
    assert set(by_split(list(hashed.items()))) <= {"train", "test"} and hashed.lock() != open_source(ref).lock()
    few = list(open_source(ref, rows=5, test_share=0.4).items())
    assert {split: len(keys) for split, keys in by_split(few).items()} == {"train": 3, "validation": 1, "test": 1}
    most = list(open_source(ref, rows=15).items())
    assert len(most) == 15 and len({item.key for item in most}) == 15


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("names", [{"train": 4}, {"train": 3, "cars": 3}, {"test": 3, "val": 3}])
def test_what_is_no_layout_of_splits_is_hashed(tmp_path: Path, form: str, names: dict[str, int]) -> None:
    (tmp_path / "in").mkdir()
    ref = str(own_splits(tmp_path / "in", names, form))
    if form == "table" and names == {"test": 3, "val": 3}:
        with pytest.raises(ConceptlibError, match=r"no split 'train'.*one of: test, validation"):
            open_source(ref)
        return
    items = list(open_source(ref, test_share=0.0).items())
    assert set(by_split(items)) == {"train"}


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_what_lies_in_no_split_is_a_reject_where_they_are_kept(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    ref = str(own_splits(tmp_path / "in", {"train": 2, "cars": 3}, form))
    items = list(open_source(ref, splits="keep").items())
    rejected = [item for item in items if isinstance(item.data, Reject)]
    assert len(items) == 5 and [item.data.reason for item in rejected] == ["no-split"] * 3  # type: ignore[union-attr]


@pytest.mark.parametrize("splits", ["keep", "hash", None])
def test_splits_of_other_names_are_said_with_their_rows(
    tmp_path: Path, splits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in" / "data").mkdir(parents=True)  # where a table's name says its split, whatever that is called
    own_splits(tmp_path / "in" / "data", {"train": 4, "minival": 3}, "table")
    ref = str(tmp_path / "in")
    assert len(list(open_source(ref, splits=splits).items())) == 4
    (told,) = caplog.messages
    assert "3 rows of the split 'minival' are not read" in told
    caplog.clear()
    assert len(list(open_source(ref, split="minival", splits="hash").items())) == 3 and not caplog.messages


def test_splits_of_one_meaning_are_one(tmp_path: Path) -> None:
    """`dev` and `validation` beside each other: in tables by name, and in what `save_to_disk` wrote."""
    import datasets

    rows = {"image": [picture()], "text": ["x"]}
    for name in ("train", "dev", "validation"):
        (tmp_path / "tables").mkdir(exist_ok=True)
        pq.write_table(pa.table(rows), tmp_path / "tables" / f"{name}-00000-of-00001.parquet")
    saved = {name: datasets.Dataset.from_dict(rows) for name in ("train", "dev", "validation")}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "saved")
    for form in ("tables", "saved"):
        found = by_split(list(open_source(str(tmp_path / form)).items()))
        assert {split: len(set(keys)) for split, keys in found.items()} == {"train": 1, "validation": 2}


def test_a_named_split_is_read_alone(tmp_path: Path) -> None:
    ref = str(own_splits(tmp_path, {"train": 8, "validation": 4}, "table"))
    assert len(list(open_source(ref, split="validation").items())) == 4
    assert by_split(list(open_source(ref, split="validation", splits="keep").items())).keys() == {"validation"}
    with pytest.raises(ConceptlibError, match=r"no split 'test'.*one of: "):
        open_source(ref, split="test")


def test_the_readme_names_files_and_subsets(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        pq.write_table(pa.table({"image": [picture()], "text": [name]}), tmp_path / f"{name}.parquet")
    readme = """---
configs:
- config_name: small
  data_files: "a.parquet"
- config_name: large
  default: true
  data_files:
  - split: train
    path: ["b.*"]
  - split: test
    path: c.parquet
---
# About
"""
    (tmp_path / "README.md").write_text(readme)
    items = list(open_source(str(tmp_path)).items())
    assert [(i.caption, i.split) for i in items] == [("b", "train"), ("c", "test")]
    assert [i.caption for i in open_source(str(tmp_path), subset="small").items()] == ["a"]
    with pytest.raises(ConceptlibError, match=r"no subset 'tiny'.*one of small, large"):
        open_source(str(tmp_path), subset="tiny")


def test_a_dataset_of_ours_is_a_source(tmp_path: Path) -> None:
    """Its tables of boxes lie beside its pictures, under the same names."""
    write(
        tmp_path / "in", {f"{split}/{k}.png": picture() for split in ("train", "validation", "test") for k in range(3)}
    )
    options = ["resolution=64", "missing_captions=keep", "duplicates=off"]
    built = conceptlib.build("icd-qr", overrides=[f"source={tmp_path / 'in'}", *options], workers=1)
    assert built.info["rows"] == {"train": 3, "validation": 3, "test": 3}
    assert ImageTable(built).splits == ["train", "validation", "test"]
    again = list(open_source(str(built.path), missing_captions="keep").items())
    assert {split: len(keys) for split, keys in by_split(again).items()} == built.info["rows"]


def test_the_spec_has_the_options(tmp_path: Path) -> None:
    write(tmp_path / "in", {"a.png": picture(), "a.txt": "café".encode("cp1252")})
    options = [f"source={tmp_path / 'in'}", "resolution=64"]
    built = conceptlib.build("icd-qr", overrides=[*options, "encoding=cp1252"], workers=1)
    assert [row["caption"] for row in ImageTable(built).rows(columns=["caption"])] == ["café"]
    assert built.lock["spec"]["params"]["encoding"] == "cp1252" and "splits" not in built.lock["spec"]["params"]
    with pytest.raises(ConceptlibError, match="no encoding 'cp1'"):
        conceptlib.build("icd-qr", overrides=[*options, "encoding=cp1"])
    with pytest.raises(ConceptlibError, match="no encoding of text"):
        conceptlib.build("icd-qr", overrides=[*options, "encoding=base64"])
    with pytest.raises(ConceptlibError, match=r"1 bad-caption.*looks like cp1252.*encoding=cp1252"):
        conceptlib.build("icd-qr", overrides=options, workers=1)
