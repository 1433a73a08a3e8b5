"""A published dataset: pictures, captions and boxes in one table, as viewers and training scripts want them."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conceptlib.concepts.tables import ImageTable, shard_name
from conceptlib.errors import ConceptlibError
from conceptlib.formats import export_dataset
from conceptlib.hub.publish import publish
from conceptlib.store import Artifact, Store
from tests.support import mixed, readers


@pytest.fixture
def mixture(store: Store) -> Artifact:
    pictures = mixed.make_pictures(store)
    mixed.make_annotations(store, pictures, mixed.boxes())
    return pictures


def as_diffusers_reads(rows: list[dict]) -> list[tuple[object, str]]:
    """What `train_text_to_image.py` asks of its columns `image` and `text`: pictures, and captions that are texts."""
    for row in rows:
        assert isinstance(row["text"], str | list), "Caption column should contain either strings or lists of strings."
    return [(row["image"].convert("RGB"), row["text"]) for row in rows]


def test_one_table_for_viewers_and_training(mixture: Artifact, store: Store, tmp_path: Path) -> None:
    published = publish(mixture, tmp_path / "out", store=store)
    loaded = readers.load_hub(tmp_path / "out", tmp_path / "cache")
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 4, "test": 2}
    train = loaded["train"]
    assert train.column_names[:3] == ["image", "text", "objects"]
    objects = train[0]["objects"]
    assert objects["bbox"] == [[7, 5, 23, 23]] and objects["category"] == [0]
    assert train.features["objects"]["category"].feature.names == ["qr-code", "watermark"]
    captioned = [row for row in train if row["text"] is not None]
    assert as_diffusers_reads(captioned)[0][1] == "picture 0 — ünïcode"
    assert "`--dataset_name ./out`" in published.card


def test_it_is_an_artifact_again(mixture: Artifact, store: Store, tmp_path: Path) -> None:
    publish(mixture, tmp_path / "out", store=store)
    table = ImageTable(tmp_path / "out")
    assert list(table.rows()) == list(ImageTable(mixture).rows())
    columns = ["image_id", "caption", "colour"]
    assert [row["caption"] for row in table.rows(columns=columns)][2] == "picture 2 — ünïcode"
    assert {problem.what for problem in store.verify(tmp_path / "out")} == {"extra"}  # the card and the like
    again = export_dataset(tmp_path / "out", "parquet", tmp_path / "again", store=store)
    assert again.images == 6 and pq.read_schema(next(again.path.glob("data/*"))).names[:2] == ["image", "text"]


def test_nothing_stays_behind(mixture: Artifact, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    planned = publish(mixture, "org/name", store=store, dry_run=True)
    assert list((tmp_path / "tmp").iterdir())  # what is planned can be read
    assert all(len(file.read()) == file.size for file in planned.files)
    del planned
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_same_bytes_each_time(mixture: Artifact, store: Store, tmp_path: Path) -> None:
    first = publish(mixture, tmp_path / "out", store=store)
    assert publish(mixture, tmp_path / "out", store=store).status == "unchanged"
    again = publish(mixture, tmp_path / "other" / "out", store=store)
    assert [file.sha256 for file in first.files] == [file.sha256 for file in again.files]


def test_a_damaged_shard_is_not_published(mixture: Artifact, store: Store, tmp_path: Path) -> None:
    shard = mixture.path / "data" / shard_name("train", 1, 2)
    data = shard.read_bytes()
    shard.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    with pytest.raises(ConceptlibError, match="is damaged: data/train-00001"):
        publish(mixture, tmp_path / "out", store=store)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib, of its own code
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # mlcroissant, of pandas
@pytest.mark.parametrize("truth", [True, False], ids=["boxes", "no boxes"])
def test_croissant_is_valid_and_its_records_load(
    make_dataset: Callable[..., Artifact], store: Store, tmp_path: Path, truth: bool, caplog: pytest.LogCaptureFixture
) -> None:
    import mlcroissant

    caplog.set_level(logging.ERROR, "absl")
    publish(make_dataset(truth=truth), tmp_path / "out", store=store)
    described = mlcroissant.Dataset(str(tmp_path / "out" / "croissant.json"))
    assert described.metadata.issues.errors == set() and described.metadata.issues.warnings == set()
    assert [one.id for one in described.metadata.record_sets] == ["default", "truth"][: 1 + truth]
    rows = list(described.records("default"))
    assert sorted(row["default/split"] for row in rows) == [b"test"] * 2 + [b"train"] * 4
    known = {row["image_id"]: row for row in ImageTable(tmp_path / "out").rows()}
    for row in rows:
        own = known[row["default/image_id"].decode()]
        assert row["default/text"].decode() == own["caption"]
        assert row["default/image"].size == (own["width"], own["height"])
        assert ("default/objects" in row) == truth
    if truth:
        boxes = {row["truth/image_id"]: row["truth/boxes"] for row in described.records("truth")}
        for row in rows:
            corners = [[x, y, x + w, y + h] for x, y, w, h in row["default/objects"]["default/objects/bbox"]]
            assert corners == boxes[row["default/image_id"]]


def test_croissant_says_where_it_is(mixture: Artifact, store: Store, tmp_path: Path) -> None:
    for target, url in (
        ("org/name", "https://huggingface.co/datasets/org/name"),
        (tmp_path / "out", "urn:conceptlib:"),
    ):
        planned = publish(mixture, target, store=store, dry_run=True)
        data = json.loads(next(file for file in planned.files if file.path == "croissant.json").read())
        assert data["url"].startswith(url) and data["license"] == "unknown"
