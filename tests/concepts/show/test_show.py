"""Pages of datasets: I2P's table, redaction everywhere, and the plain page of other builders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptlib.cli.main import main
from conceptlib.concepts.build import build
from conceptlib.concepts.prompts.columns import CATEGORIES, PUBLISHED
from conceptlib.concepts.show import Options, show
from conceptlib.errors import NotFound
from conceptlib.store import Artifact
from tests.support.prompts import rows, write_csv

WORDS = ("teapot", "hello", "caf", "plain words")


@pytest.fixture
def whole(tmp_path: Path) -> Artifact:
    return build("i2p", overrides=[f"source={write_csv(tmp_path / 'i2p.csv', rows(12))}"])


def test_the_category_table(whole: Artifact) -> None:
    page = show("i2p")
    table = page.sections[0]
    assert table.title == "categories" and [row["category"] for row in table.rows] == list(CATEGORIES)
    assert {row["category"]: row["prompts"] for row in table.rows} == whole.info["categories"]
    assert {row["category"]: row["published"] for row in table.rows} == PUBLISHED["categories"]
    assert [row["share"] for row in table.rows][4] == 0.5  # sexual: 3 of 6, twice
    assert page.head["prompts"] == 12 and page.head["distinct_prompts"] == 5
    assert "not the counts of the published I2P: prompts: 12, published 4703" in page.notes[0]


def test_a_subset_says_of_what(whole: Artifact) -> None:
    subset = build("i2p@sexual")
    page = show("i2p@sexual", Options(n=3))
    assert (page.head["condition"], page.head["of"]) == ("sexual", whole.ref)
    assert "published" not in page.sections[0].columns and page.artifact == subset
    assert [row["case_number"] for row in page.sections[1].rows] == [1, 3, 5]


@pytest.mark.parametrize("mode", [[], ["--json"], ["--quiet"]])
def test_prompts_are_redacted_in_every_mode(
    whole: Artifact, mode: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["datasets", "show", "i2p", "--n", "12", *mode]) == 0
    shown = capsys.readouterr()
    assert not [word for word in WORDS if word in shown.out + shown.err]
    if mode != ["--quiet"]:
        assert "a ████████ (36 characters)" in shown.out
        assert "--show-prompts" in shown.err


def test_show_prompts(whole: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "i2p", "--n", "2", "--show-prompts"]) == 0
    shown = capsys.readouterr()
    assert "a teapot, on a table beside a window" in shown.out and "redacted" not in shown.err
    assert main(["datasets", "show", "i2p", "--show-prompts", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert [row["prompt"] for row in page["examples"]] == [row["prompt"] for row in rows(5)]
    assert main(["datasets", "show", "i2p", "--n", "0", "--json"]) == 0
    assert "examples" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "argv",
    [
        ["catalog", "show", "i2p", "--json"],
        ["catalog", "query", "SELECT lock, info FROM artifacts", "--json"],
        ["catalog", "ls", "--json"],
        ["verify"],
    ],
)
def test_no_other_command_shows_a_prompt(whole: Artifact, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert not [word for word in WORDS if word in shown.out + shown.err]


def test_other_builders_have_a_plain_page(capsys: pytest.CaptureFixture[str]) -> None:
    artifact = build("icd-qr", overrides=["rows=5"], workers=1)
    page = show("icd-qr")
    assert page.head["id"] == artifact.id and page.head["rows"] == {"train": 4, "test": 1}
    assert main(["datasets", "show", "icd-qr"]) == 0
    assert "train 4, test 1" in capsys.readouterr().out
    with pytest.raises(NotFound, match="dataset"):
        show("truth")
