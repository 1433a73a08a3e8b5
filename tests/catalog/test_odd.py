"""Odd things among the artifacts: each is a line under `damaged`, and hides no other."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptlib import catalog
from conceptlib.catalog import look, records, schema
from conceptlib.cli.main import main
from conceptlib.store import Store
from conceptlib.store.manifest import MANIFEST

ID = "00000000000000aa"
GOOD = [{"subject": "checkpoint", "metric": "kid", "value": 0.5, "low": 0.4, "high": 0.6, "n": 8}]


def manifest(kind: str = "evaluation", name: str = "odd", **changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "id": ID,
        "key": "0" * 64,
        "kind": kind,
        "name": name,
        "parents": {},
        "lock": {},
        "info": {},
        "files": [],
        "content": "x",
        "content_from": "producer",
        "created": "2026-01-02T03:04:05.000006+00:00",
        "seconds": 1.5,
        "environment": {},
    } | changes


def plant(root: Path, raw: Any = None, scores: Any = GOOD, name: str = "odd") -> Path:
    """An evaluation of which `raw` and `scores` (bytes, or what becomes JSON) are the files; None: there is none.

    `name` is its name, and its folder's; a mapping that names another stays so.
    """
    folder = root / "artifacts" / "evaluation" / name / ID
    folder.mkdir(parents=True)
    raw = manifest() if raw is None else raw
    if isinstance(raw, dict) and raw.get("name") == "odd":
        raw = raw | {"name": name}
    for file, content in ((MANIFEST, raw), ("scores.json", scores)):
        if content is not None:
            (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def replaced(name: str, make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """The artifact with one file replaced by something that is none."""

    def apply(root: Path) -> None:
        path = plant(root) / name
        path.unlink()
        make(path)

    return apply


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": [value]}
    return value


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(300 << 20)


FILE = {"path": "a", "sha256": "0" * 64, "size": 1}

DAMAGED: dict[str, Callable[[Path], Any]] = {
    "a manifest that links to itself": replaced(MANIFEST, lambda path: path.symlink_to(MANIFEST)),
    "a manifest that is a device": replaced(MANIFEST, lambda path: path.symlink_to("/dev/zero")),
    "a manifest that is a pipe": replaced(MANIFEST, lambda path: os.mkfifo(path)),
    "a manifest that is a folder": replaced(MANIFEST, lambda path: path.mkdir()),
    "a manifest of 300 MB": replaced(MANIFEST, sparse),
    "no manifest": lambda root: (plant(root) / MANIFEST).unlink(),
    "an empty manifest": lambda root: plant(root, b""),
    "a manifest of another shape": lambda root: plant(root, [1]),
    "a manifest in Latin-1": lambda root: plant(
        root, json.dumps(manifest(name="é"), ensure_ascii=False).encode("latin-1")
    ),
    "of a later release": lambda root: plant(root, manifest() | {"schema_version": 99}),
    "a lock 150 deep": lambda root: plant(root, manifest(lock=deep(75))),
    "an info 900 deep": lambda root: plant(root, manifest(info=deep(450))),
    "an info 100,000 deep": lambda root: plant(root, b"[" * 100_000),
    "a number of 4,400 digits": lambda root: plant(root, b'{"schema_version": ' + b"1" * 4400 + b"}"),
    "a month that is none": lambda root: plant(root, manifest(created="2026-99-02T03:04:05.000006+00:00")),
    "a file of 2^63 bytes": lambda root: plant(root, manifest(files=[FILE | {"size": 2**63}])),
    "files of 2^63 bytes": lambda root: plant(root, manifest(files=[FILE | {"size": 2**62}] * 2)),
    "another kind": lambda root: plant(root, manifest(kind="dataset")),
    "a kind that is none": lambda root: plant(root, manifest(kind="\x1b[31m")),
    "another name": lambda root: plant(root, manifest(name="other")),
    "a name that leads out": lambda root: plant(root, manifest(name="../../odd")),
    "half a surrogate in a name": lambda root: plant(root, manifest(name="odd\ud800")),
    "another id": lambda root: plant(root, manifest(id="0" * 16)),
    "NaN": lambda root: plant(root, manifest(info={"a": [float("nan")]})),
    "infinity": lambda root: plant(root, manifest(seconds=float("inf"))),
    "half surrogates": lambda root: plant(root, manifest(lock={"\ud800": "\udfff"})),
    "an id that is no UTF-8": lambda root: os.makedirs(os.fsencode(root / "artifacts/dataset/odd") + b"/\xff\xfe"),
    "a name that is no UTF-8": lambda root: os.makedirs(os.fsencode(root / "artifacts/dataset") + b"/\xff/0"),
    "a link in a circle": lambda root: (root / "artifacts/dataset/odd").symlink_to("odd"),
}

DAMAGED_SCORES: dict[str, Any] = {
    "none": None,
    "empty": b"",
    "no JSON": b"\xff\x00",
    "a mapping": {},
    "a list of lists": [[1]],
    "no subject": [{"metric": "x"}],
    "a subject that is a list": [GOOD[0] | {"subject": ["a"]}],
    "a metric that is null": [GOOD[0] | {"metric": None}],
    "a value that is text": [GOOD[0] | {"value": "0.5"}],
    "a value that is a list": [GOOD[0] | {"value": [1]}],
    "a value of 400 digits": [GOOD[0] | {"value": 10**400}],
    "an infinite n": [GOOD[0] | {"n": float("inf")}],
    "n that is not a number": [GOOD[0] | {"n": float("nan")}],
    "a broken n": [GOOD[0] | {"n": 1.5}],
    "an n of 80 bits": [GOOD[0] | {"n": 2**80}],
    "an n that is text": [GOOD[0] | {"n": "8"}],
    "deep": [GOOD[0] | {"more": deep(60)}],
    "a number of 4,400 digits": b'[{"subject": ' + b"1" * 4400 + b"}]",
}

HARMLESS: dict[str, dict[str, Any]] = {
    "NUL": {"lock": {"a\x00": "b\x00"}, "info": {"concepts": ["\x00"]}},
    "escape sequences": {"info": {"\x1b[31m": "\x1b[31m"}},
    "a number of 4,000 digits": {"info": {"written": 10**4000}},
    "odd values in the views' places": {
        "lock": {"spec": 1, "recipe": [], "base": None, "concepts": {"a": 1}, "suite": {"seed": 2**80, "params": 3}},
        "info": {"concepts": 5, "labels": {"a": 1}, "boxes": None, "suite": ["x"], "threshold": 10**400},
    },
}


@pytest.fixture(params=[0, look.SMALL], ids=["large store", "small store"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "SMALL", request.param)


def everything(store: Store) -> None:
    """Every question that reads many artifacts."""
    for name in schema.public():
        catalog.query(f"FROM {name}", store=store).dicts()
    catalog.ls(store=store)
    catalog.leaderboard("kid", mixed=True, store=store)


@pytest.fixture
def good(make: Any, evaluate: Any) -> list[str]:
    """Ids of three sound artifacts, one of them with scores by `kid`."""
    dataset = make("dataset", "good")
    checkpoint = make("checkpoint", "good", parents={"dataset": dataset})
    return [dataset.id, checkpoint.id, evaluate(checkpoint, {"kid": (0.1, 0.2)}).id]


def moved(store: Store, number: int) -> None:
    """Give what was just planted a name of its own, so that more can be."""
    for kind in ("evaluation", "dataset"):
        for path in (store.root / "artifacts" / kind).glob("odd"):
            if not path.is_symlink():
                path.rename(path.with_name(f"odd{number}"))


def test_each_damaged_artifact_is_one_line(good: list[str], store: Store, either_way: None) -> None:
    catalog.refresh(store)
    for number, plant_it in enumerate(DAMAGED.values()):
        plant_it(store.root)
        moved(store, number)
    report = catalog.refresh(store)
    lines = {folder.split("/")[2] for folder in report.damaged}
    assert len(lines) == len(DAMAGED), sorted(report.damaged)
    assert [entry.id for entry in catalog.ls(store=store)] == good
    everything(store)
    before = store.layout.catalog.stat().st_mtime_ns
    assert catalog.refresh(store).damaged == report.damaged
    assert store.layout.catalog.stat().st_mtime_ns == before
    assert catalog.reindex(store).damaged == report.damaged


def test_each_list_of_damaged_scores_is_one_line(good: list[str], store: Store) -> None:
    for number, scores in enumerate(DAMAGED_SCORES.values()):
        plant(store.root, scores=scores, name=f"odd{number}")
    report = catalog.refresh(store)
    assert len(report.damaged) == len(DAMAGED_SCORES)
    assert all("scores.json" in problem for problem in report.damaged.values())
    assert {entry.name for entry in catalog.ls("evaluation", "odd*", store=store)} == {
        f"odd{number}" for number in range(len(DAMAGED_SCORES))
    }
    assert catalog.query("SELECT count(*) FROM scores WHERE evaluation LIKE 'odd%'", store=store).rows == ((0,),)
    everything(store)


def test_odd_values_are_indexed(good: list[str], store: Store) -> None:
    for number, changes in enumerate(HARMLESS.values()):
        plant(store.root, manifest(**changes), name=f"odd{number}")
    assert catalog.refresh(store).damaged == {}
    assert len(catalog.ls(store=store)) == len(good) + len(HARMLESS)
    assert catalog.query("SELECT count(*) FROM scores WHERE evaluation LIKE 'odd%'", store=store).rows == (
        (len(HARMLESS),),
    )
    everything(store)


@pytest.mark.parametrize("closed", ["artifacts/evaluation/odd", "artifacts/evaluation", "artifacts"])
def test_a_folder_that_nobody_may_look_into(
    closed: str, good: list[str], store: Store, either_way: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, catalog_ = plant(store.root), catalog
    catalog_.refresh(store)
    real = os.scandir

    def scandir(path: Any) -> Any:
        if str(path) == str(store.root / closed) or (closed == "artifacts" and "artifacts" in str(path)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        os.utime(folder.parent)
        report = catalog_.refresh(store)
        assert report.damaged and all(problem.endswith("Permission denied") for problem in report.damaged.values())
        assert all(folder.startswith(closed) for folder in report.damaged)
        assert catalog_.refresh(store).damaged == report.damaged
        assert len(catalog_.ls(store=store)) < 4
    assert catalog_.refresh(store).damaged == {}
    assert len(catalog_.ls(store=store)) == 4


def test_what_is_mended_is_read_again(good: list[str], store: Store, either_way: None) -> None:
    folder = plant(store.root, b"", None)
    assert len(catalog.refresh(store).damaged) == 1
    (folder / MANIFEST).write_text(json.dumps(manifest()))
    assert "scores.json" in next(iter(catalog.refresh(store).damaged.values()))
    (folder / "scores.json").write_text(json.dumps(GOOD))
    assert catalog.refresh(store).damaged == {}
    assert catalog.query(f"SELECT value FROM scores WHERE evaluation_id = '{ID}'", store=store).rows == ((0.5,),)


def test_every_command_that_lists_says_so(good: list[str], store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    plant(store.root, b"")
    for words in (["ls"], ["query", "FROM artifacts"], ["leaderboard", "kid"], ["reindex"], ["show", "good"]):
        assert main(["catalog", *words]) == 0
        captured = capsys.readouterr()
        assert (ID in captured.err) is (words[0] in ("ls", "reindex")), words


def test_many_damaged_ones_do_not_flood(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(40):
        (store.root / f"artifacts/dataset/odd/{number:016x}").mkdir(parents=True)
    assert main(["catalog", "ls"]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) < 25 and "FROM damaged" in warnings[-2] + warnings[-1]


def test_what_duckdb_refuses_is_one_line(good: list[str], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last net: a document that it does not take, among others in one batch."""
    plant(store.root)
    real = records.document_of

    def odd(folder: str, path: Path) -> str:
        return '{"folder": "' + folder + '", "id": nonsense}' if "odd" in folder else real(folder, path)

    monkeypatch.setattr(records, "document_of", odd)
    report = catalog.refresh(store)
    assert list(report.damaged) == [f"artifacts/evaluation/odd/{ID}"]
    assert [entry.id for entry in catalog.ls(store=store)] == good


odd_text = st.text(st.characters(exclude_categories=[]), max_size=6)
odd_number = st.integers(-(2**70), 2**70) | st.floats() | st.just(10**400)
odd_value = st.recursive(
    st.none() | st.booleans() | odd_number | odd_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=8,
)
odd_manifest = st.builds(
    lambda changes, gone: {name: value for name, value in manifest(**changes).items() if name not in gone},
    st.dictionaries(st.sampled_from(sorted(manifest())), odd_value, max_size=3),
    st.sets(st.sampled_from(sorted(manifest())), max_size=1),
)
odd_score = st.dictionaries(
    st.sampled_from(["subject", "metric", "value", "low", "high", "n", "interval", "target", "detector", "threshold"]),
    odd_value,
).map(lambda changes: GOOD[0] | changes)


odd_scores = st.none() | st.lists(odd_score, max_size=3) | odd_value
odd_artifact = st.tuples(st.binary(max_size=20) | odd_manifest | odd_value, odd_scores)


@settings(max_examples=10)
@given(st.lists(odd_artifact, min_size=4, max_size=12))
def test_any_odd_artifacts_among_good_ones(odd: list[tuple[Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        plant(store.root, manifest(name="good", parents={"checkpoint": "0" * 16}), name="good")
        for number, (raw, scores) in enumerate(odd):
            plant(store.root, raw, scores, name=f"odd{number}")
        damaged = {folder.split("/")[2] for folder in catalog.refresh(store).damaged}
        listed = {entry.name for entry in catalog.ls(store=store)}
        assert listed | damaged == {"good", *(f"odd{number}" for number in range(len(odd)))}
        assert "good" in listed - damaged
        assert catalog.query("SELECT count(*) FROM scores WHERE evaluation = 'good'", store=store).rows == ((1,),)
        everything(store)
