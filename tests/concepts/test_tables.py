"""Parquet tables: what is written comes back, for us and for `datasets`; nothing half-written is seen."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptlib.concepts import tables
from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.store.hashing import sha256_bytes


def picture(number: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def write(folder: Path, counts: dict[str, list[int]], **labels: str) -> None:
    for split, shards in counts.items():
        for index, count in enumerate(shards):
            rows = [
                image_row(f"{split}-{index}-{k}", picture(k), caption=f"höhe {k}", seed=k, **labels)
                for k in range(count)
            ]
            ImageTable.write(folder / "data" / tables.shard_name(split, index, len(shards)), rows)


def test_rows_come_back_in_order_with_their_pictures(tmp_path: Path) -> None:
    write(tmp_path, {"train": [3, 2], "test": [1]})
    table = ImageTable(tmp_path)
    assert table.splits == ["train", "test"]
    assert (len(table), table.count("train"), len(table.shards("train"))) == (6, 5, 2)
    rows = list(table.rows())
    assert [row["image_id"] for row in rows] == [
        "train-0-0",
        "train-0-1",
        "train-0-2",
        "train-1-0",
        "train-1-1",
        "test-0-0",
    ]
    second = rows[1]
    assert (second["caption"], second["seed"], second["width"], second["height"]) == ("höhe 1", 1, 20, 16)
    assert second["image_sha256"] == sha256_bytes(second["image"]["bytes"])
    assert np.array_equal(np.asarray(table.decode(second)), np.asarray(picture(1)))


def test_columns_can_be_chosen_and_unknown_ones_read_as_none(tmp_path: Path) -> None:
    write(tmp_path, {"train": [1]})
    assert list(ImageTable(tmp_path).rows(columns=["caption", "object"])) == [{"caption": "höhe 0", "object": None}]


def test_datasets_opens_the_folder_with_pictures_and_splits(tmp_path: Path) -> None:
    import datasets

    write(tmp_path, {"train": [2, 1], "test": [1]}, object="star", colour="red", background="sky", style="plain")
    found = [Detections.empty(), Detections(np.float32([[1, 2, 3, 4]]), np.float32([0.5]), ("qr-code",))]
    annotated = tmp_path / "annotations"
    rows = list(ImageTable(tmp_path).rows("train"))
    AnnotationTable.write(
        annotated / "data" / tables.shard_name("train", 0, 1),
        [AnnotationTable.row(r, d) for r, d in zip(rows[:2], found, strict=True)],
    )
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 3, "test": 1}
    assert isinstance(loaded["train"].features["image"], datasets.Image)
    assert np.array_equal(np.asarray(loaded["train"][1]["image"]), np.asarray(picture(1)))
    assert loaded["test"][0]["object"] == "star"
    boxes = datasets.load_dataset(str(annotated), cache_dir=str(tmp_path / "cache"))["train"]
    assert boxes[0]["boxes"] == [] and boxes[1]["boxes"] == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    "schema",
    [
        tables.image_schema(),
        tables.image_schema(["season", "year of it"]),
        tables.image_schema({"year": "number", "note": "text"}),
        tables.annotation_schema(),
    ],
)
def test_the_schema_is_the_one_that_datasets_would_write(schema: object) -> None:
    from datasets import Features

    features = Features.from_arrow_schema(schema)
    assert features.arrow_schema.equals(schema, check_metadata=False)
    assert json.loads(features.arrow_schema.metadata[b"huggingface"]) == json.loads(
        schema.metadata[b"huggingface"]  # type: ignore[attr-defined]
    )


numbers = st.floats(0, 500, width=32)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(numbers, numbers, numbers, numbers, st.floats(0, 1, width=32), st.text(max_size=8)), max_size=3
        ),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_detections_survive_the_table(tmp_path_factory: pytest.TempPathFactory, images: list, quads: bool) -> None:
    folder = tmp_path_factory.mktemp("annotations")
    found = {}
    for number, objects in enumerate(images):
        boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, _, _ in objects], np.float32)
        found[f"i{number}"] = Detections(
            boxes.reshape(-1, 4),
            np.array([o[4] for o in objects], np.float32),
            tuple("qr-code" for _ in objects),
            quads=np.repeat(boxes.reshape(-1, 4), 2, axis=1).reshape(-1, 4, 2) if quads else None,
            payloads=tuple(o[5] for o in objects) if quads else None,
            visible=np.array([o[4] for o in objects], np.float32) if quads else None,
        )
    rows = [
        AnnotationTable.row({"image_id": k, "image_sha256": "0", "width": 500, "height": 500}, d)
        for k, d in found.items()
    ]
    AnnotationTable.write(folder / "data" / tables.shard_name("train", 0, 1), rows)
    table = AnnotationTable(folder)
    assert table.by_image() == found
    assert len(table) == len(images)


def test_row_groups_are_small_in_rows_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [image_row(str(k), picture(k)) for k in range(250)]
    path = tmp_path / "a.parquet"
    assert ImageTable.write(path, iter(rows)) == 250
    assert [pq.ParquetFile(path).metadata.row_group(i).num_rows for i in range(3)] == [100, 100, 50]
    monkeypatch.setattr(tables.writer, "GROUP_BYTES", 10 * len(rows[0]["image"]["bytes"]))
    ImageTable.write(path, iter(rows[:40]))
    assert pq.ParquetFile(path).metadata.num_row_groups >= 4


def test_a_writer_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    ImageTable.write(path, [image_row("a", picture(0))])
    before = path.read_bytes()

    def broken():
        for k in range(150):
            yield image_row(str(k), picture(k))
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        ImageTable.write(path, broken())
    assert path.read_bytes() == before
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".tmp")]


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    rows = [image_row(str(k), picture(k), caption="c") for k in range(5)]
    ImageTable.write(tmp_path / "a", rows)
    ImageTable.write(tmp_path / "b", rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_shard_is_a_file_without_rows(tmp_path: Path) -> None:
    assert ImageTable.write(tmp_path / "data" / tables.shard_name("train", 0, 1), []) == 0
    assert list(ImageTable(tmp_path).rows()) == []


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no Parquet shards"):
        ImageTable(tmp_path)
    write(tmp_path, {"train": [1, 1]})
    with pytest.raises(ConceptlibError, match=r"no split 'validation'.*it has: train"):
        ImageTable(tmp_path).shards("validation")
    with pytest.raises(ConceptlibError, match="no column colour_of_hat"):
        # Labels are free, and the same in all rows.
        ImageTable.write(tmp_path / "x", [image_row("a", picture(0)), image_row("b", picture(0), colour_of_hat="red")])
    with pytest.raises(ConceptlibError, match="does not fit"):
        ImageTable.write(tmp_path / "x", [image_row("a", picture(0)) | {"width": "wide"}])
    row = next(ImageTable(tmp_path).rows()) | {"image": {"bytes": b"no picture"}}
    with pytest.raises(ConceptlibError, match="'train-0-0' cannot be decoded"):
        ImageTable(tmp_path).decode(row)
    with pytest.MonkeyPatch.context() as patch:  # as where another library has put its own in the place of Pillow's

        def opened(*args: object) -> None:
            raise ModuleNotFoundError("No module named 'pi_heif'")

        patch.setattr(Image, "open", opened)
        with pytest.raises(ConceptlibError, match="'train-0-0' cannot be decoded"):
            ImageTable(tmp_path).decode(row)
    second = ImageTable(tmp_path).shards("train")[1]
    second.write_bytes(second.read_bytes()[:-40])
    with pytest.raises(ConceptlibError, match="cannot be read"):
        list(ImageTable(tmp_path).rows())
    second.unlink()
    with pytest.raises(ConceptlibError, match="1 of 2 shards"):
        ImageTable(tmp_path)


def test_an_image_id_that_comes_twice_is_an_error_in_annotations(tmp_path: Path) -> None:
    row = AnnotationTable.row({"image_id": "a", "image_sha256": "0", "width": 1, "height": 1}, Detections.empty())
    AnnotationTable.write(tmp_path / "data" / tables.shard_name("train", 0, 1), [row, row])
    with pytest.raises(ConceptlibError, match="'a' comes twice"):
        AnnotationTable(tmp_path).by_image()


def test_image_rows_take_encoded_bytes_as_they_are() -> None:
    buffer = io.BytesIO()
    picture(0).save(buffer, "JPEG")
    row = image_row("über/1", buffer.getvalue())
    assert row["image"] == {"bytes": buffer.getvalue(), "path": "über-1.jpg"}
    assert (row["width"], row["height"]) == (20, 16)


def test_pictures_are_not_compressed_again(tmp_path: Path) -> None:
    ImageTable.write(tmp_path / "a.parquet", [image_row(f"{n}", picture(n), caption="x") for n in range(3)])
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0)
    codecs = {group.column(k).path_in_schema: group.column(k).compression for k in range(group.num_columns)}
    assert codecs.pop("image.bytes") == "UNCOMPRESSED" and set(codecs.values()) == {"SNAPPY"}


@pytest.mark.parametrize("whole_split", [True, False])
@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("form", ["artifact", "path"])
def test_a_shard_that_the_manifest_names_is_missed(home: Path, whole_split: bool, cut: bool, form: str) -> None:
    """Also where all shards of a split are gone, which leave no other trace."""
    from conceptlib.store import Store

    with Store().draft("dataset", "lost", lock={}) as draft:
        for split in ("train", "test"):
            row = image_row("0", Image.new("RGB", (8, 8)), caption="a", seed=0)
            ImageTable.write(draft.path / "data" / shard_name(split, 0, 1), [row])
        artifact = draft.commit()
    ref = artifact if form == "artifact" else artifact.path
    assert len(ImageTable(ref)) == 2
    for path in sorted((artifact.path / "data").glob("train-*" if whole_split else "*")):
        if cut:
            path.write_bytes(path.read_bytes()[:-1])
        else:
            path.unlink()
    with pytest.raises(ConceptlibError, match=r"dataset lost@\w+ is damaged: \d of its shards are missing or cut"):
        ImageTable(ref)
