"""Datasets on the Hub (a loopback one): their own files are read, and no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.loophub import LoopHub

REPOSITORY = Path(__file__).parents[3]
RED, BLUE, GREEN = [255, 0, 0], [0, 0, 255], [0, 128, 0]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hub")
    Image.new("RGB", (32, 24), "white").save(folder / "private.png")
    with LoopHub(folder / "loophub", users={"hf_token": "me"}, xet=False) as hub:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env |= {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": "hf_token",
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",
        }
        command = [sys.executable, "-m", "tests.support.hub_sources", str(folder)]
        done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report | {"warnings": [line for line in done.stderr.splitlines() if "not read" in line]}


def test_splits_are_kept_or_hashed_or_read_alone(found: dict[str, Any]) -> None:
    train = [["train-00000000", "train", "a", RED], ["train-00000001", "train", None, "no-caption"]]
    assert found["splits"] == [*train, ["test-00000000", "test", "t", RED]]
    assert found["hashed"] == [["row-00000000", "train", "a", RED], ["row-00000001", "train", None, "no-caption"]]
    assert found["test"] == [["row-00000000", "train", "t", RED]]
    assert found["few"] == [train[0], ["test-00000000", "test", "t", RED]]


def test_splits_of_one_meaning_are_one_and_those_of_other_names_are_said(found: dict[str, Any]) -> None:
    assert sorted(row[1:3] for row in found["odd"]) == [
        ["train", "train"],
        ["validation", "dev"],
        ["validation", "validation"],
    ]
    assert len({row[0] for row in found["odd"]}) == 3
    (told,) = [line for line in found["warnings"] if "org/odd" in line]
    assert "minival" in told and "source_split=minival" in told


def test_paths_are_those_of_the_repository(found: dict[str, Any]) -> None:
    reasons = [row[3] for row in found["paths"]]
    assert reasons == ["refused", "refused", "refused", "refused", BLUE, "missing-file"]


def test_a_repository_of_pictures(found: dict[str, Any]) -> None:
    assert found["folder"] == [["row-00000000", "train", "green", GREEN]]


def test_what_cannot_be_read_says_why(found: dict[str, Any]) -> None:
    assert "don't belong to org/away" in found["away"] or "lead out of the repository" in found["away"]
    assert "no column 'picture'" in found["column"] and "image_column is one of: image, text" in found["column"]
    assert "cannot be opened" in found["split"]
