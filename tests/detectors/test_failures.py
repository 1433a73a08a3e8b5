"""Scoring beside the main split: clean pictures, opacities, detectors without places, failures as data and pictured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conceptlib.cli.main import cli
from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.coco import measure, opacity_of
from conceptlib.detectors.drawn import Opacities
from conceptlib.detectors.evaluate import evaluate_detector, table_row
from conceptlib.detectors.failures import ALARM, FAILURES, MISSED, sheet
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from tests.detectors.test_train import Told
from tests.support.pictures import dataset

ALARMED = Detections([[4, 4, 20, 20]], [0.7], ("qr-code",))


class SaysWhat(Told):
    """A detector that says what is in a picture, not where."""

    locates = False


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def codes(store: Store) -> tuple[Artifact, list[Detections]]:
    """Six pictures, of which 0, 2 and 4 hold a code, and what is in each."""
    pictures, truth = dataset(store, {"test": (6,)}, size=128)
    return pictures, list(AnnotationTable(truth).by_image().values())


def answers(known: list[Detections]) -> list[Detections]:
    """The first code found, the second missed, the third in the wrong place; an alarm on the second picture."""
    right = Detections(known[0].boxes, [0.9], ("qr-code",))
    nothing = Detections.empty()
    return [right, ALARMED, nothing, nothing, ALARMED, nothing]


def test_false_alarms_on_clean_pictures(store: Store, codes: tuple[Artifact, list[Detections]]) -> None:
    pictures, known = codes
    clean, _ = dataset(store, {"train": (3,), "test": (2,)}, name="photos", every=10**6)
    alarms = [Detections.empty(), ALARMED, Detections.empty(), Detections.empty(), ALARMED]
    made = evaluate_detector(Told(answers(known) + alarms), pictures, clean=clean, store=store)
    assert made.parents["clean"] == clean.id
    assert made.info["clean-false-positive-rate"] == pytest.approx(2 / 5)
    assert made.info["false-positive-rate"] == pytest.approx(1 / 3)
    assert table_row(made)["on clean"] == pytest.approx(2 / 5)
    alone = evaluate_detector(Told(answers(known)), pictures, store=store)
    assert alone.id != made.id and "clean-false-positive-rate" not in alone.info


def test_failures_are_listed_and_pictured(store: Store, codes: tuple[Artifact, list[Detections]]) -> None:
    pictures, known = codes
    clean, _ = dataset(store, {"train": (2,)}, name="photos", every=10**6)
    made = evaluate_detector(
        Told([*answers(known), ALARMED, Detections.empty()]), pictures, clean=clean, store=store, batch_size=2
    )
    rows = json.loads((made.path / FAILURES).read_text())
    assert [(row["pictures"], row["image_id"], len(row["missed"]), len(row["alarms"])) for row in rows] == [
        ("dataset", "row-1", 0, 1),
        ("dataset", "row-2", 1, 0),
        ("dataset", "row-4", 1, 1),
        ("clean", "row-0", 0, 1),
    ]
    assert rows[1]["missed"][0]["box"] == pytest.approx(known[2].boxes[0].tolist(), abs=0.01)
    assert rows[0]["alarms"] == [{"label": "qr-code", "box": [4, 4, 20, 20], "score": 0.7}]
    perfect = evaluate_detector(
        Told([Detections(one.boxes, one.scores, one.labels) for one in known]), pictures, store=store
    )
    page = np.asarray(sheet([made, perfect], store))
    for colour in (MISSED, ALARM):
        assert (page == colour).all(axis=2).sum() > 100
    only = np.asarray(sheet([perfect], store))
    assert not (only == ALARM).all(axis=2).any() and page.shape[0] > only.shape[0]
    (made.path / FAILURES).unlink()
    with pytest.raises(ConceptlibError, match="no list of failures"):
        sheet([made], store)


def test_a_detector_without_places(store: Store, codes: tuple[Artifact, list[Detections]]) -> None:
    pictures, _ = codes
    there, nothing = Detections.of_image(["qr-code"], [0.8]), Detections.empty()
    made = evaluate_detector(SaysWhat([there, there, nothing, nothing, there, nothing]), pictures, store=store)
    assert made.info["image-recall"] == pytest.approx(2 / 3) and made.info["false-positive-rate"] == pytest.approx(
        1 / 3
    )
    assert not {"mAP50", "recall", "precision"} & set(made.info) and table_row(made)["mAP50"] is None
    rows = json.loads((made.path / FAILURES).read_text())
    assert [(row["image_id"], len(row["missed"]), len(row["alarms"])) for row in rows] == [
        ("row-1", 0, 1),
        ("row-2", 1, 0),
    ]
    assert rows[0]["alarms"][0]["box"] is None and sheet([made], store).width > 100


def test_recall_by_opacity_and_precision_by_concept() -> None:
    truth = [
        Detections([[0, 0, 20, 20], [40, 40, 60, 60]], [1, 1], ("text", "watermark")),
        Detections([[0, 0, 20, 20]], [1], ("watermark",)),
    ]
    found = [truth[0], Detections([[40, 40, 60, 60]], [0.9], ("watermark",))]
    quality = measure(truth, found, ["text", "watermark"], 0.5, [[0.9, 0.1], [0.15]])
    assert quality.by_opacity == {"below 0.2": (1, 2), "from 0.8": (1, 1)}
    assert quality.ap50 == {"text": pytest.approx(1), "watermark": pytest.approx(51 / 101)}
    assert quality.map50 == pytest.approx((1 + 51 / 101) / 2)
    assert measure(truth, found, ["text"], 0.5, [[0.9, None], [None]]).by_opacity == {"from 0.8": (1, 1)}
    assert [opacity_of(value) for value in (0, 0.2, 0.79, 1.0)] == ["below 0.2", "0.2-0.4", "0.6-0.8", "from 0.8"]


def test_opacities_of_a_built_dataset(store: Store) -> None:
    """What was drawn is drawn once more; a code that lies elsewhere has no known opacity."""
    given = ["rows=24", "resolution=160", "test_share=0.5", "qr.opacity=[0.3, 1.0]", "qr.version=[1, 2]"]
    pictures = build("icd-qr", overrides=given, store=store, workers=1)
    opacities, known = Opacities(pictures), AnnotationTable(truth_of(pictures, store)).by_image("test")
    told = []
    for row in ImageTable(pictures).rows("test", ("image_id", "image", "width", "height")):
        truth = known[row["image_id"]]
        told += opacities(row, truth)
        if len(truth):
            moved = Detections(truth.boxes, truth.scores, truth.labels, truth.quads + 3)  # type: ignore[operator]
            assert opacities(row, moved) == [None]
    assert len(told) > 3 and all(value is not None and 0.3 <= value <= 1.0 for value in told)
    assert len(set(told)) == len(told)
    made = evaluate_detector("zxing", pictures, store=store)
    counted = [row for row in table_row(made)["scores"] if row["metric"].startswith("recall-opacity/")]
    assert sum(row["n"] for row in counted) == len(told) and "recall by opacity" in table_row(made)
    elsewhere, truth_elsewhere = dataset(store, {"test": (2,)}, name="elsewhere")
    one = AnnotationTable(truth_elsewhere).by_image()["row-0"]
    assert Opacities(elsewhere)({"image_id": "row-0", "width": 64, "height": 64}, one) == [None]


def test_the_command(store: Store, codes: tuple[Artifact, list[Detections]]) -> None:
    run = CliRunner()
    dataset(store, {"train": (2,)}, name="photos", every=10**6)
    command = ["detectors", "eval", "zxing", "--data", "codes", "--clean", "photos", "--annotations", "truth"]
    done = run.invoke(cli, [*command, "--failures", "failures.png"])
    assert done.exit_code == 0, done.output
    header, line = done.stdout.strip().splitlines()
    assert "on clean" in header and "recall by opacity" not in header and line.split()[0] == "zxing"
    assert Image.open("failures.png").format == "PNG" and "failures.png" in done.stderr
    Path("blocked").touch()
    wrong = run.invoke(cli, [*command, "--failures", "blocked/failures.png"])
    assert wrong.exit_code == 1 and "cannot be written" in str(wrong.exception)


def test_strangers_weights_need_trust(store: Store, codes: tuple[Artifact, list[Detections]]) -> None:
    def answer(*command: str) -> str:
        done = CliRunner().invoke(cli, list(command))
        assert done.exit_code == 1
        return str(done.exception)

    Path("best.pt").write_bytes(b"whatever")
    for command in (
        ["annotate", "codes", "--detector", "best.pt"],
        ["detectors", "eval", "best.pt", "--data", "codes"],
    ):
        refused = answer(*command)
        assert "pickle" in refused and "--trust" in refused
        assert "cannot be read" in answer(*command, "--trust")
    Path("mine.yaml").write_text("kind: detector\nname: mine\nadapter: yolo\nparams: {weights: best.pt}\n")
    assert "pickle" in answer("annotate", "codes", "--detector", "mine.yaml")
    assert "cannot be read" in answer("annotate", "codes", "--detector", "mine.yaml", "--trust")
