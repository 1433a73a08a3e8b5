from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conceptlib import catalog
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.store import Artifact, Store

Family = dict[str, Artifact]


def test_ls_lists_newest_last_with_what_it_was_made_from(store: Store, family: Family) -> None:
    entries = catalog.ls(store=store)
    assert [entry.id for entry in entries] == [one.id for one in store.list()]
    checkpoint = next(entry for entry in entries if entry.name == "geom-erasing/qr")
    assert checkpoint.path == family["checkpoint"].path
    assert checkpoint.parents == family["checkpoint"].parents
    assert (checkpoint.created, checkpoint.size) == (family["checkpoint"].created, family["checkpoint"].size)


def test_ls_narrows(store: Store, family: Family) -> None:
    def names(*args: Any, **options: Any) -> list[str]:
        return [entry.name for entry in catalog.ls(*args, store=store, **options)]

    assert names("checkpoint") == ["geom-erasing/qr", "geom-erasing/plain"]
    assert names(name="geom-erasing/*") == ["geom-erasing/qr", "geom-erasing/plain", "geom-erasing/qr/icd"]
    assert names("checkpoint", "*plain") == ["geom-erasing/plain"]
    assert names(limit=1) == ["geom-erasing/qr/icd"]
    assert names("images") == names(name="'; DROP TABLE artifacts; --") == []
    with pytest.raises(ConceptlibError, match="unknown kind"):
        catalog.ls("datasets", store=store)


def test_show_walks_the_lineage_up_and_down(store: Store, family: Family) -> None:
    shown = catalog.show("geom-erasing/qr", store=store)
    assert shown.artifact == family["checkpoint"]
    up = [(one.depth, one.role, one.kind, one.name) for one in shown.ancestors]
    assert up == [
        (1, "annotations", "annotations", "yolo-icd"),
        (2, "dataset", "dataset", "icd-qr"),
        (2, "detector", "detector", "yolo-icd"),
        (3, "dataset", "dataset", "icd-qr"),
        (1, "dataset", "dataset", "icd-qr"),
    ]
    assert [(one.depth, one.role, one.name) for one in shown.descendants] == [(1, "checkpoint", "geom-erasing/qr/icd")]
    assert {(row["subject"], row["metric"], row["value"]) for row in shown.scores} == {
        ("base", "concept_rate", 0.35),
        ("checkpoint", "concept_rate", 0.04),
        ("base", "caption_accuracy", 0.9),
        ("checkpoint", "caption_accuracy", 0.89),
    }
    assert {one.name for one in catalog.show("icd-qr", store=store).descendants} == {
        "yolo-icd", "geom-erasing/qr", "geom-erasing/plain", "geom-erasing/qr/icd",
    }  # fmt: skip


def test_show_names_ancestors_that_are_gone(store: Store, family: Family) -> None:
    shutil.rmtree(family["detector"].path)
    gone = [one for one in catalog.show("geom-erasing/qr", store=store).ancestors if one.kind is None]
    assert [(one.id, one.role, one.of, one.name) for one in gone] == [
        (family["detector"].id, "detector", family["annotations"].id, None)
    ]


def test_show_an_artifact_outside_the_store(store: Store, family: Family, tmp_path: Path) -> None:
    shutil.copytree(family["annotations"].path, tmp_path / "copy")
    shown = catalog.show(tmp_path / "copy", store=Store(tmp_path / "other"))
    assert {one.role for one in shown.ancestors} == {"dataset", "detector"}
    assert all(one.kind is None for one in shown.ancestors)


def test_show_what_is_not_there(store: Store, family: Family) -> None:
    with pytest.raises(NotFound, match="icd-qr"):
        catalog.show("icd-rq", store=store)


def test_views_say_what_the_kinds_are_about(store: Store, family: Family) -> None:
    def one(sql: str) -> tuple[Any, ...]:
        (row,) = catalog.query(sql, store=store).rows
        return row

    dataset, detector = family["dataset"].id, family["detector"].id
    assert one("SELECT id, builder, seed, concepts, images, rejected, polluted_share FROM datasets") == (
        dataset, "icd", 3, ["qr-code"], 100, 2, 0.4,
    )  # fmt: skip
    assert one("SELECT id, adapter, labels, dataset_id FROM detectors") == (detector, "yolo", ["qr-code"], dataset)
    assert one("SELECT dataset_id, detector_id, boxes, images_with FROM annotation_sets") == (
        dataset, detector, {"qr-code": 41}, {"qr-code": 40},
    )  # fmt: skip
    assert one(
        "SELECT method, concepts, base, adapter, negative_prompt, dataset_id, annotations_id FROM checkpoints "
        "WHERE annotations_id IS NOT NULL"
    ) == ("geom-erasing", ["qr-code"], "tiny", "full", "qr code <l0,0>", dataset, family["annotations"].id)
    assert one("SELECT suite, checkpoint_id, detector_id FROM evaluations") == ("icd", family["checkpoint"].id, None)
    assert one(f"SELECT count(*), max(depth) FROM lineage WHERE id = '{family['evaluation'].id}'") == (4, 4 - 1)
    assert one(
        f"SELECT min(depth) FROM lineage WHERE id = '{family['checkpoint'].id}' AND ancestor_id = '{dataset}'"
    ) == (1,)


@pytest.mark.parametrize(
    ("sql", "columns", "rows"),
    [
        ("SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS a", ("a", "a_2", "b", "a_3"), ((1, 2, 3, 4),)),
        ("SELECT 1.5 AS d, sum(x) AS s FROM range(3) t(x)", ("d", "s"), ((1.5, 3),)),
        ("SELECT DATE '2026-01-02' AS d, 'a'::BLOB AS b, NULL AS n", ("d", "b", "n"), (("2026-01-02", "61", None),)),
        ("SELECT {'a': [1.5]} AS s, '{\"x\": [1]}'::JSON AS j", ("s", "j"), (({"a": [1.5]}, {"x": [1]}),)),
        ("SELECT 1 AS x WHERE false", ("x",), ()),
        ("SELECT 1; SELECT 2 AS b;", ("b",), ((2,),)),
    ],
)
def test_results_are_plain_values_with_distinct_columns(store: Store, sql: str, columns: Any, rows: Any) -> None:
    table = catalog.query(sql, store=store)
    assert (table.columns, table.rows) == (columns, rows)
    assert table.dicts() == [dict(zip(columns, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    "sql", ["", "  \n ", ";;", "SELEC 1", "SELECT nothing FROM artifacts", "FROM nowhere", "SELECT $x"]
)
def test_sql_that_makes_no_sense_is_explained(store: Store, family: Family, sql: str) -> None:
    with pytest.raises(ConceptlibError) as caught:
        catalog.query(sql, store=store)
    assert caught.value.hint
    assert isinstance(caught.value, UsageError) == (not sql.strip("; \n"))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (a INTEGER)",
        "DROP TABLE artifacts",
        "DELETE FROM artifacts",
        "UPDATE artifacts SET name = 'x'",
        "INSERT INTO parents VALUES ('a', 'b', 'c', 'd')",
        "FROM read_csv('{folder}/secret.csv')",
        "FROM '{folder}/secret.csv'",
        "FROM read_text('{folder}/secret.csv')",
        "FROM read_blob('{folder}/*')",
        "FROM glob('{folder}/*')",
        "COPY artifacts TO '{folder}/out.csv'",
        "COPY (SELECT 1) TO '{folder}/out.parquet'",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.duckdb'",
        "ATTACH '{folder}/out.duckdb' AS x; CREATE TABLE x.t AS SELECT 1",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET temp_directory = '{folder}/out'",
        "FROM family",  # a variable of this process
        "SELECT getenv('HOME')",
    ],
)
def test_sql_cannot_leave_the_catalog(store: Store, family: Family, tmp_path: Path, sql: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "secret.csv").write_text("a\n1\n")
    with pytest.raises(ConceptlibError, match="DuckDB says"):
        catalog.query(sql.replace("{folder}", str(folder)), store=store)
    assert [path.name for path in folder.iterdir()] == ["secret.csv"]
    assert len(catalog.ls(store=store)) == len(family)
