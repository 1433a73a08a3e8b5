"""A whole sweep on a random model with a method that costs nothing: cells, resuming, failures, the written page."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError
from conceptlib.specs import SpecError, find_all, load_spec
from conceptlib.specs.results import record, result_of, results
from conceptlib.stats import wilson
from conceptlib.store import Store
from conceptlib.sweeps import Run, Sweep, cells, sweep
from conceptlib.sweeps.cells import found
from conceptlib.sweeps.report import collect, recordable
from conceptlib.sweeps.run import neighbours
from tests.support.models import save_pipeline
from tests.support.stand_in import install

FAST = ["n=4", "neighbour_n=2", "num_steps=1", "kid_subsets=2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def write(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install the stand-in, and write sweeps into the working folder."""
    install(monkeypatch, tmp_path / "methods")

    def written(**fields: Any) -> None:
        spec = {"kind": "sweep", "name": "mine", "base": str(base), "recipes": ["stand-in/a"], "seeds": 2}
        spec |= {"targets": ["star", "red"], "evaluate": FAST, **fields}
        path = Path("recipes/sweeps/mine.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in spec.items()) + "\n")

    written()
    return written


def test_cells_are_seed_by_seed(write: Any) -> None:
    write(recipes=["stand-in/a", "m/{domain} anchor='a {target}' k=2"], seed=5)
    found = cells(load_spec("sweep", "mine"))
    assert [(c.seed, c.target, c.label) for c in found[:5]] == [
        (5, "star", "stand-in/a"),
        (5, "star", "m anchor='a {target}' k=2"),
        (5, "red", "stand-in/a"),
        (5, "red", "m anchor='a {target}' k=2"),
        (6, "star", "stand-in/a"),
    ]
    assert len(found) == 8 and found[0].plain and not found[1].plain
    assert found[0].overrides == ('targets=["star"]', "seed=5")
    assert found[1].recipe == "m/object" and found[3].recipe == "m/colour"
    assert found[3].overrides == ("anchor=a red", "k=2", 'targets=["red"]', "seed=5")


@pytest.mark.parametrize(
    ("line", "target", "message"),
    [
        ("m/{domain}", "van gogh", "no domain"),
        ("stand-in/a k=1 extra", "star", "'extra' is no override"),
        ("stand-in/a k='1", "star", "cannot be read"),
    ],
)
def test_lines_that_make_no_sense_are_told(write: Any, line: str, target: str, message: str) -> None:
    write(recipes=[line], targets=[target])
    with pytest.raises(ConceptlibError, match=message):
        cells(load_spec("sweep", "mine"))


@pytest.mark.parametrize(
    "fields", [{"recipes": []}, {"targets": []}, {"seeds": 0}, {"evaluate": ["n"]}, {"recipes": ["a b"]}]
)
def test_the_schema_refuses(write: Any, fields: dict[str, Any]) -> None:
    write(**fields)
    with pytest.raises(SpecError):
        load_spec("sweep", "mine")


def test_a_wrong_recipe_is_told_before_anything_is_made(write: Any, home: Path) -> None:
    write(recipes=["stand-in/a", "stand-in/a strength=much"])
    with pytest.raises(SpecError, match="strength"):
        sweep("mine")
    assert not Store().list()


def test_a_sweep_resumes_and_is_written_down(write: Any, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    write(recipes=["stand-in/a", "stand-in/a strength=2"])
    assert main(["sweep", "mine", "seeds=1", "targets=[star]", "--out", "first", "--quiet"]) == 0
    made = {one.id for one in Store().list(kind="evaluation")}
    assert len(made) == 2
    capsys.readouterr()

    assert main(["sweep", "mine", "--dry-run", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    done = [one["cell"] for one in planned if one["evaluation"]]
    assert done == ["stand-in/a, star, seed 0", "stand-in/a strength=2, star, seed 0"] and len(planned) == 8
    assert {one["evaluation"] for one in planned if one["evaluation"]} == made

    assert main(["sweep", "mine", "--out", "out", "--record", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert made < {one.id for one in Store().list(kind="evaluation")}
    assert all(one.evaluation for one in found(load_spec("sweep", "mine"), Store()))

    data = json.loads(Path("out/mine.json").read_text())
    assert data["lines"] == shown["lines"] and len(data["runs"]) == 8
    rows = list(csv.DictReader(Path("out/mine.csv").read_text().splitlines()))
    first = next(one for one in data["runs"] if (one["recipe"], one["target"], one["seed"]) == ("stand-in/a", "red", 1))
    same = next(one for one in rows if (one["recipe"], one["target"], one["seed"]) == ("stand-in/a", "red", "1"))
    assert float(same["retain_accuracy"]) == first["retain_accuracy"] and first["peak_memory_mb"] > 0
    assert first["erase_seconds"] >= 0 and first["draw_seconds"] > 0 and first["domain"] == "colour"
    page = Path("out/mine.md").read_text()
    assert "| stand-in/a strength=2 | red |" in page and "mine-retain.png" in page and "Failed" not in page
    for name in ("retain", "distance", "pictures"):
        with Image.open(f"out/mine-{name}.png") as picture:
            assert picture.mode == "RGB" and picture.height > 300

    assert main(["recipes", "ls", "--json"]) == 0
    measured = {one["name"]: one["measured"] for one in json.loads(capsys.readouterr().out)}
    assert "target " in measured["stand-in/a"] and measured["geom-erasing/qr-sd"] == ""
    entry = json.loads(Path("recipes/results.json").read_text())["stand-in/a"]
    own = [one for one in data["runs"] if one["recipe"] == "stand-in/a"]  # the line with overrides is not the recipe
    assert entry["target"] == pytest.approx(sum(one["target_accuracy"] for one in own) / 4, abs=1e-4)
    by_seed = [sum(one["target_accuracy"] for one in own if one["seed"] == seed) / 2 for seed in (0, 1)]
    assert entry["target_range"] == pytest.approx([min(by_seed), max(by_seed)], abs=1e-4)
    assert entry["targets"] == ["star", "red"] and entry["seeds"] == 2


@pytest.mark.parametrize("changed", ["conceptlib.erasers.methods.stand_in", "conceptlib.evaluators.metrics.kid"])
def test_what_older_code_made_is_not_found(write: Any, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    overrides = ["seeds=1", "targets=[star]"]
    spec = load_spec("sweep", "mine", overrides)
    (run,) = sweep(spec).runs
    method = changed.endswith("stand_in")
    with monkeypatch.context() as patch:
        patch.setattr(import_module(changed), "VERSION", 2, raising=False)
        (cell,) = found(spec, Store())
        assert (cell.checkpoint, cell.evaluation) == (None if method else run.checkpoint, None)
        (again,) = sweep(spec).runs
        (cell,) = found(spec, Store())
        assert again.evaluation and (cell.checkpoint, cell.evaluation) == (again.checkpoint, again.evaluation)
    (cell,) = found(spec, Store())
    assert (cell.checkpoint, cell.evaluation) == (run.checkpoint, run.evaluation)


def test_numbers_are_those_of_the_evaluations(write: Any) -> None:
    result = sweep("mine", overrides=["seeds=1", "targets=[star]"])
    (run,) = result.runs
    assert run.evaluation is not None
    summary = run.evaluation.info["summary"]
    (row,) = collect(result, Store()).runs
    assert row["target_accuracy"] == summary["checkpoint"]["target_accuracy"]
    assert row["base_retain_accuracy"] == summary["base"]["retain_accuracy"]
    before = summary["base"]["cross_accuracy"]
    assert row["cross_of_base"] == pytest.approx(summary["checkpoint"]["cross_accuracy"] / before)
    assert row["kid"] == summary["checkpoint"]["kid"]


@pytest.mark.parametrize(("fail", "told"), [("red", "red cannot be erased"), ("bug", "unexpected RuntimeError: a bug")])
def test_a_failure_is_told_and_the_others_go_on(
    write: Any, capsys: pytest.CaptureFixture[str], fail: str, told: str
) -> None:
    write(recipes=["stand-in/a", f"stand-in/a fail={fail}"], seeds=1)
    assert main(["sweep", "mine", "--out", "out", "--record"]) == 1
    shown = capsys.readouterr()
    assert told in shown.err and f"stand-in/a fail={fail}" in shown.out
    data = json.loads(Path("out/mine.json").read_text())
    assert [bool(row["error"]) for row in data["runs"]] == [False, fail == "bug", False, True]
    page = Path("out/mine.md").read_text()
    assert "## Failed" in page and told in page and ("(2 failed)" if fail == "bug" else "(1 failed)") in page
    assert list(json.loads(Path("recipes/results.json").read_text())) == ["stand-in/a"]
    # Nothing was measured of the recipe that always fails, and the sweep's page is there all the same.
    write(recipes=["stand-in/a fail=bug"], seeds=1)
    assert main(["sweep", "mine", "--out", "none", "--quiet"]) == 1
    assert {path.name for path in Path("none").iterdir()} == {"mine.md", "mine.json", "mine.csv"}


def test_a_sweep_over_icd(write: Any, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """What is measured, in which unit and which way it is better comes from the suite's metrics."""
    detect = ["n=4", "num_steps=1", "kid_subsets=2", "detector=zxing"]
    write(recipes=["stand-in/a"], targets=["QR code"], suite="icd", evaluate=detect)
    assert main(["sweep", "mine", "--out", "out"]) == 0
    shown = capsys.readouterr().out
    assert "concept rate, %" in shown and "caption accuracy, %" in shown and "KID" in shown
    data = json.loads(Path("out/mine.json").read_text())
    assert len(data["runs"]) == 2 and all(run["concept_rate"] == 0 for run in data["runs"])
    assert "base_kid" in data["runs"][0] and "target_accuracy" not in data["runs"][0]
    (line,) = data["lines"]
    assert line["concept_rate"]["high"] <= 1 and line["kid"]["interval"] == "t95"
    page = Path("out/mine.md").read_text()
    assert "| recipe | concept rate, % ↓ | caption accuracy, % ↑ |" in page and "`concept_rate`: ICR" in page
    assert "## Neighbours" not in page and "mine-retain.png" in page
    assert all(one.evaluation for one in found(load_spec("sweep", "mine"), Store()))


def test_a_suite_without_the_base_is_written_down(write: Any, home: Path) -> None:
    said = {"kind": "suite", "name": "alone", "suite": "erasure", "subjects": ["checkpoint"]}
    Path("alone.yaml").write_text(json.dumps(said))
    write(targets=["star"], suite="alone.yaml", seeds=1)
    assert main(["sweep", "mine", "--out", "out", "--quiet"]) == 0
    data = json.loads(Path("out/mine.json").read_text())
    assert data["neighbours"] and all(row["base"] is None for row in data["neighbours"])
    table = Path("out/mine.md").read_text().partition("## Neighbours")[2]
    assert "| — |" in table and Path("out/mine-pictures.png").is_file()


def test_only_neighbours_are_counted_as_such(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"subject": "checkpoint", "distance": 0.5}
    rows = [
        {**about, "metric": "accuracy.moon", "value": 0.25},
        {**about, "metric": "nearness", "value": 3.0},
        {"subject": "base", "metric": "accuracy.moon", "value": None},
    ]
    monkeypatch.setattr(Run, "scores", lambda run: rows)
    (one,) = neighbours(Run(cells(load_spec("sweep", "mine"))[0]))
    assert (one["neighbour"], one["accuracy"], one["base"]) == ("moon", 0.25, None)


def test_what_is_recorded_of_a_suite_is_told_by_its_metrics(
    write: Any, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    write(recipes=["stand-in/a"], targets=["QR code"], suite="icd")
    counted = {"concept_rate": (3, 1), "caption_accuracy": (10, 9)}
    rows = [
        wilson(k, 10).score(subject, metric)
        for metric, pair in counted.items()
        for subject, k in zip(("base", "checkpoint"), pair, strict=True)
    ]
    monkeypatch.setattr(Run, "scores", lambda run: [] if run.error else rows)
    spec = load_spec("sweep", "mine")
    done = Sweep(spec, tuple(Run(cell) for cell in cells(spec)))
    entry = recordable(done, collect(done, Store()))["stand-in/a"]
    assert (entry["target"], entry["retain"]) == (0.1, 0.9)
    told = {key: (said["name"], said["unit"]) for key, said in entry["metrics"].items()}
    assert told == {"target": ("concept_rate", "share"), "retain": ("caption_of_base", "share")}
    record({"stand-in/a": entry})
    (found_spec,) = [one for one in find_all("recipe") if one.name == "stand-in/a"]
    shown = result_of(found_spec, results())
    assert "concept_rate 10 % (10 to 10), caption_of_base 90 % (90 to 90)" in shown
    failed = Sweep(spec, tuple(Run(cell, error="no") for cell in cells(spec)))
    assert recordable(failed, collect(failed, Store())) == {}
