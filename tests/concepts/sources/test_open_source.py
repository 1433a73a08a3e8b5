"""Sources: the world, folders with every way of captioning, datasets."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from conceptlib.concepts.images import Reject
from conceptlib.concepts.sources import FolderSource, Item, Reading, TableSource, WorldSource, open_source
from conceptlib.errors import ConceptlibError
from conceptlib.worlds.tiny import world


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), colour).save(path)
    return path


def by_key(folder: Path, **options: object) -> dict[str, Item]:
    items = list(open_source(str(folder), **options).items())  # type: ignore[arg-type]
    assert len({item.key for item in items}) == len(items)
    return {item.key: item for item in items}


def metadata(folder: Path, rows: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def test_the_world_splits_by_stream() -> None:
    source = open_source("world", seed=3, rows=10, test_share=0.3)
    items = list(source.items())
    assert source.total == 10 and [item.split for item in items] == ["train"] * 7 + ["test"] * 3
    held_out = world.row(3, 1, "held-out")
    assert (items[8].data, items[8].caption, items[8].seed, items[8].labels) == (
        held_out.scene,
        held_out.caption,
        1,
        held_out.labels,
    )
    assert items[8].load(32).size == (32, 32)  # type: ignore[union-attr]
    assert list(source.items()) == items
    assert WorldSource(3, 10, 0.3).lock() != WorldSource(4, 10, 0.3).lock()
    assert open_source("world").total == 3000


def test_captions_from_jsonl_csv_and_text_files(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "sub/c.png", "sub/d.png", "e.webp"):
        picture(tmp_path / name)
    metadata(
        tmp_path, [{"file_name": "a.png", "text": " from jsonl "}, {"file_name": "sub/c.png", "text": "from above"}]
    )
    (tmp_path / "sub" / "metadata.csv").write_text('file_name,caption\nd.png,"with, comma"\n', "utf-8")
    (tmp_path / "b.txt").write_text("\ufefffrom text\n", "utf-8")
    items = by_key(tmp_path)
    assert {key: item.caption for key, item in items.items()} == {
        "a.png": "from jsonl",
        "b.jpg": "from text",
        "e.webp": None,
        "sub/c.png": "from above",
        "sub/d.png": "with, comma",
    }
    assert isinstance(items["e.webp"].data, Reject) and items["e.webp"].data.reason == "no-caption"
    kept = by_key(tmp_path, missing_captions="keep")["e.webp"]
    assert (kept.data, kept.caption) == (tmp_path / "e.webp", None)


def test_the_caption_column_can_be_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    metadata(tmp_path, [{"file_name": "a.png", "text": "english", "de": "deutsch"}])
    assert by_key(tmp_path, caption_column="de")["a.png"].caption == "deutsch"
    with pytest.raises(ConceptlibError, match=r"no row has a column fr.*metadata.jsonl:1.*one of text, de"):
        by_key(tmp_path, caption_column="fr")


def test_unicode_names_match_in_either_normal_form(tmp_path: Path) -> None:
    picture(tmp_path / unicodedata.normalize("NFD", "café.png"))
    picture(tmp_path / "写真 1.png")
    metadata(
        tmp_path,
        [
            {"file_name": unicodedata.normalize("NFC", "café.png"), "text": "a café"},
            {"file_name": "写真 1.png", "text": "x"},
        ],
    )
    assert sorted(item.caption or "" for item in by_key(tmp_path).values()) == ["a café", "x"]


def test_a_name_that_is_no_utf8_gets_a_key(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/bad\xff.png"
    with open(raw, "wb") as file:
        file.write(picture(tmp_path / "x.png").read_bytes())
    (tmp_path / "x.png").unlink()
    (key,) = by_key(tmp_path, missing_captions="keep")
    assert key.encode() == b"bad\\xff.png"
    assert open_source(str(tmp_path)).lock()


def test_files_named_in_the_metadata_that_are_not_there_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    rows = [{"file_name": name, "text": "t"} for name in ("a.png", "gone.png", "../outside.png")]
    metadata(tmp_path, rows)
    items = by_key(tmp_path)
    assert {k: i.data.reason for k, i in items.items() if isinstance(i.data, Reject)} == {
        "gone.png": "missing-file",
        "../outside.png": "refused",
    }
    assert open_source(str(tmp_path)).total == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.jsonl", '{"file_name": "a.png"}\n', r"no row has a column text or caption or prompt.*jsonl:1"),
        ("metadata.csv", "name,text\na.png,x\n", r"no column file_name; the header has: name, text.*metadata.csv:1"),
        ("metadata.csv", "file_name;text\na.png;x\n", r"separated by semicolons"),
        ("metadata.csv", "file_name\ttext\na.png\tx\n", r"separated by tabs"),
        ("metadata.csv", 'file_name,text\na.png,"x\n', r"cannot be read"),
        ("metadata.jsonl", b'{"file_name": "\xff\xfe.png", "text": "x"}\n', r"the text is no UTF-8"),
        ("metadata.csv", "file_name,text\na.png,un café à Zürich\n".encode("cp1252"), r"looks like cp1252.*UTF-8"),
        ("metadata.csv", "file_name,text\na.png,x\n".encode("utf-16-le"), r"looks like utf-16-le"),
        ("metadata.parquet", b"PAR1", r"cannot be read"),
    ],
)
def test_metadata_of_which_no_row_can_be_used_is_an_error(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConceptlibError, match=message):
        open_source(str(tmp_path))


DEEP = '{"file_name": "a.png", "text": ' + "[" * 100_000 + "]" * 100_000 + "}"
DIGITS = '{"file_name": "a.png", "text": ' + "9" * 5000 + "}"


@pytest.mark.parametrize(
    ("name", "line", "key", "reason", "detail"),
    [
        ("metadata.jsonl", '{"file_name": "b.png", "text": "again"}', "b.png#2", "duplicate", "line 1"),
        ("metadata.jsonl", '{"file_name": "a.png"', "metadata.jsonl:2", "bad-row", "no JSON"),
        ("metadata.jsonl", "[1]", "metadata.jsonl:2", "bad-row", "no JSON object"),
        ("metadata.jsonl", '{"text": "x"}', "metadata.jsonl:2", "bad-row", "no file_name"),
        ("metadata.jsonl", '{"file_name": 7, "text": "x"}', "metadata.jsonl:2", "bad-row", "no file_name"),
        ("metadata.jsonl", DEEP, "metadata.jsonl:2", "bad-row", "nested too deeply"),
        ("metadata.jsonl", DIGITS, "metadata.jsonl:2", "bad-row", "4300 digits"),
        ("metadata.jsonl", '{"file_name": "\\ud800.png", "text": "x"}', "\\ud800.png", "missing-file", ":2"),
        ("metadata.jsonl", '{"file_name": "/etc/a.png", "text": "x"}', "/etc/a.png", "refused", ":2.*leads out"),
        ("metadata.jsonl", '{"file_name": "..\\\\a.png", "text": "x"}', "..\\a.png", "refused", ":2.*leads out"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "\\ud800"}', "a.png", "bad-caption", ":2.*surrogate"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": {"en": "x"}}', "a.png", "bad-caption", ":2.*mapping"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": true}', "a.png", "bad-caption", ":2.*truth value"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": 3}', "a.png", "bad-caption", ":2.*number"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": NaN}', "a.png", "no-caption", ""),
        ("metadata.jsonl", '{"file_name": "a.png", "text": []}', "a.png", "no-caption", ""),
        ("metadata.csv", "a.png,a house, two trees", "a.png", "bad-row", ":3: 3 fields, and the header has 2"),
        ("metadata.csv", "a.png", "a.png", "no-caption", ""),
        ("metadata.csv", "../a.png,x", "../a.png", "refused", ":3.*leads out"),
    ],
)
def test_a_row_that_does_not_fit_is_a_reject_with_its_line(
    tmp_path: Path, name: str, line: str, key: str, reason: str, detail: str
) -> None:
    for one in ("a", "b"):
        picture(tmp_path / f"{one}.png")
        (tmp_path / f"{one}.txt").write_text("beside" if reason in ("duplicate", "refused", "missing-file") else "")
    first = "file_name,text\nb.png,fine\n" if name.endswith("csv") else '{"file_name": "b.png", "text": "fine"}\n'
    (tmp_path / name).write_text(first + line + "\n")
    items = by_key(tmp_path)
    assert items["b.png"].caption == "fine"
    rejected = items[key].data
    assert isinstance(rejected, Reject) and rejected.reason == reason and re.search(detail, rejected.detail)
    assert open_source(str(tmp_path)).total == len(items) == (2 if key in ("a.png",) else 3)


def test_two_metadata_files_are_an_error(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    metadata(tmp_path, [{"file_name": "a.png", "text": "x"}])
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,x\n")
    with pytest.raises(ConceptlibError, match="2 metadata files"):
        open_source(str(tmp_path))


def test_what_is_no_source_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.md").write_text("nothing")
    with pytest.raises(ConceptlibError, match="no pictures in the folder"):
        open_source(str(empty))
    with pytest.raises(ConceptlibError, match="a file that is not read"):
        open_source(str(empty / "notes.md"))
    with pytest.raises(ConceptlibError, match=r"no such source.*source=world, a picture"):
        open_source(str(tmp_path / "gone"))
    with pytest.raises(ConceptlibError, match="there is no such folder here"):  # the suite has no network
        open_source("someone/pictures")


def test_rows_limit_hidden_and_other_files(tmp_path: Path) -> None:
    for k in range(5):
        picture(tmp_path / f"{k}.png")
    picture(tmp_path / ".cache" / "x.png")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    source = open_source(str(tmp_path), rows=3, missing_captions="keep")
    assert (source.total, source.ignored, [i.key for i in source.items()]) == (3, 1, ["0.png", "1.png", "2.png"])


def test_linked_folders_are_not_followed_into_circles(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    items = by_key(tmp_path, missing_captions="keep")
    assert list(items) == ["a.png", "loop"]
    assert items["loop"].data == Reject("refused", "a link to a folder, which is not followed")


def test_a_picture_stays_in_its_split_when_others_come(tmp_path: Path) -> None:
    for k in range(200):
        (tmp_path / f"{k:03}.png").write_bytes(b"x")
    before = {i.key: i.split for i in open_source(str(tmp_path), test_share=0.2).items()}
    share = sum(split == "test" for split in before.values()) / 200
    assert 0.1 < share < 0.3
    (tmp_path / "000-new.png").write_bytes(b"x")
    after = {i.key: i.split for i in open_source(str(tmp_path), test_share=0.2).items()}
    assert {k: after[k] for k in before} == before
    assert {i.split for i in open_source(str(tmp_path), test_share=0.0).items()} == {"train"}
    assert {i.split for i in open_source(str(tmp_path), test_share=1.0).items()} == {"test"}


def test_the_lock_of_a_folder_is_its_content(tmp_path: Path) -> None:
    def lock(folder: Path) -> object:
        return FolderSource(folder, Reading(missing_captions="keep")).lock()

    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        picture(folder / "x.png")
    os.utime(b / "x.png", (0, 0))
    assert lock(a) == lock(b)
    (b / "x.txt").write_text("a caption")
    assert lock(a) != lock(b)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    import datasets

    rows = {
        "picture": [str(picture(tmp_path / f"{k}.png")) for k in range(4)],
        "sentences": [["first", "second"], ["one"], [], ["x"]],
        "n": [1, 2, 3, 4],
    }
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "sentences": datasets.List(datasets.Value("string")),
            "n": datasets.Value("int32"),
        }
    )
    data = datasets.Dataset.from_dict(rows, features=features)
    folder = tmp_path / "hub"
    folder.mkdir()
    data.with_format("arrow")
    table = datasets.table.embed_table_storage(data.data.table)
    import pyarrow.parquet as pq

    pq.write_table(table, folder / "train-00000-of-00001.parquet")
    return folder


def test_a_dataset_folder_is_streamed_by_column_names(parquet: Path) -> None:
    source = open_source(str(parquet), image_column="picture", caption_column="sentences")
    assert isinstance(source, TableSource) and source.total == 4
    items = list(source.items())
    assert [item.key for item in items] == [f"row-{k:08d}" for k in range(4)]
    assert [item.caption for item in items] == ["first", "one", None, "x"]
    assert isinstance(items[0].data, bytes) and items[0].data.startswith(b"\x89PNG")
    assert isinstance(items[2].data, Reject) and items[2].data.reason == "no-caption"
    assert source.lock()["sha256"]


def test_a_dataset_without_the_column_is_an_error(parquet: Path) -> None:
    with pytest.raises(ConceptlibError, match=r"image_column=..., one of picture, sentences, n"):
        list(open_source(str(parquet)).items())
    with pytest.raises(ConceptlibError, match=r"no column 'title'.*caption_column is one of: picture, sentences, n"):
        list(open_source(str(parquet), image_column="picture", caption_column="title").items())
    with pytest.raises(ConceptlibError, match=r"no split 'nope'.*one of: train"):
        list(open_source(str(parquet), image_column="picture", split="nope").items())


def test_a_single_parquet_file_is_the_same_rows(parquet: Path) -> None:
    (file,) = parquet.glob("*.parquet")
    columns = {"image_column": "picture", "caption_column": "sentences"}
    one, folder = (open_source(str(where), **columns) for where in (file, parquet))
    assert isinstance(one, TableSource)
    assert [i.fingerprint() for i in one.items()] == [i.fingerprint() for i in folder.items()]
    assert one.lock() == folder.lock()
