"""Label columns of somebody's own: named freely, declared, kept through building, exporting and reading again."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conceptlib.concepts import labels
from conceptlib.concepts.build import build
from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.show import Options
from conceptlib.concepts.show.images import page
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.formats import export_dataset
from conceptlib.specs.errors import SpecError
from conceptlib.store import Artifact

ROWS: list[dict[str, Any]] = [
    {"artist": "Monet", "season": "winter", "year": 1899, "note": "snow, at dusk"},
    {"artist": "Degas", "season": "summer", "year": 1874.5, "note": None},
    {"artist": "Monet", "season": None, "year": None, "note": "x"},
    {"artist": "Rue d'Été", "season": "winter", "year": -3, "note": "y"},
]
KINDS = {"artist": "class", "season": "class", "year": "number", "note": "text"}
BUILD = ["rate=0", "resolution=32", "formats=[png]", "test_share=0.5", "duplicates=off", "source={}"]


def picture(index: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8))


def as_jsonl(folder: Path) -> Path:
    lines = [{"file_name": f"{k}.png", "text": f"picture {k}", **row} for k, row in enumerate(ROWS)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return pictures(folder)


def as_csv(folder: Path) -> Path:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file_name", "text", *KINDS])
        writer.writeheader()
        writer.writerows({"file_name": f"{k}.png", "text": f"picture {k}", **row} for k, row in enumerate(ROWS))
    return pictures(folder)


def as_beside(folder: Path) -> Path:
    for k, row in enumerate(ROWS):
        (folder / f"{k}.json").write_text(json.dumps({"caption": f"picture {k}", **row}), encoding="utf-8")
    return pictures(folder)


def as_zip(folder: Path) -> Path:
    (folder / "in").mkdir()
    as_jsonl(folder / "in")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        for path in sorted((folder / "in").iterdir()):
            archive.write(path, path.name)
    return folder / "all.zip"


def as_parquet(folder: Path) -> Path:
    images = []
    for k in range(len(ROWS)):
        picture(k).save(folder / "one.png")
        images.append({"bytes": (folder / "one.png").read_bytes(), "path": f"{k}.png"})
    (folder / "one.png").unlink()
    columns = {name: [row[name] for row in ROWS] for name in KINDS}
    table = pa.table({"image": images, "text": [f"picture {k}" for k in range(len(ROWS))], **columns})
    pq.write_table(table, folder / "t.parquet")
    return folder / "t.parquet"


def pictures(folder: Path) -> Path:
    for k in range(len(ROWS)):
        picture(k).save(folder / f"{k}.png")
    return folder


def made(source: Path, *overrides: str) -> Artifact:
    lines = [line.format(source) for line in BUILD]
    return build("icd-qr", overrides=[*lines, *overrides], workers=1)


def values(dataset: Artifact) -> dict[str, dict[str, Any]]:
    return {row["caption"]: {name: row[name] for name in KINDS} for row in ImageTable(dataset).rows()}


ALL = "labels={artist: class, season: class, year: number, note: text}"
WANTED = {f"picture {k}": row for k, row in enumerate(ROWS)}


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_beside, as_zip, as_parquet])
def test_the_columns_of_every_kind_of_source_are_kept(write: Callable[[Path], Path], tmp_path: Path) -> None:
    dataset = made(write(tmp_path), ALL)
    assert values(dataset) == WANTED
    assert ImageTable(dataset).labels == KINDS
    assert dataset.info["label_columns"] == {
        "artist": {"kind": "class", "values": {"Degas": 1, "Monet": 2, "Rue d'Été": 1}},
        "season": {"kind": "class", "values": {"summer": 1, "winter": 2}},
        "year": {"kind": "number"},
        "note": {"kind": "text"},
    }


def test_rows_from_python_have_labels(tmp_path: Path) -> None:
    rows = [{"image": picture(k), "text": f"picture {k}", **row} for k, row in enumerate(ROWS)]
    rows[1]["year"] = np.float64(1874.5)  # type: ignore[assignment]
    dataset = build("icd-qr", overrides=[*BUILD[:-1], ALL], source=rows, workers=1)
    assert values(dataset) == WANTED


def test_a_list_of_names_is_of_classes(tmp_path: Path) -> None:
    dataset = made(as_jsonl(tmp_path), "labels=[year, artist]")
    table = ImageTable(dataset)
    assert table.labels == {"year": "class", "artist": "class"}
    assert sorted(row["year"] or "" for row in table.rows()) == ["", "-3", "1874.5", "1899"]


def test_labels_are_part_of_what_a_dataset_is(tmp_path: Path) -> None:
    """Without the option nothing changes; with it other values are another dataset."""
    (tmp_path / "in").mkdir()
    source = as_jsonl(tmp_path / "in")
    plain, kept = made(source), made(source, "labels=[artist]")
    assert "label_columns" not in plain.info and not ImageTable(plain).labels
    assert "labels" not in plain.lock["spec"]["params"]
    text = (source / "metadata.jsonl").read_text(encoding="utf-8")
    (source / "metadata.jsonl").write_text(text.replace("Degas", "Manet"), encoding="utf-8")
    assert made(source).id == plain.id
    assert len({plain.id, kept.id, made(source, "labels=[artist]").id}) == 3


def test_the_worlds_labels_are_declared_and_leave_the_id_as_it_is() -> None:
    dataset = build("icd-qr", overrides=["rows=6", "rate=0", "formats=[png]"], workers=1)
    declared = dataset.info["label_columns"]
    assert list(declared) == list(ImageTable(dataset).labels) and len(declared) == 4
    assert all(sum(label["values"].values()) == 6 for label in declared.values())


def test_show_counts_them(tmp_path: Path) -> None:
    dataset = made(as_jsonl(tmp_path), ALL)
    (section,) = [one for one in page(dataset, Options(n=0)).sections if one.title == "labels"]
    assert [tuple(row.values()) for row in section.rows] == [
        ("artist", "Monet", 2, 0.5),
        ("artist", "Degas", 1, 0.25),
        ("artist", "Rue d'Été", 1, 0.25),
        ("season", "winter", 2, 0.5),
        ("season", "summer", 1, 0.25),
        ("season", "(none)", 1, 0.25),
        ("year", "-3 to 1899, mean 1256.8333", 3, 0.75),
        ("year", "(none)", 1, 0.25),
        ("note", "(text)", 3, 0.75),
        ("note", "(none)", 1, 0.25),
    ]


def test_exports_have_them_and_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    dataset = made(as_jsonl(tmp_path / "in"), ALL)
    export_dataset(dataset.ref, "imagefolder", tmp_path / "folder")
    lines = [
        json.loads(line)
        for file in (tmp_path / "folder").rglob("metadata.jsonl")
        for line in file.open(encoding="utf-8")
    ]
    told = {line["text"]: {name: line.get(name) for name in KINDS} for line in lines}
    assert told == WANTED
    assert json.dumps(told["picture 0"]["year"]) == "1899"  # a whole number without a point
    export_dataset(dataset.ref, "parquet", tmp_path / "parquet")
    again = made(tmp_path / "parquet", ALL)
    assert values(again) == WANTED and ImageTable(tmp_path / "parquet").labels == KINDS


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["labels=[painter]"], "no row has a column 'painter' to keep as a label"),
        (["source=world", "labels=[artist]"], "a world has its own labels"),
        (["labels={artist: number}"], "no picture of the source can be used"),
    ],
)
def test_labels_that_are_not_there(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match=message) as caught:
        made(as_jsonl(tmp_path), *overrides)
    assert caught.value.hint


@pytest.mark.parametrize("given", ["[artist, artist]", "[image]", "{artist: colour}", "['']", "[split]", "7"])
def test_what_is_no_label_is_a_mistake_in_the_spec(given: str) -> None:
    with pytest.raises(SpecError, match="labels"):
        build("icd-qr", overrides=["source=nowhere", f"labels={given}"])


@pytest.mark.parametrize(
    "kind, value, read",
    [
        ("class", " a ", "a"),
        ("class", "", None),
        ("class", True, "true"),
        ("class", 7, "7"),
        ("class", 7.0, "7"),
        ("class", float("nan"), None),
        ("class", b"x\xc3\xa9", "xé"),
        ("text", 2.5, "2.5"),
        ("number", "1e3", 1000.0),
        ("number", " ", None),
        ("number", 3, 3.0),
        ("class", ["a"], Reject),
        ("class", b"\xff", Reject),
        ("number", "c. 1890", Reject),
        ("number", "inf", Reject),
        ("text", {"a": 1}, Reject),
    ],
)
def test_values(kind: Any, value: Any, read: Any) -> None:
    if read is Reject:
        with pytest.raises(Reject, match="x: "):
            labels.read_labels({"x": value}, {"x": kind})
    else:
        assert labels.read_labels({"x": value}, {"x": kind}) == {"x": read}


def test_a_picture_whose_label_does_not_fit_is_a_reject(tmp_path: Path) -> None:
    dataset = made(as_jsonl(tmp_path), "labels={note: number, artist: class}", "rows=2", "test_share=0")
    assert dataset.info["rejects"] == {"bad-label": 1} and dataset.info["written"] == 1


def test_numbers_of_datasets_classes_are_read_as_their_words() -> None:
    features = {"season": {"names": ["summer", "winter"], "_type": "ClassLabel"}, "year": {"dtype": "int32"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    names = labels.class_names(metadata, {"season": "class", "year": "number"})
    assert labels.named_classes({"season": 1, "year": 3}, names) == {"season": "winter", "year": 3}
    assert labels.named_classes({"season": -1}, names) == {"season": None}
    with pytest.raises(Reject, match="none of its 2 classes"):
        labels.named_classes({"season": 2}, names)
    assert labels.class_names({b"huggingface": b"{"}, {"season": "class"}) == {}


def test_many_values_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptlib.concepts.shards.MOST_VALUES", 2)
    dataset = made(as_jsonl(tmp_path), "labels=[artist, season]")
    declared = dataset.info["label_columns"]
    assert declared["artist"] == {"kind": "class"} and declared["season"]["values"]


def test_a_manifest_from_before_labels_were_declared_is_read_by_its_table() -> None:
    table: dict[str, Any] = {"style": "class", "year": "number"}
    assert labels.labels_of({}, table) == {"style": labels.Label("class"), "year": labels.Label("number")}
    declared = {"label_columns": {"style": {"kind": "text"}, "gone": {"kind": "class"}, "year": {"kind": "odd"}}}
    assert labels.labels_of(declared, table) == {"style": labels.Label("text"), "year": labels.Label("number")}
