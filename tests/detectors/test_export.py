"""From a trained artifact to an ONNX file and back into the same commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conceptlib.cli.main import cli
from conceptlib.concepts.tables import AnnotationTable
from conceptlib.detectors.annotate import annotate
from conceptlib.detectors.export import export_detector
from conceptlib.detectors.load import load_detector
from conceptlib.detectors.train import train_detector
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.store import Store
from tests.support.pictures import dataset


def test_train_export_annotate(home: Path) -> None:
    store = Store(home)
    dataset(store, {"train": (30,), "test": (6,)})
    trained = train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=["steps=4", "batch_size=4"])
    done = CliRunner().invoke(cli, ["detectors", "export", "yolo-icd", "--out", "codes.onnx", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["detector"] == trained.ref and told["labels"] == ["qr-code"] and Path("codes.onnx").is_file()
    here, there = (load_detector(one, store=store, device="cpu") for one in ("yolo-icd", "codes.onnx"))
    assert there.threshold == pytest.approx(here.threshold) == pytest.approx(told["threshold"])
    found = [annotate("codes", one, store=store) for one in (here, there)]
    assert found[0].name == "yolo-icd" and found[1].name == "codes" and "detector" not in found[1].parents
    tables = [AnnotationTable(one).by_image() for one in found]
    assert all(np.allclose(tables[0][key].boxes, tables[1][key].boxes, atol=0.5) for key in tables[0])
    with pytest.raises(ConceptlibError, match=r"written as \.onnx"):
        export_detector(trained, "codes.pt", store=store)


def test_what_is_not_exported(home: Path) -> None:
    with pytest.raises(NotFound):
        export_detector("yolo-icd", "x.onnx", store=Store(home))
    lock = {"spec": {"kind": "detector", "name": "odd", "seed": 0, "adapter": "zxing", "params": {}}}
    with Store(home).draft("detector", "odd", lock=lock) as draft:
        (draft.path / "weights.txt").write_text("x")
        draft.commit()
    with pytest.raises(ConceptlibError, match="not exported"):
        export_detector("odd", "x.onnx", store=Store(home))
