"""`conceptlib publish` at the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conceptlib.cli.main import main
from conceptlib.store import Artifact
from tests.support.loophub import LoopHub


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = main(["publish", *argv])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_dry_run_shows_files_and_card(hub: LoopHub, dataset: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "icd-mini", "--to", "org/name", "--dry-run")
    assert status == 0
    assert "data/train-00000-of-00002.parquet" in out and "README.md" in out
    assert re.search(r"would publish \d+ files, [\d.]+ [kM]B, to ", out)
    assert f"to {hub.url}/datasets/org/name, tag v-{dataset.id}" in out
    assert "pretty_name: icd-mini" in out
    assert hub.requests == []


def test_published_then_unchanged(hub: LoopHub, dataset: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "icd-mini", "--to", "org/name", "--json")
    result = json.loads(out)
    assert (status, result["status"], err) == (0, "published", "")
    assert result["revision"] == hub.dataset("org/name").branches["main"]
    assert {file["path"] for file in result["files"]} >= {"README.md", "manifest.json"}
    status, out, _ = run(capsys, "icd-mini", "--to", "hf://org/name")
    assert status == 0 and out.startswith("unchanged, already there: ")


def test_to_a_folder(dataset: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "icd-mini", "--to", "./out", "--quiet")
    assert (status, out.strip()) == (0, str(Path.cwd() / "out"))
    assert Path("out/README.md").is_file()


def test_an_unknown_licence_is_told(make_dataset: object, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = make_dataset(source="org/photos@abc")  # type: ignore[operator]
    _, _, err = run(capsys, dataset.ref, "--to", "org/name", "--dry-run")
    assert "warning: the licence is not known" in err
    _, out, err = run(capsys, dataset.ref, "--to", "org/name", "--dry-run", "--license", "cc-by-4.0")
    assert "license: cc-by-4.0" in out and err == ""


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["icd-mini"], 2, "--to"),
        (["icd-mini", "--to", "name"], 2, "ORG/NAME"),
        (["icd-mini", "--to", "./out", "--private"], 2, "for repositories on the Hub"),
        (["icd-mini", "--to", "org/name", "--gated", "perhaps"], 2, "--gated"),
        (["truth", "--to", "org/name"], 2, "annotations travel with their dataset"),
        (["icd-mimi", "--to", "org/name"], 1, "icd-mini"),
    ],
)
def test_mistakes(
    dataset: Artifact, capsys: pytest.CaptureFixture[str], argv: list[str], status: int, message: str
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (status, "")
    assert message in err and "Traceback" not in err
