"""Worlds are found, and known by what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from conceptlib import worlds
from conceptlib.concepts.build import build
from conceptlib.concepts.sources import open_source
from conceptlib.concepts.tables import ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.hub.kinds.dataset import contents
from conceptlib.hub.plan import CardOptions
from conceptlib.models.bases import resolve_base
from conceptlib.specs import FAMILIES
from conceptlib.store import Store
from tests.support.pond import pond


@pytest.fixture
def second(tmp_path: Path) -> Iterator[worlds.World]:
    with pond(tmp_path / "more"):
        yield worlds.world("pond")


def test_a_second_world_is_one_package(second: worlds.World) -> None:
    assert "pond" in FAMILIES and [one.name for one in worlds.worlds()] == ["pond", "tiny"]
    assert worlds.of_columns(["image", "caption", "water", "fish"]) is second
    assert worlds.of_word("eel") == (second, "fish")
    assert worlds.of_word("nobody") is None


def test_each_world_is_a_source_of_pictures(second: worlds.World) -> None:
    source = open_source("world:pond", rows=8, test_share=0.25)
    items = list(source.items())
    assert source.lock() == {"kind": "world", "world": "pond", "seed": 0, "rows": 8, "test": 2}
    assert worlds.of_lock(source.lock()) is second
    assert [item.split for item in items] == ["train"] * 6 + ["test"] * 2
    held = [row.caption for row in second.rows(0, 2, held_out=True)]
    assert [item.caption for item in items[6:]] == held
    assert items[0].load(16).size == (16, 16)
    assert items[0].labels is not None and items[0].labels.keys() == second.labels.keys()


def test_a_dataset_of_another_world_has_its_labels_and_its_licence(second: worlds.World) -> None:
    dataset = build("icd-qr", overrides=["source=world:pond", "rows=10", "formats=[png]", "rate=0"], workers=1)
    table = ImageTable(dataset)
    assert list(table.labels) == ["fish", "water"] and worlds.of_columns(table.labels) is second
    assert {row["width"] for row in table.rows()} == {second.size}
    judged = second.judge().read([table.decode(row) for row in table.rows()])
    assert judged == {column: [row[column] for row in table.rows()] for column in second.labels}
    card = contents(dataset, Store(), CardOptions("org/pond")).card
    assert "what it swims in" in card and "cc0-1.0" in card


def test_the_judge_of_a_world_reads_its_pictures(second: worlds.World) -> None:
    for world in worlds.worlds():
        rows = list(islice(world.rows(0, 6), 6))
        judge = world.judge()
        pictures = [row.scene.draw(world.size) for row in rows]
        read = judge.read(pictures)
        assert {column: list(found) for column, found in read.items()} == {
            column: [row.labels[column] for row in rows] for column in world.labels
        }
        assert np.asarray(judge.features(pictures)).shape[0] == 6


def test_a_word_is_put_in_the_place_of_the_rows_own() -> None:
    for world in worlds.worlds():
        for column, words in world.labels.items():
            for word in words:
                row = world.placed(3, 1, column, word)
                assert row.labels[column] == word
                assert world.parse(row.caption).get(column) == word


def test_the_first_world_keeps_its_lock_and_its_name() -> None:
    assert open_source("world", rows=4).lock() == {"kind": "world", "seed": 0, "rows": 4, "test": 1}
    assert open_source("world:tiny", rows=4).lock() == open_source("world", rows=4).lock()
    assert worlds.of_lock({"kind": "world", "seed": 0}).name == "tiny"


@pytest.mark.parametrize("lock", [{"kind": "folder"}, {"kind": "world", "world": "gone"}, None, "world"])
def test_other_sources_are_no_world(lock: object) -> None:
    assert worlds.of_lock(lock) is None


def test_a_world_that_is_not_there_is_said_with_the_nearest_name() -> None:
    with pytest.raises(ConceptlibError, match="there is no world 'tiney'") as caught:
        open_source("world:tiney")
    assert "tiny" in caught.value.hint


def test_a_model_is_known_by_its_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by its name: a spec of the same family that nobody trained is no base."""
    assert resolve_base("tiny").ref == "tiny"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("kind: model\nname: mine\nfamily: tiny\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert worlds.weights("mine") is None
    with pytest.raises(ConceptlibError, match="no model 'mine'"):
        resolve_base("mine")
    for name in ("gone", "org/name", "../tiny", "tiny.yaml", ""):
        assert worlds.weights(name) is None
