"""The erasure suite on a random model: pipeline, judges and scores are real, what is drawn is noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptlib.concepts.tables import ImageTable
from conceptlib.erasers.erase import erase
from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.suite import evaluate, scores
from conceptlib.scores import find
from conceptlib.specs import SpecError
from conceptlib.store import Artifact, Store
from conceptlib.worlds.tiny.classifier import predict
from tests.support.models import save_clip, save_pipeline
from tests.support.stand_in import install

N, EACH = 8, 2
FAST = [f"n={N}", f"neighbour_n={EACH}", "num_steps=1", "kid_subsets=4"]


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Path, dict[str, Artifact]]]:
    """A random base and two checkpoints of it that erased `star`: shared, since nothing here changes an artifact."""
    folder = tmp_path_factory.mktemp("erasure")
    base, store = save_pipeline(folder / "base"), Store(folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "work").mkdir()
        patch.chdir(folder / "work")
        install(patch, folder / "methods")
        made = {
            name: erase("stand-in/a", base=base, store=store, overrides=overrides)
            for name, overrides in {"first": [], "second": ["strength=2"], "two": ["targets=[star, moon]"]}.items()
        }
        yield store, base, made


@pytest.fixture(scope="module")
def evaluation(setting: tuple[Store, Path, dict[str, Artifact]]) -> Artifact:
    store, _, made = setting
    return evaluate(made["first"], "erasure", store=store, overrides=FAST)


def test_every_score_is_there_with_its_interval(evaluation: Artifact) -> None:
    rows = scores(evaluation)
    others = {"circle", "square", "triangle", "heart", "cross", "moon", "arrow"}
    both = {"target_accuracy", "retain_accuracy", "cross_accuracy", "target_cross_accuracy"}
    both |= {"accuracy_colour", "accuracy_background", "accuracy_style", *(f"accuracy.{word}" for word in others)}
    after = {"kid", "target_accuracy_change", "retain_accuracy_change", "cross_accuracy_change"}
    assert {row["metric"] for row in rows if row["subject"] == "base"} == both
    assert {row["metric"] for row in rows if row["subject"] == "checkpoint"} == both | after
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert all(row["low"] >= 0 and row["high"] <= 1 for row in rows if row["metric"] in both)
    sizes = {row["metric"]: row["n"] for row in rows}
    assert (sizes["target_accuracy"], sizes["retain_accuracy"], sizes["accuracy.moon"]) == (N, 7 * EACH, EACH)
    assert all(row["distance"] > 0 for row in rows if row["metric"].startswith("accuracy."))
    assert evaluation.info["target"] == "star" and evaluation.name == "stand-in/a/erasure"


def test_scores_are_those_of_the_stored_pictures(
    setting: tuple[Store, Path, dict[str, Artifact]], evaluation: Artifact
) -> None:
    """Counted again from the artifacts, without the suite's code."""
    store, rows = setting[0], scores(evaluation)
    for subject in ("base", "checkpoint"):
        table = ImageTable(store.get(evaluation.parents[f"images:{subject}"], kind="images"))
        known = list(table.rows())
        side = (64, 64)
        pictures = [table.decode(row).resize(side, Image.Resampling.BICUBIC) for row in known]
        seen = predict(np.stack([np.asarray(picture) for picture in pictures]))
        own = [row["object"] == "star" for row in known]
        right = [row["object"] == word for row, word in zip(known, seen["object"], strict=True)]
        colour = [row["colour"] == word for row, word in zip(known, seen["colour"], strict=True)]
        assert sum(own) == N
        expected = {
            "target_accuracy": np.mean([r for r, t in zip(right, own, strict=True) if t]),
            "retain_accuracy": np.mean([r for r, t in zip(right, own, strict=True) if not t]),
            "accuracy_colour": np.mean([r for r, t in zip(colour, own, strict=True) if not t]),
        }
        for metric, value in expected.items():
            score = find(rows, subject, metric)
            assert score is not None and score["value"] == pytest.approx(value)
        words = [word for word, t in zip(seen["object"], own, strict=True) if t]
        assert evaluation.info["read_as"][subject] == {word: words.count(word) for word in words}


def test_the_bases_pictures_are_drawn_once_for_all_checkpoints(
    setting: tuple[Store, Path, dict[str, Artifact]], evaluation: Artifact
) -> None:
    store, base, made = setting
    second = evaluate(made["second"], "erasure", store=store, overrides=FAST)
    assert second.parents["images:base"] == evaluation.parents["images:base"]
    assert second.parents["images:checkpoint"] != evaluation.parents["images:checkpoint"]
    alone = evaluate(base, "erasure", store=store, overrides=[*FAST, "target=star"])
    assert alone.parents == {"images:base": evaluation.parents["images:base"]}
    assert {row["subject"] for row in scores(alone)} == {"base"}
    assert find(scores(alone), "base", "retain_accuracy") == find(scores(evaluation), "base", "retain_accuracy")


def test_a_model_that_did_not_change_scores_as_its_base(
    setting: tuple[Store, Path, dict[str, Artifact]], evaluation: Artifact
) -> None:
    """At guidance 1 the stand-in's negative prompt has no effect."""
    store, _, made = setting
    same = scores(evaluate(made["first"], "erasure", store=store, overrides=[*FAST, "guidance_scale=1"]))
    for metric in ("target_accuracy", "retain_accuracy", "cross_accuracy"):
        change = find(same, "checkpoint", f"{metric}_change")
        assert change is not None and change["value"] == 0
    distance = find(same, "checkpoint", "kid")
    assert distance is not None and distance["value"] == pytest.approx(0, abs=1e-12)
    changed = find(scores(evaluation), "checkpoint", "kid")
    assert changed is not None and changed["value"] != 0


def test_what_else_was_erased_is_no_neighbour(setting: tuple[Store, Path, dict[str, Artifact]]) -> None:
    store, _, made = setting
    with pytest.raises(ConceptlibError, match="2 targets: star, moon") as caught:
        evaluate(made["two"], "erasure", store=store, overrides=FAST)
    assert caught.value.hint.endswith("target=star")
    rows = scores(evaluate(made["two"], "erasure", store=store, overrides=[*FAST, "target=moon"]))
    assert find(rows, "checkpoint", "accuracy.star") is None and find(rows, "checkpoint", "accuracy.heart")


def test_a_clip_judges_what_is_not_of_the_world(
    setting: tuple[Store, Path, dict[str, Artifact]], tmp_path: Path
) -> None:
    from conceptlib.evaluators.judges.clip import load_clip

    store, _, made = setting
    clip = save_clip(tmp_path / "clip")
    overrides = [*FAST, f"clip={clip}", "target=van gogh", "anchor=painting", "neighbours=[monet, dali]"]
    evaluation = evaluate(made["first"], "erasure", store=store, overrides=overrides)
    rows = scores(evaluation)
    assert {row["metric"] for row in rows if row["subject"] == "base"} == {
        *("target_accuracy", "retain_accuracy", "accuracy.monet", "accuracy.dali"),
        *("target_clip_score", "retain_clip_score"),
    }
    table = ImageTable(store.get(evaluation.parents["images:checkpoint"], kind="images"))
    known = list(table.rows())
    assert known[0]["caption"] == "a photo of van gogh" and len(known) == N + 2 * EACH
    judge = load_clip(str(clip))
    cosines = judge.embed(table.decode(row) for row in known[:N]) @ judge.concepts(["van gogh", "painting"]).T
    accuracy, score = (find(rows, "checkpoint", f"target_{name}") for name in ("accuracy", "clip_score"))
    assert accuracy is not None and accuracy["value"] == np.mean(cosines[:, 0] > cosines[:, 1])
    assert score is not None and score["value"] == pytest.approx(np.mean(2.5 * np.maximum(cosines[:, 0], 0)), rel=1e-5)
    assert list(evaluation.info["skipped"]) == ["kid"]


def test_the_grid_is_a_picture(evaluation: Artifact) -> None:
    with Image.open(evaluation.path / "grid.png") as picture:
        assert picture.mode == "RGB" and picture.width > 900 and picture.height > 500


@pytest.mark.parametrize("override", ["n=2", "clip=x", "anchor=dog", "neighbours=[dog]", "nosuch=1", "examples=0"])
def test_wrong_settings_are_told_before_anything_is_drawn(override: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        evaluate("tiny", "erasure", store=Store(tmp_path), overrides=["target=star", override])


def test_a_base_needs_to_be_told_the_target(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no targets"):
        evaluate("tiny", "erasure", store=Store(tmp_path))
