"""Suites are data: what they may say, what their locks were before they were data, and one of a user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conceptlib.cli.main import main
from conceptlib.specs import SpecError, load_spec
from conceptlib.store import Store
from tests.support.models import save_pipeline

KID = {"features": "auto", "kid_subsets": 100, "kid_subset_size": 256}
DRAWN = {"num_steps": 20, "guidance_scale": None, "batch_size": None}
# What the locks said when the two suites were code.
BEFORE: dict[str, dict[str, Any]] = {
    "icd": {
        "kind": "suite",
        "name": "icd",
        "seed": 0,
        "params": {
            "n": 512,
            "subjects": ["base", "checkpoint"],
            "metrics": ["concept_rate", "caption_accuracy", "kid"],
            "captions": "auto",
            "detector": "yolo-icd",
            **DRAWN,
            **KID,
            "examples": 8,
        },
        "suite": "icd",
        "concepts": ["qr-code"],
    },
    "erasure": {
        "kind": "suite",
        "name": "erasure",
        "seed": 0,
        "params": {
            "target": None,
            "n": 96,
            "neighbour_n": 16,
            **DRAWN,
            **KID,
            "examples": 12,
            "clip": None,
            "anchor": None,
            "neighbours": [],
            "templates": ["a photo of {}", "an image of {}", "a picture of {}", "{}"],
        },
        "suite": "erasure",
        "concepts": [],
    },
}
OVERRIDES = {
    "icd": {
        "n": 256, "num_steps": 10, "metrics": ["kid", "concept_rate"], "subjects": ["base"], "captions": "dataset",
        "detector": "zxing", "guidance_scale": 1.5, "batch_size": 4, "features": "tiny", "kid_subsets": 3,
        "kid_subset_size": 8, "examples": 1,
    },
    "erasure": {
        "target": "van gogh", "n": 8, "neighbour_n": 2, "num_steps": 1, "guidance_scale": 1.0, "batch_size": 4,
        "features": "tiny", "kid_subsets": 3, "kid_subset_size": 8, "examples": 2, "clip": "x", "anchor": "a painting",
        "neighbours": ["monet"], "templates": ["by {}"],
    },
}  # fmt: skip


@pytest.mark.parametrize("suite", BEFORE)
def test_the_locks_are_those_of_before(suite: str) -> None:
    assert load_spec("suite", suite).resolved() == BEFORE[suite]
    given = [f"{key}={json.dumps(value)}" for key, value in OVERRIDES[suite].items()]
    for prefix in ("", "params."):
        found = load_spec("suite", suite, [prefix + one for one in given]).resolved()
        assert found == BEFORE[suite] | {"params": BEFORE[suite]["params"] | OVERRIDES[suite]}


@pytest.mark.parametrize("suite", BEFORE)
def test_a_file_of_before_says_the_same(suite: str) -> None:
    """A copy that a user made of a suite, and what `reproduce` writes of an old evaluation's lock."""
    changed = BEFORE[suite] | {"params": {**BEFORE[suite]["params"], "n": 32}, "seed": 3}
    Path("old.yaml").write_text(json.dumps(changed))
    assert load_spec("suite", "old.yaml").resolved() == changed
    Path("old.yaml").write_text(json.dumps(changed | {"params": {"n": "many"}}))
    with pytest.raises(SpecError, match="n: must be a whole number"):
        load_spec("suite", "old.yaml")


@pytest.mark.parametrize(
    "said",
    [
        {"metrics": {"draw_seconds": {}}},
        {"metrics": {"kid": {"against": "base"}}},
        {"metrics": {"seconds": {"metric": "draw_seconds"}}},
        {"judges": {"detector": {"detector": "zxing"}, "other": {"judge": "detector", "detector": "zxing"}}},
        {"prompts": {"source": "world", "world": "pond"}},
        {"prompts": {"source": "file", "path": "prompts.txt"}},
    ],
)
def test_what_could_not_be_said_before_has_a_lock_of_its_own(said: dict[str, Any]) -> None:
    Path("mine.yaml").write_text(json.dumps({"kind": "suite", "name": "icd", "suite": "icd", **said}))
    found = load_spec("suite", "mine.yaml").resolved()
    assert "params" not in found and found["sampler"] == DRAWN
    assert found["metrics"].keys() >= {"concept_rate", "kid"} and found["concepts"] == ["qr-code"]
    Path("again.yaml").write_text(json.dumps(found))
    assert load_spec("suite", "again.yaml").resolved() == found


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"metrics": {"kidd": {}}}, "there is no metric 'kidd'"),
        ({"metrics": {"kid": {"subset": 3}}}, "metrics.kid.subset: unknown key; did you mean 'subsets'"),
        ({"metrics": {"kid": 3}}, "must be a mapping"),
        ({"metrics": {"detection": {}}}, "detectors eval"),
        ({"metrics": {}}, "metrics"),
        ({"judges": {"nobody": {}}}, "there is no judge 'nobody'"),
        ({"prompts": {"source": "nowhere"}}, "there is no source of prompts 'nowhere'"),
        ({"prompts": {"source": "file"}}, "path"),
        ({"measure": ["kid"]}, "there is no metric 'kid' in this suite: concept_rate"),
        ({"metrics": {"kid": {}, "dino": {"metric": "kid"}}}, "metrics.dino: 'kid' writes 'kid' too"),
        (
            {"metrics": {"caption_accuracy": {}, "cross_accuracy": {}}},
            "metrics.cross_accuracy: 'caption_accuracy' writes 'accuracy_*' too",
        ),
        ({"subjects": ["best"]}, "subjects"),
        ({"sampler": {"steps": 3}}, "sampler.steps"),
    ],
)
def test_mistakes_are_told_with_their_place(said: dict[str, Any], message: str) -> None:
    whole = {"kind": "suite", "name": "mine", "prompts": {"source": "world"}, "metrics": {"concept_rate": {}}}
    Path("mine.yaml").write_text(json.dumps(whole | said))
    with pytest.raises(SpecError) as caught:
        load_spec("suite", "mine.yaml")
    assert message in str(caught.value)


def test_metrics_of_one_name_may_be_measured_one_at_a_time() -> None:
    said = {"kind": "suite", "name": "mine", "prompts": {"source": "world"}}
    said |= {"metrics": {"kid": {}, "dino": {"metric": "kid", "features": "x"}}, "measure": ["dino"]}
    Path("mine.yaml").write_text(json.dumps(said))
    assert list(load_spec("suite", "mine.yaml").measured()) == ["dino"]


def test_a_suite_of_ones_own_needs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one of docs/evaluation.md."""
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    text = page[page.index("## A suite of your own") :]
    yaml = text[text.index("```yaml\n") + 8 :].partition("```")[0]
    path = Path("recipes/suites/posters.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(yaml)
    Path("posters.csv").write_text("prompt,seed\na red star on the sand,7\na blue moon at night,\n")
    base = save_pipeline(tmp_path / "base")
    assert main(["evaluate", str(base), "--suite", "posters", "num_steps=1", "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["metric"]: row["n"] for row in told["scores"]} == {"concept_rate": 2, "draw_seconds": 2}
    images = Store().get(told["name"], kind="evaluation").parents["images:base"]
    assert Store().get(images, kind="images").info["images"] == 2
    assert main(["evaluate", str(base), "--suite", "posters", "num_steps=1", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "0.0 % [0.0, 65.8]" in shown and " s " in shown and "one standard deviation" not in shown
    assert main(["suites", "ls", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed["posters"]["uses"] == "file" and listed["icd"]["uses"] == "auto"
