"""Diffs: every kind of change is found, in a pair of datasets made to have a known number of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import conceptlib
from conceptlib.cli.main import main
from conceptlib.concepts.build import build
from conceptlib.concepts.builders import icd
from conceptlib.concepts.diff import diff
from conceptlib.concepts.overlays import qr
from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store

Row = tuple[int, str, float, str]  # picture, caption, left edge of the box, split


def make(rows: dict[str, Row], name: str = "pictures", truth: bool = True) -> Artifact:
    store = Store()
    table: dict[str, list[tuple[dict, Detections]]] = {}
    for key, (seed, caption, left, split) in rows.items():
        pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), np.uint8)
        box = Detections(np.array([[left, 2, 9, 9]], np.float32), np.ones(1, np.float32), ("qr-code",))
        row = image_row(key, Image.fromarray(pixels), caption=caption)
        table.setdefault(split, []).append((row, box))
    with store.draft(
        "dataset", name, lock={"spec": {"name": name, "params": {"rows": len(rows)}}, "x": str(rows)}
    ) as draft:
        for split, found in table.items():
            ImageTable.write(draft.path / "data" / f"{split}-00000-of-00001.parquet", [row for row, _ in found])
        dataset = draft.commit()
    if truth:
        with store.draft("annotations", "truth", lock={"x": str(rows)}, parents={"dataset": dataset}) as draft:
            for split, found in table.items():
                boxes = [AnnotationTable.row(row, box) for row, box in found]
                AnnotationTable.write(draft.path / "data" / f"{split}-00000-of-00001.parquet", boxes)
            draft.commit()
    return dataset


BEFORE: dict[str, Row] = {f"r{k}": (k, f"caption {k}", 1.0, "train" if k < 8 else "test") for k in range(10)}
AFTER: dict[str, Row] = {
    **{key: BEFORE[key] for key in ("r9", "r0", "r1")},  # another order is no change
    "r2": (99, "caption 2", 1.0, "train"),
    "r3": (3, "another caption", 1.0, "train"),
    "r4": (4, "caption 4", 2.0, "train"),
    "r5": (5, "caption 5", 1.0, "test"),
    "r6": (98, "both", 1.0004, "train"),  # the box by less than a thousandth of a pixel
    "new-1": (50, "new", 1.0, "train"),
    "new-2": (51, "new", 1.0, "test"),
}


def test_every_kind_of_change() -> None:
    found = diff(make(BEFORE), make(AFTER))
    assert found.rows == (10, 10) and not found.identical
    assert dict(found.image_ids) == {
        "added": ("new-1", "new-2"),
        "removed": ("r7", "r8"),
        "changed pictures": ("r2", "r6"),
        "changed captions": ("r3", "r6"),
        "changed boxes": ("r4",),
        "changed splits": ("r5",),
    }
    assert dict(found.counts) == {name: len(ids) for name, ids in found.image_ids.items()} | {"unchanged": 3}
    assert found.spec == ()


def test_ids_are_bounded_and_counts_are_not() -> None:
    a, b = make({"x": (0, "x", 1.0, "train")}), make(BEFORE)
    found = diff(a, b, limit=3)
    assert found.counts["added"] == 10 and found.image_ids["added"] == ("r0", "r1", "r2")
    assert len(diff(a, b, limit=None).image_ids["added"]) == 10
    assert [(c.field, c.a, c.b) for c in found.spec] == [("params.rows", 1, 10)]


def test_boxes_that_one_side_lacks_are_unknown() -> None:
    a, b = make(BEFORE, truth=False), make(AFTER)
    assert diff(a, b).counts["changed boxes"] is None
    with pytest.raises(ConceptlibError, match=r"no annotations zxing.*conceptlib annotate"):
        diff(a, b, annotations="zxing")


def test_a_dataset_and_itself() -> None:
    artifact = make(BEFORE)
    found = diff(artifact, artifact)
    assert found.identical and found.counts["unchanged"] == 10
    assert sum(count or 0 for name, count in found.counts.items() if name != "unchanged") == 0


def test_versions_of_code_stand_beside_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build("icd-qr", overrides=["rows=2"], workers=1)
    monkeypatch.setattr(icd, "VERSION", 2, raising=False)
    monkeypatch.setattr(qr, "VERSION", 3, raising=False)
    second = build("icd-qr", overrides=["rows=2", "seed=1"], workers=1)
    found = {change.field: (change.a, change.b) for change in diff(first, second).spec}
    assert found == {
        "seed": (0, 1),
        "code_version": ("(absent)", 2),
        "builder.overlays.qr-code.code_version": ("(absent)", 3),
    }


def test_spec_fields_that_one_side_lacks() -> None:
    from conceptlib.concepts.diff import _spec_changes

    a = {"seed": 0, "params": {"rate": 0.5, "qr": {"size": [1, 2]}}}
    b = {"seed": 1, "params": {"rate": 0.5, "qr": {}, "blur": True}}
    assert [(c.field, c.a, c.b) for c in _spec_changes(a, b)] == [
        ("seed", 0, 1),
        ("params.qr.size", [1, 2], "(absent)"),
        ("params.blur", "(absent)", True),
    ]


def test_builds_of_the_world_by_tag(capsys: pytest.CaptureFixture[str]) -> None:
    build("icd-qr", overrides=["rows=10"], workers=1)
    Store().tag("icd-qr", "v1", kind="dataset")
    build("icd-qr", overrides=["rows=20", "rate=0"], workers=1)
    found = conceptlib.diff("icd-qr@v1", "icd-qr@latest")
    polluted = Store().get("icd-qr@v1").info["polluted"]["qr-code"]
    assert found.counts["added"] == 10 and found.counts["changed captions"] == 0
    assert found.counts["changed pictures"] == found.counts["changed boxes"] == polluted > 0
    assert main(["diff", "icd-qr@v1", "icd-qr@latest"]) == 0
    people = capsys.readouterr().out
    assert "params.rate" in people and "added" in people
    assert main(["diff", "icd-qr@v1", "icd-qr@latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["added"] == 10
    assert main(["diff", "icd-qr@v1", "icd-qr@latest", "-q", "--limit", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("added\t")
    assert main(["diff", "icd-qr@v1", "nothing"]) == 1


def test_an_id_that_comes_twice(tmp_path: Path) -> None:
    store = Store()
    row = image_row("same", Image.new("RGB", (20, 20)))
    with store.draft("dataset", "twice", lock={}) as draft:
        ImageTable.write(draft.path / "data" / "train-00000-of-00001.parquet", [row, row])
        artifact = draft.commit()
    with pytest.raises(ConceptlibError, match="an image id comes twice"):
        diff(artifact, artifact)
