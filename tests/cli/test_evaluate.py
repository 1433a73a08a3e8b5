"""`conceptlib evaluate` on a random base, with a real detector that finds nothing in noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptlib.cli.main import main
from tests.support.models import save_pipeline


def test_a_base_is_measured_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = save_pipeline(tmp_path / "base")
    words = [
        "evaluate",
        str(base),
        "--detector",
        "zxing",
        "n=4",
        "num_steps=1",
        "metrics=[concept_rate]",
        "subjects=[base, clean]",
    ]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "base/icd" and Path(told["path"], "grid.png").is_file()
    assert [(row["subject"], row["value"], row["n"]) for row in told["scores"]] == [("base", 0.0, 4), ("clean", 0.0, 4)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "0.0 % [0.0, 49.0]" in text and "grid.png" in text
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == told["id"]


def test_what_is_wrong_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "geom-erasing/nosuch"]) == 1
    assert "geom-erasing/nosuch" in capsys.readouterr().err
    assert main(["evaluate", "tiny", "n=lots"]) == 1
    assert "n" in capsys.readouterr().err
    assert main(["evaluate", "tiny", "--suite", "nosuch"]) == 1
    assert "icd" in capsys.readouterr().err


def test_the_suite_is_the_one_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", "uce/object", "--device", "cpu", "-q"]) == 0
    few = ["n=4", "neighbour_n=2", "num_steps=1", "kid_subsets=2", "--device", "cpu"]
    capsys.readouterr()
    assert main(["evaluate", "uce/object", *few, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "uce/object/erasure" and told["info"]["summary"]["checkpoint"]["target_accuracy"] <= 1
    # What the user names goes before what the checkpoint erased.
    assert main(["evaluate", "uce/object", "--suite", "erasure", "concepts=[heart]", *few, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["info"]["target"] == "heart"


def test_two_detectors_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "tiny", "detector=yolo-icd", "--detector", "zxing"]) == 2
    assert "two detectors are named" in capsys.readouterr().err
