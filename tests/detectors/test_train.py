"""The whole way of a detector: train, load, annotate, evaluate; and how it is found and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from conceptlib.cli.main import cli
from conceptlib.detectors import train as train_module
from conceptlib.detectors.adapters import _yolo_train
from conceptlib.detectors.annotate import annotate
from conceptlib.detectors.base import Detector
from conceptlib.detectors.evaluate import evaluate_detector
from conceptlib.detectors.load import load_detector
from conceptlib.detectors.train import held_out, train_detector
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.geometry import Detections
from conceptlib.specs import SpecError
from conceptlib.store import Artifact, Store
from tests.support.pictures import dataset

FEW = ("steps=6", "batch_size=4")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of pictures, their truth, and a detector that was trained on them; `learned` copies it."""
    store = Store(tmp_path_factory.mktemp("trained") / "home")
    dataset(store, {"train": (30, 30), "test": (12,)})
    train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=FEW)
    return store.root


@pytest.fixture
def codes(store: Store) -> tuple[Artifact, Artifact]:
    return dataset(store, {"train": (30, 30), "test": (12,)})


@pytest.fixture
def learned(trained: Path, home: Path) -> tuple[Artifact, Artifact]:
    """The pictures and their truth in this test's store; what `trained` trained is found there."""
    shutil.copytree(trained, home, dirs_exist_ok=True)
    store = Store(home)
    return store.get("codes", "dataset"), store.get("truth", "annotations")


class Told(Detector):
    """A detector that knows the truth of the pictures in their order, and tells it with some mistakes."""

    def __init__(self, answers: Sequence[Detections], name: str = "told") -> None:
        self.name, self.labels, self.threshold, self.artifact = name, ("qr-code",), 0.5, ""
        self.answers = list(answers)

    def lock(self) -> dict[str, object]:
        return {"adapter": "told", "answers": len(self.answers)}

    def detect(self, images: Sequence[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        given, self.answers = self.answers[: len(images)], self.answers[len(images) :]
        return given


def test_variants_of_a_picture_are_kept_from_training_together() -> None:
    keys = [f"in/{index}.png" for index in range(200)]
    kept = [key for key in keys if held_out(key)]
    assert 0 < len(kept) < 100
    assert all(held_out(key) == held_out(key.replace(".png", f"~{k}.png")) for key in keys for k in (1, 17))


def test_where_the_first_weights_lie_is_told_to_nobody(
    store: Store, learned: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    first = train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=FEW)
    moved = tmp_path / "elsewhere" / "mine"
    shutil.copytree(first.path / "weights", moved)
    begun = train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=[*FEW, f"start={moved}"])
    scored = evaluate_detector(load_detector(begun, store=store, device="cpu"), "codes", store=store)
    for artifact in (begun, scored):
        assert str(tmp_path) not in (artifact.path / "manifest.json").read_text()
    assert begun != first and begun.info["start"] == "mine" and len(begun.lock["start"]) == 64
    again = shutil.move(moved, tmp_path / "mine")  # the same weights in another place
    assert train_detector("yolo-icd", "codes", store=store, overrides=[*FEW, f"start={again}"]) == begun


def test_train_load_annotate_evaluate(store: Store, learned: tuple[Artifact, Artifact]) -> None:
    pictures, truth = learned
    made = train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=FEW)
    assert made.kind == "detector" and made.parents == {"dataset": pictures.id, "annotations": truth.id}
    assert made.lock["spec"]["params"]["steps"] == 6 and made.lock["spec"]["seed"] == 0
    kept = sum(not held_out(f"row-{index}") for index in range(60))
    assert 40 <= kept < 60 and made.info["rows"] == kept and made.info["calibration"]["images"] == 60 - kept
    assert made.info["labels"] == ["qr-code"] and made.info["train_seconds"] > 0 and "mAP50" in made.info["scores"]
    assert {entry.path for entry in made.files} == {"weights/model.json", "weights/model.safetensors"}

    detector = load_detector("yolo-icd", store=store, device="cpu")
    assert detector.artifact == made.id and detector.threshold == made.info["calibration"]["threshold"]
    for ref in (made.ref, made.id, str(made.path), made):
        assert load_detector(ref, store=store, device="cpu").lock() == detector.lock()
    boxes = annotate("codes", detector, store=store)
    assert boxes.parents == {"dataset": pictures.id, "detector": made.id} and boxes.info["images"] == 72
    scored = evaluate_detector(detector, "codes", store=store)
    assert scored.parents == {"dataset": pictures.id, "annotations": truth.id, "detector": made.id}
    assert scored.info["mAP50"] == pytest.approx(made.info["scores"]["mAP50"], abs=1e-3)

    assert train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=FEW) == made
    other = train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=(*FEW, "seed=1"))
    assert other.id != made.id and load_detector("yolo-icd", store=store).artifact == other.id


def test_interrupted_training_gives_the_same_detector(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_yolo_train, "CHECKPOINT_EVERY", 2)
    dataset(store, {"train": (20,)})
    whole = train_detector("yolo-icd", "codes", store=store, device="cpu", overrides=FEW)
    elsewhere = Store(tmp_path / "other")
    dataset(elsewhere, {"train": (20,)})

    def stop(stage: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_detector("yolo-icd", "codes", store=elsewhere, device="cpu", overrides=FEW, progress=stop)
    # A second interruption, after the weights were written and before they were calibrated.
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_module, "calibrate", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        train_detector("yolo-icd", "codes", store=elsewhere, device="cpu", overrides=FEW)
    assert elsewhere.list("detector") == []
    assert train_detector("yolo-icd", "codes", store=elsewhere, device="cpu", overrides=FEW).id == whole.id


def test_scores_by_hand(store: Store) -> None:
    """Six pictures, three with a code: one found, one missed, one found twice; one false alarm."""
    pictures, truth = dataset(store, {"test": (6,)})
    from conceptlib.concepts.tables import AnnotationTable

    known = list(AnnotationTable(truth).by_image().values())  # pictures 0, 2, 4 hold a code

    def scored(item: Detections, *scores: float) -> Detections:
        return Detections(np.repeat(item.boxes, len(scores), 0), np.array(scores), ("qr-code",) * len(scores))

    alarm = Detections(np.array([[1, 1, 9, 9]]), np.array([0.7]), ("qr-code",))
    weak = Detections(np.array([[1, 1, 9, 9]]), np.array([0.3]), ("qr-code",))
    answers = [scored(known[0], 0.9), alarm, Detections.empty(), weak, scored(known[4], 0.8, 0.6), Detections.empty()]
    made = evaluate_detector(Told(answers), pictures, store=store, batch_size=4)
    assert made.kind == "evaluation" and made.name == "told/codes"
    rows = {row["metric"]: row for row in json.loads((made.path / "scores.json").read_text())}
    assert rows["recall"]["value"] == pytest.approx(2 / 3) and rows["recall"]["n"] == 3
    assert rows["precision"]["value"] == pytest.approx(2 / 4)
    assert rows["image-recall"]["value"] == pytest.approx(2 / 3)
    assert rows["false-positive-rate"]["value"] == pytest.approx(1 / 3) and rows["false-positive-rate"]["n"] == 3
    assert rows["recall/small"]["n"] == 3 and "recall/large" not in rows
    # Best first: hit, hit, alarm, double, weak alarm: precision 1 up to recall 2/3, that is 67 of 101 recall points.
    assert rows["mAP50"]["value"] == pytest.approx(67 / 101)
    assert rows["recall"]["low"] < 2 / 3 < rows["recall"]["high"] and rows["mAP50"]["low"] is None
    assert all(row["subject"] == "told" for row in rows.values())
    assert evaluate_detector(Told(answers), pictures, store=store) == made


def test_evaluation_says_what_is_missing(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    pictures, truth = codes
    with pytest.raises(ConceptlibError, match="no split 'dev'"):
        evaluate_detector("zxing", pictures, store=store, split="dev")
    other, _ = dataset(store, {"test": (2,)}, name="others")
    with pytest.raises(ConceptlibError, match="other pictures"):
        evaluate_detector("zxing", other, store=store, truth=truth)
    clean, _ = dataset(store, {"test": (3,)}, name="clean", every=10**6)
    assert evaluate_detector("zxing", other, store=store).info["images"] == 2
    with pytest.raises(ConceptlibError, match="no qr-code to find"):
        annotated = annotate(clean, "zxing", store=store)
        evaluate_detector("zxing", clean, store=store, truth=annotated)


def test_finding_a_detector(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    with pytest.raises(NotFound) as missing:
        load_detector("yolo-icd", store=store)
    assert "conceptlib detectors train yolo-icd" in missing.value.hint
    with pytest.raises(NotFound) as unknown:
        load_detector("zxin", store=store)
    assert "zxing" in unknown.value.hint
    with pytest.raises(ConceptlibError, match="not a detector"):
        load_detector(codes[0], store=store)
    zxing = load_detector("zxing", store=store)
    assert load_detector(zxing) is zxing and isinstance(zxing, Detector)


def test_a_lock_from_elsewhere_is_checked(store: Store) -> None:
    lock = {"spec": {"kind": "detector", "name": "odd", "seed": 0, "adapter": "zxing", "params": {"evil": 1}}}
    with store.draft("detector", "odd", lock=lock) as draft:
        (draft.path / "weights.txt").write_text("x")
        draft.commit()
    with pytest.raises(ConceptlibError, match="no valid spec"):
        load_detector("odd", store=store)


def test_what_cannot_be_trained(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    with pytest.raises(ConceptlibError, match="is not trained"):
        train_detector("zxing", "codes", store=store)
    with pytest.raises(SpecError, match="stepz"):
        train_detector("yolo-icd", "codes", store=store, overrides=["stepz=3"])
    clean, empty = dataset(store, {"train": (3,)}, name="clean", every=10**6)
    assert len(empty.files) == 1
    with store.draft("annotations", "nothing", lock={}, parents={"dataset": clean}) as draft:
        from conceptlib.concepts.tables import AnnotationTable, ImageTable

        rows = [AnnotationTable.row(row, Detections.empty()) for row in ImageTable(clean).rows()]
        AnnotationTable.write(draft.path / "data" / "train-00000-of-00001.parquet", rows)
        nothing = draft.commit()
    with pytest.raises(ConceptlibError, match="no box to learn from"):
        train_detector("yolo-icd", clean, store=store, annotations=nothing, overrides=FEW)


def test_commands(store: Store, codes: tuple[Artifact, Artifact]) -> None:
    run = CliRunner()
    trained = run.invoke(cli, ["detectors", "train", "yolo-icd", "--data", "codes", "--device", "cpu", "--json", *FEW])
    assert trained.exit_code == 0, trained.output
    told = json.loads(trained.stdout)
    assert told["detector"].startswith("yolo-icd@") and "mAP50" in told["scores"]
    table = run.invoke(cli, ["detectors", "eval", "zxing", "yolo-icd", "--data", "codes", "--device", "cpu"])
    assert table.exit_code == 0, table.output
    header, *lines = table.stdout.strip().splitlines()
    assert "mAP50" in header and [line.split()[0] for line in lines] == ["zxing", "yolo-icd"]
    rows = json.loads(run.invoke(cli, ["detectors", "eval", "zxing", "--data", "codes", "--json"]).stdout)
    assert {score["metric"] for score in rows[0]["scores"]} >= {"mAP50", "mAP50-95", "recall", "false-positive-rate"}
    quiet = run.invoke(cli, ["annotate", "codes", "--detector", "zxing", "--quiet"])
    assert quiet.stdout.strip() == store.get("zxing", kind="annotations").ref
    assert run.invoke(cli, ["detectors", "train", "yolo-icd"]).exit_code == 2
