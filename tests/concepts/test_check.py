"""Copies in a dataset that is built."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptlib.cli.main import main
from conceptlib.concepts.build import build
from conceptlib.concepts.check import Member, check
from conceptlib.concepts.sources.base import split_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "in"
    where.mkdir()
    for k in range(6):
        noise = np.random.default_rng(k).integers(0, 255, (6, 6, 3), np.uint8)
        for name in (f"{k}.png", f"copy-{k}.png") if k < 4 else (f"{k}.png",):
            Image.fromarray(noise).resize((120, 100), Image.Resampling.BICUBIC).save(where / name)
    return where


def options(folder: Path, policy: str) -> list[str]:
    base = [f"source={folder}", "missing_captions=keep", "resolution=64", "rate=0", "test_share=0.5"]
    base += ["formats=[png]"]  # a JPEG's quality is drawn, so that copies would differ in bytes
    return [*base, f"duplicates={policy}"]


@pytest.mark.parametrize("distance", [0, 4])
def test_groups_and_those_across_splits(folder: Path, distance: int) -> None:
    artifact = build("icd-qr", overrides=options(folder, "off"), workers=1)
    report = check(artifact, max_distance=distance)
    expected = {
        frozenset(Member(name, split_of(name, 0.5)) for name in (f"{k}.png", f"copy-{k}.png")) for k in range(4)
    }
    assert {frozenset(group) for group in report.groups} == expected
    across = sum(len({m.split for m in group}) == 2 for group in expected)
    assert report.across_splits == across > 0 and report.pictures == 10
    if distance:
        assert check(artifact, workers=2, max_distance=distance) == report


def test_the_command_tells_by_its_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build("icd-qr", overrides=options(folder, "off"), workers=1)
    assert main(["datasets", "check", "icd-qr"]) == 1
    assert "10 images, 4 groups of copies" in capsys.readouterr().out
    build("icd-qr", overrides=options(folder, "train"), workers=1)
    assert main(["datasets", "check", "icd-qr", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["across_splits"] == 0 and len(report["groups"]) == 4
    assert main(["datasets", "check", "icd-qr", "-q"]) == 0 and len(capsys.readouterr().out.splitlines()) == 4
