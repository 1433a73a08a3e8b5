"""The whole job, end to end, in miniature: a random base, a dataset of a few rows, a few steps of everything."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from conceptlib import demo as module
from conceptlib.cli.main import cli, main
from conceptlib.demo import NEXT, Demo, Settings, Stage, before_after, demo
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.specs import SpecError, load_spec
from conceptlib.store import Store
from tests.support.models import save_pipeline


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        base=str(save_pipeline(tmp_path_factory.mktemp("base") / "base")),
        build=("rows=40",),
        train=("steps=12", "batch_size=8", "confidence=0.001"),  # so early, it is sure of nothing
        erase=("steps=2", "batch_size=4", "min_score=0"),
        evaluate=("n=8", "num_steps=1", "kid_subsets=2"),
    )


@pytest.fixture
def once(settings: Settings, tmp_path: Path) -> tuple[Demo, Store, Path]:
    store, out = Store(), tmp_path / "out"
    return demo(out, store=store, settings=settings), store, out


def times(root: Path) -> dict[Path, int]:
    """When every file was written, but for locks, the journal of what was asked for last, and the index of it."""
    files = (path for path in root.rglob("*") if path.is_file() and "lock" not in path.name)
    noted = {"journal.jsonl", "catalog.duckdb"}
    return {path: path.stat().st_mtime_ns for path in files if path.relative_to(root).parts[0] not in noted}


def test_every_stage_runs_once_and_is_found_again(once: tuple[Demo, Store, Path], settings: Settings) -> None:
    first, store, out = once
    verbs = [stage.command.split()[1] for stage in first.stages]
    assert verbs == ["build", "detectors", "annotate", "erase", "evaluate", "catalog", "publish"]
    assert not any(stage.reused for stage in first.stages)
    assert {artifact.kind for artifact in store.list()} >= {
        "dataset", "annotations", "detector", "checkpoint", "images", "evaluation"
    }  # fmt: skip
    with Image.open(first.picture) as picture:
        assert picture.width > 400
    assert (first.published / "README.md").is_file() and (first.published / "unet").is_dir()
    assert first.table[0]["measure"] == "pictures with a QR code" and "%" in first.table[0]["after"]
    assert first.n == 8 and first.seconds > 0 and (first.peak_memory or 2**30) > 2**20
    before = times(store.root)
    heard: list[Stage] = []
    second = demo(out, store=store, settings=settings, on_done=heard.append)
    assert second.reused and heard == second.stages
    assert (second.scores, second.table) == (first.scores, first.table)
    assert times(store.root) == before, "a demo that was done wrote something"
    interrupted_between_stages(store, settings, out)


def interrupted_between_stages(store: Store, settings: Settings, out: Path) -> None:
    """What is lost is made again, and nothing else."""
    store.rm(store.list(kind="evaluation")[-1])
    third = demo(out, store=store, settings=settings)
    made = [stage.command.split()[1] for stage in third.stages if not stage.reused]
    assert made[0] == "evaluate" and set(made) <= {"evaluate", "catalog"}


def a_file(out: Path) -> None:
    out.write_text("mine")


def below_a_file(out: Path) -> None:
    out.parent.rmdir()
    out.parent.write_text("mine")


def a_link_to_nothing(out: Path) -> None:
    out.symlink_to("nowhere")


def a_folder_for_a_picture(out: Path) -> None:
    (out / module.PICTURE).mkdir(parents=True)


def published_is_a_file(out: Path) -> None:
    out.mkdir()
    (out / "published").write_text("mine")


def published_is_somebody_elses(out: Path) -> None:
    (out / "published").mkdir(parents=True)
    (out / "published" / "thesis.txt").write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (a_file, "no folder"),
        (below_a_file, "no folder"),
        (a_link_to_nothing, "no folder"),
        (a_folder_for_a_picture, "the picture's place"),
        (published_is_a_file, "the target is a file"),
        (published_is_somebody_elses, "files of its own"),
    ],
)
def test_a_place_that_cannot_take_the_results_is_refused_before_the_work(
    prepare: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    out = tmp_path / "in" / "out"
    out.parent.mkdir()
    prepare(out)
    with pytest.raises(ConceptlibError, match=message):
        demo(out, on_stage=lambda title, command: pytest.fail("a stage began"))


@pytest.mark.parametrize(
    "wrong",
    [{"suite": "none"}, {"recipe": "geom-erasing/none"}, {"erase": ("steps=few",)}, {"evaluate": ("nothing=1",)}],
)
def test_a_spec_of_a_late_stage_is_looked_at_before_the_work(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((SpecError, NotFound)):
        demo(tmp_path, settings=Settings(**wrong), on_stage=lambda title, command: pytest.fail("a stage began"))


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ConceptlibError, match="cannot be written"):
        module.check_out(tmp_path / "new" / "out", "geom-erasing/qr")


def test_a_stage_that_fails_leaves_the_earlier_ones(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("conceptlib.detectors.train.train_detector", stop)
        with pytest.raises(KeyboardInterrupt):
            demo(tmp_path, settings=settings)
    assert [artifact.kind for artifact in Store().list()] == ["dataset", "annotations"]
    seen: list[Stage] = []

    def no_further(stage: Stage) -> None:
        seen.append(stage)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path, settings=settings, on_done=no_further)
    assert seen[0].reused and seen[0].command.startswith("conceptlib build")


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConceptlibError, match="ultralytics") as error:
        demo(tmp_path)
    assert "pip install 'conceptlib[yolo]'" in error.value.hint
    assert main(["demo", "--out", str(tmp_path / "x")]) == 1 and not (tmp_path / "x").exists()


def test_the_command_prints_the_table_and_how_to_go_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"metric": "concept_rate", "value": 0.5, "low": 0.3, "high": 0.7}
    rows = [{**row, "subject": "base"}, {**row, "subject": "checkpoint", "value": 0.02, "low": 0.0, "high": 0.1}]
    result = Demo(
        stages=[Stage("t", "conceptlib build icd-qr", "icd-qr@1", 3.0, False)],
        table=before_after(rows),
        scores=rows,
        n=256,
        picture=tmp_path / "p.png",
        published=tmp_path / "published",
        seconds=12.3,
        peak_memory=1_500_000_000,
    )
    monkeypatch.setattr(module, "demo", lambda *args, **kwargs: result)
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    assert "50.0 % [30.0, 70.0]" in text and "2.0 % [0.0, 10.0]" in text
    assert "build 3 s" in text and "1.5 GB" in text and str(tmp_path / "p.png") in text
    assert all(command in text for command in NEXT)
    assert main(["demo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == rows
    assert main(["demo", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "p.png")


@pytest.mark.parametrize("line", NEXT)
def test_the_commands_for_stable_diffusion_are_valid(line: str) -> None:
    """Each is parsed by the real command line, and its overrides by the spec that they are for."""
    words = shlex.split(line)[1:]
    context = click.Context(cli)
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    parsed = command.make_context(command.name, list(words), parent=context).params
    kinds = {"build": "dataset", "train": "detector", "erase": "recipe", "evaluate": "suite"}
    overrides = parsed.get("overrides", ())
    if command.name in kinds:
        # Without --suite the checkpoint decides: `icd` for what is implicit.
        named = next(word for word in words if not word.startswith("-") and "=" not in word)
        name = (parsed.get("suite") or "icd") if command.name == "evaluate" else named
        assert load_spec(kinds[command.name], name, overrides).name == name
    else:
        assert not overrides
