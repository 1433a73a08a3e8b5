"""The icd suite on a random model: the pipeline is real, the model is not, so what is drawn is noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.build import build
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.erasers.erase import erase
from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.job import Job
from conceptlib.evaluators.prompts import auto, dataset
from conceptlib.evaluators.suite import evaluate, scores
from conceptlib.scores import find
from conceptlib.specs import SpecError, load_spec
from conceptlib.stats import wilson
from conceptlib.store import Artifact, Store
from conceptlib.worlds.tiny import world
from conceptlib.worlds.tiny.classifier import predict
from tests.support.brightness import BrightnessDetector
from tests.support.models import save_pipeline

N = 16
FAST = [f"n={N}", "num_steps=1", "kid_subsets=4"]
ALL = "subjects=[base, base+negative, checkpoint, checkpoint-no-negative, clean]"
DETECTOR: Any = BrightnessDetector(150.0)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Path, Artifact]]:
    """A store with a dataset and a checkpoint of a random base: shared, since nothing here changes an artifact."""
    folder = tmp_path_factory.mktemp("suite")
    base = save_pipeline(folder / "base")
    store = Store(folder / "home")
    data = build("icd-qr", overrides=["rows=24"], store=store, workers=1)
    checkpoint = erase(
        "geom-erasing/qr", data=data, annotations="truth", base=base, store=store, overrides=["steps=1", "batch_size=2"]
    )
    yield store, base, checkpoint


@pytest.fixture(scope="module")
def evaluation(job: tuple[Store, Path, Artifact]) -> Artifact:
    store, _, checkpoint = job
    return evaluate(checkpoint, "icd", store=store, overrides=[*FAST, ALL], detector=DETECTOR)


def images(store: Store, evaluation: Artifact, subject: str) -> Artifact:
    return store.get(evaluation.parents[f"images:{subject}"], kind="images")


def test_every_subject_has_every_score_with_its_interval(evaluation: Artifact) -> None:
    rows = scores(evaluation)
    subjects = {"base", "base+negative", "checkpoint", "checkpoint-no-negative", "clean"}
    metrics = {"concept_rate", "caption_accuracy", "accuracy_object", "accuracy_colour", "accuracy_background", "kid"}
    assert {(row["subject"], row["metric"]) for row in rows} >= {(s, m) for s in subjects for m in metrics}
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == N for row in rows)
    assert all(row["detector"] == "brightness" for row in rows if row["metric"] == "concept_rate")
    assert all(len(row["features_sha256"]) == 64 for row in rows if row["metric"] == "kid")
    changes = {row["subject"] for row in rows if row["metric"] == "concept_rate_change"}
    assert changes == subjects - {"base", "clean"}
    assert evaluation.info["summary"]["base"]["concept_rate"] == find(rows, "base", "concept_rate")["value"]  # type: ignore[index]


def test_scores_are_those_of_the_stored_pictures(job: tuple[Store, Path, Artifact], evaluation: Artifact) -> None:
    """Counted again from the artifacts, without the suite's code."""
    store, rows = job[0], scores(evaluation)
    for subject in ("base", "checkpoint", "clean"):
        table = ImageTable(images(store, evaluation, subject))
        pictures = [np.asarray(table.decode(row)) for row in table.rows()]
        bright = sum(picture.mean() > DETECTOR.level for picture in pictures)
        rate = find(rows, subject, "concept_rate")
        assert rate is not None
        assert (rate["value"], rate["low"]) == (bright / N, wilson(bright, N).low)
        marked = AnnotationTable(store.get(evaluation.parents[f"annotations:{subject}"])).by_image()
        assert sum(len(found) > 0 for found in marked.values()) == bright
        side = (world.SIZE, world.SIZE)
        pixels = np.stack([np.asarray(Image.fromarray(p).resize(side, Image.Resampling.BICUBIC)) for p in pictures])
        seen = predict(pixels)
        asked = [world.parse(row["caption"]) for row in table.rows(columns=["caption"])]
        names = ("object", "colour", "background")
        right = sum(all(seen[name][i] == asked[i][name] for name in names) for i in range(N))
        accuracy = find(rows, subject, "caption_accuracy")
        assert accuracy is not None and accuracy["value"] == right / N


def test_clean_pictures_read_right_and_noise_is_farther_away(evaluation: Artifact) -> None:
    rows = scores(evaluation)
    value = {
        key: find(rows, *key)["value"] for key in (("clean", "accuracy_background"), ("clean", "kid"), ("base", "kid"))
    }  # type: ignore[index]
    assert value["clean", "accuracy_background"] >= 0.9
    assert value["base", "kid"] > 3 * abs(value["clean", "kid"])


def test_subjects_draw_the_same_captions_and_seeds(job: tuple[Store, Path, Artifact], evaluation: Artifact) -> None:
    store = job[0]
    tables = {s: list(ImageTable(images(store, evaluation, s)).rows()) for s in ("base", "checkpoint", "base+negative")}
    keys = {subject: [(row["caption"], row["seed"]) for row in rows] for subject, rows in tables.items()}
    assert keys["base"] == keys["checkpoint"] == keys["base+negative"]
    assert len({seed for _, seed in keys["base"]}) == N
    pictures = {subject: [row["image_sha256"] for row in rows] for subject, rows in tables.items()}
    assert pictures["base"] != pictures["base+negative"] and pictures["base"] != pictures["checkpoint"]
    assert images(store, evaluation, "base+negative").info["negative_prompt"] == "QR code"


def test_base_images_are_drawn_once_for_all_checkpoints(
    job: tuple[Store, Path, Artifact], evaluation: Artifact
) -> None:
    store, base, _ = job
    other = erase("geom-erasing/qr-plain", data="icd-qr", base=base, store=store, overrides=["steps=1", "batch_size=2"])
    second = evaluate(other, "icd", store=store, overrides=FAST, detector=DETECTOR)
    assert second.parents["images:base"] == evaluation.parents["images:base"]
    assert second.parents["images:checkpoint"] != evaluation.parents["images:checkpoint"]
    assert find(scores(second), "base", "kid") == find(scores(evaluation), "base", "kid")
    assert second.name == "geom-erasing/qr-plain/icd" and second.parents["checkpoint"] == other.id


def test_asked_again_nothing_is_measured_again(
    job: tuple[Store, Path, Artifact], evaluation: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, checkpoint = job

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("conceptlib.models.sampling.sample", never)
    monkeypatch.setattr("conceptlib.evaluators.metrics.kid.kid", never)
    again = evaluate(checkpoint, "icd", store=store, overrides=[*FAST, ALL], detector=DETECTOR)
    assert again.id == evaluation.id and again.created == evaluation.created


def test_a_base_is_measured_by_itself(job: tuple[Store, Path, Artifact], evaluation: Artifact) -> None:
    store, base, _ = job
    alone = evaluate(base, "icd", store=store, overrides=FAST, detector=DETECTOR)
    assert {row["subject"] for row in scores(alone)} == {"base"} and "checkpoint" not in alone.parents
    assert alone.name == "base/icd"
    assert find(scores(alone), "base", "concept_rate") == find(scores(evaluation), "base", "concept_rate")


def test_free_targets_need_no_concept_spec(job: tuple[Store, Path, Artifact]) -> None:
    store, base, _ = job
    checkpoint = erase("uce/object", base=base, store=store, overrides=["concepts=[]", "targets=[Van Gogh]"])
    subjects = "subjects=[base, base+negative, checkpoint]"
    with pytest.raises(ConceptlibError, match=r"brightness does not know van-gogh: it looks for qr-code.*--suite"):
        evaluate(checkpoint, "icd", store=store, overrides=[*FAST, subjects], detector=DETECTOR)
    seer: Any = BrightnessDetector(0.0, "van-gogh")
    made = evaluate(checkpoint, "icd", store=store, overrides=[*FAST, subjects], detector=seer)
    assert find(scores(made), "base", "concept_rate")["value"] == 1
    assert images(store, made, "base+negative").lock["negative_prompt"] == "Van Gogh"
    assert (made.path / "grid.png").is_file()


def test_the_grid_is_a_picture(evaluation: Artifact) -> None:
    with Image.open(evaluation.path / "grid.png") as picture:
        assert picture.mode == "RGB" and picture.width > 900 and picture.height > 500


def test_a_dataset_lends_its_test_captions(job: tuple[Store, Path, Artifact]) -> None:
    store, data = job[0], job[0].get("icd-qr", kind="dataset")
    captions = [row["caption"] for row in ImageTable(data).rows("test")]
    spec = load_spec("suite", "icd")

    def asked(checkpoint: Artifact | None) -> Job:
        about: dict[str, Any] = dict.fromkeys(("detector", "device", "dtype"))
        named = {"concepts": (), "targets": (), "progress": lambda stage, done, total: None}
        return Job(spec, store, "x", True, checkpoint, "x", **named, **about)

    held = dataset.prompts(dataset.Params(n=2 * len(captions) + 1), asked(job[2]))
    assert [row["caption"] for row in held.rows] == [*captions, *captions, captions[0]]
    assert len({row["seed"] for row in held.rows}) == len(held.rows)
    train = {row["caption"] for row in ImageTable(store.get("icd-qr")).rows("train")}
    assert auto.prompts(auto.Params(n=4), asked(job[2])).source == "world" and not train & {"", None}
    with pytest.raises(ConceptlibError, match="no dataset"):
        dataset.prompts(dataset.Params(n=4), asked(None))


@pytest.mark.parametrize("override", ["subjects=[best]", "n=2", "metrics=[]", "kid_subset_size=0", "nosuch=1"])
def test_wrong_settings_are_told_before_anything_is_drawn(override: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        evaluate("tiny", "icd", store=Store(tmp_path), overrides=[override])


def test_an_unknown_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="nosuch"):
        evaluate("nosuch", "icd", store=Store(tmp_path))
