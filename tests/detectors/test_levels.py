"""Readers of text against a truth of whole texts: at the level of lines, and by the words that they read."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conceptlib.cli.main import cli
from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row
from conceptlib.detectors.adapters import rapidocr
from conceptlib.detectors.adapters.ensemble import EnsembleDetector
from conceptlib.detectors.adapters.ensemble import Params as EnsembleParams
from conceptlib.detectors.base import level_of, reads
from conceptlib.detectors.evaluate import evaluate_detector, table_row
from conceptlib.detectors.levels import truth_at, words_read
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from tests.detectors.test_train import Told

LINES = {"Fresh fish,": [10, 10, 90, 30], "every day": [10, 40, 90, 60]}


class Reader(Told):
    level, reads = "line", True

    def __init__(self, answers: list[Detections]) -> None:
        super().__init__(answers)
        self.labels = ("text",)


def quad(box: list[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def found(texts: dict[str, list[int]], score: float = 0.9) -> Detections:
    return Detections(list(texts.values()), [score] * len(texts), ("text",) * len(texts), payloads=tuple(texts))


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def signs(store: Store) -> tuple[Artifact, Artifact]:
    """Three pictures of 100 x 80: a sign of two lines, a text of one line whose end is outside and a code, nothing."""
    blank = {"visible": [1.0], "scores": [1.0], "labels": ["text"], "quads": None}
    lines = [{"kind": "line", "text": text, "quad": quad(box)} for text, box in LINES.items()]
    words = [{"kind": "word", "text": "Fresh", "quad": quad([10, 10, 50, 30])}]
    out = [{"kind": "line", "text": "Open now", "quad": quad([40, 50, 160, 70])}]
    gone = [{"kind": "line", "text": "gone", "quad": quad([100.5, 0, 160, 20])}]
    truths: list[dict[str, Any]] = [
        blank | {"boxes": [[8, 8, 92, 62]], "payloads": ["Fresh fish,\nevery day"], "parts": [lines + words]},
        {
            **{"visible": [0.6, 1.0], "scores": [1.0, 1.0], "labels": ["text", "qr-code"], "quads": None},
            **{"boxes": [[38, 0, 100, 72], [0, 0, 20, 20]], "payloads": ["Open now\ngone", "x"]},
            "parts": [out + gone, []],
        },
        {"visible": [], "scores": [], "labels": [], "quads": None, "boxes": [], "payloads": [], "parts": []},
    ]
    rows = [image_row(f"{k}", Image.new("RGB", (100, 80), (90, 90, 90))) for k in range(3)]
    with store.draft("dataset", "signs", lock={"k": 1}) as draft:
        ImageTable.write(draft.path / "data" / "test-00000-of-00001.parquet", rows)
        pictures = draft.commit(info={})
    with store.draft("annotations", "truth", lock={"k": 1}, parents={"dataset": pictures.id}) as draft:
        AnnotationTable.write(
            draft.path / "data" / "test-00000-of-00001.parquet",
            [
                {key: row[key] for key in ("image_id", "image_sha256", "width", "height")} | truth
                for row, truth in zip(rows, truths, strict=True)
            ],
        )
        truth = draft.commit(info={})
    return pictures, truth


def test_the_truth_by_lines(signs: tuple[Artifact, Artifact]) -> None:
    level, known = truth_at(AnnotationTable(signs[1]), "test", "line", ("text",))
    assert level == "line" and known["0"].boxes.payloads == tuple(LINES) and known["0"].owners == (0, 0)
    assert known["0"].boxes.boxes.tolist() == list(LINES.values())
    # Clipped to the picture; what lies outside is nothing to find; the code stays what it is.
    assert known["1"].boxes.boxes.tolist() == [[40, 50, 100, 70], [0, 0, 20, 20]]
    assert known["1"].boxes.labels == ("text", "qr-code") and known["1"].owners == (0, 1)
    assert len(known["2"].boxes) == 0
    _, words = truth_at(AnnotationTable(signs[1]), "test", "word", ("text",))
    assert words["0"].boxes.payloads == ("Fresh",) and words["1"].boxes == words["1"].objects


def test_without_lines_the_objects_are_what_counts(signs: tuple[Artifact, Artifact]) -> None:
    table = AnnotationTable(signs[1])
    for level, labels in (("object", ("text",)), ("line", ("qr-code",)), ("line", ())):
        told, known = truth_at(table, "test", level, labels)
        assert told == "object" and all(one.boxes == one.objects for one in known.values())


def test_lines_are_scored_as_lines(store: Store, signs: tuple[Artifact, Artifact]) -> None:
    pictures, _ = signs
    answers = [found({"fresh FISH": [11, 10, 89, 30], "ever day": [10, 41, 90, 60]}), found({"Open": [40, 50, 99, 70]})]
    made = evaluate_detector(Reader([*answers, Detections.empty()]), pictures, store=store)
    rows = {row["metric"]: row for row in json.loads((made.path / "scores.json").read_text())}
    assert rows["recall"]["value"] == rows["precision"]["value"] == 1 and rows["recall"]["n"] == 3
    # Of "Fresh fish every day Open now gone": fresh, fish, day, open.
    assert rows["word-recall"]["value"] == pytest.approx(4 / 7) and rows["word-recall"]["n"] == 7
    levels = {metric: row["level"] for metric, row in rows.items()}
    assert levels["mAP50"] == levels["recall"] == levels["recall/medium"] == "line"
    assert levels["word-recall"] == "word" and levels["image-recall"] == "picture"
    assert (table_row(made)["level"], table_row(made)["words read"]) == ("line", pytest.approx(4 / 7))

    class Whole(Reader):
        level, reads = "object", False

    whole = evaluate_detector(Whole([*answers, Detections.empty()]), pictures, store=store)
    assert whole.info["recall"] == 0 and whole.info["level"] == "object" and "word-recall" not in whole.info
    assert whole.id != made.id and "level" not in whole.lock


def test_the_table_says_the_level(store: Store, signs: tuple[Artifact, Artifact]) -> None:
    result = CliRunner().invoke(cli, ["detectors", "eval", "rapidocr", "--data", "signs", "--json", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert row["level"] == "line" and row["words read"] == 0


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (("It is 5 o'clock",), 4),
        (("it", "IS", "5", "O'CLOCK!"), 4),
        (("o'clock 5 is It it is",), 4),
        (("Itis 5",), 1),
        ((), 0),
    ],
)
def test_words_by_hand(said: tuple[str, ...], read: int) -> None:
    def item(texts: tuple[str, ...], label: str = "text") -> Detections:
        return Detections(np.zeros((len(texts), 4)), np.ones(len(texts)), (label,) * len(texts), payloads=texts)

    truth = item(("\u201cIt is\u201d\n5 o'clock.  \u2014",))
    assert words_read(truth, item(said), ("text",)) == (read, 4)
    assert words_read(truth, item(said, "watermark"), ("text",)) == (0, 4)
    assert words_read(Detections.empty(), item(said), ("text",)) == (0, 0)


def test_what_a_box_of_each_reader_is() -> None:
    def rapid(**params: Any) -> Any:
        return rapidocr.load(SimpleNamespace(name="r", params=rapidocr.Params(**params)), device="cpu")

    lines, blocks, blind = rapid(), rapid(join=0.6), rapid(read=False)
    assert [level_of(one) for one in (lines, blocks, blind)] == ["line", "object", "line"]
    assert [reads(one) for one in (lines, blocks, blind)] == [True, True, False]
    params = EnsembleParams(detectors=("a", "b"))
    both, mixed = (EnsembleDetector("e", params, members) for members in ([lines, blind], [lines, blocks]))
    assert level_of(both) == "line" and level_of(mixed) == "object" and reads(both)
