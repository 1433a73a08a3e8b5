"""Prompts from files of a user's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.job import Job
from conceptlib.evaluators.prompts import file
from conceptlib.specs import load_spec
from conceptlib.store import Store
from conceptlib.store.seeds import row_seed


def job() -> Job:
    about: dict[str, Any] = dict.fromkeys(("detector", "device", "dtype"))
    named = {"concepts": (), "targets": (), "progress": lambda stage, done, total: None}
    return Job(load_spec("suite", "icd"), Store(), "x", False, None, "x", **named, **about)


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.txt", "one\n\n two \n", [("one", None), ("two", None)]),
        ("a.csv", 'prompt,seed\none,7\n"two, three",\n', [("one", 7), ("two, three", None)]),
        ("a.csv", 'prompt,seed\n"two\nlines",7\nnext\u2028here\n', [("two\nlines", 7), ("next\u2028here", None)]),
        ("a.txt", "one\u2028still one\ntwo\x85\n", [("one\u2028still one", None), ("two", None)]),
        (
            "a.jsonl",
            '{"caption": "one\u2028still one"}\r\n{"text": "two"}',
            [("one\u2028still one", None), ("two", None)],
        ),
        ("a.jsonl", '{"caption": "one", "seed": 7}\n\n{"text": "two"}\n', [("one", 7), ("two", None)]),
    ],
)
def test_a_row_has_its_seed_or_one_of_the_suites(name: str, text: str, rows: list[tuple[str, int | None]]) -> None:
    Path(name).write_text(text, encoding="utf-8")
    found = file.prompts(file.Params(path=name), job())
    assert [(row["caption"], row["seed"]) for row in found.rows] == [
        (caption, row_seed(0, k) if seed is None else seed) for k, (caption, seed) in enumerate(rows)
    ]
    assert found.lock["captions"] == "file" and not found.target
    assert file.prompts(file.Params(path=name, n=1), job()).lock != found.lock


def test_what_else_a_table_says() -> None:
    Path("a.csv").write_text("prompt,value,mood\na cat,cat,calm\na dog,dog,\na cat again,cat,wild\n")
    found = file.prompts(file.Params(path="a.csv", target="cat"), job())
    assert (found.target, found.neighbours, found.columns, found.stated) == ("cat", ("dog",), ("mood",), ())
    assert found.of("cat").tolist() == [True, False, True]
    with pytest.raises(ConceptlibError, match="no row has the value 'cow'"):
        file.prompts(file.Params(path="a.csv", target="cow"), job())


def test_every_row_has_its_columns() -> None:
    Path("a.csv").write_text("prompt,mood,style\na cat,,drawn\na dog,wild,\n")
    assert set(file.prompts(file.Params(path="a.csv"), job()).columns) == {"mood", "style"}


def test_beside_a_target_every_row_has_a_value() -> None:
    """Else it was told by the picture, after everything was drawn."""
    Path("a.csv").write_text("prompt,value\na cat,cat\na thing,\n")
    assert len(file.prompts(file.Params(path="a.csv"), job()).rows) == 2
    with pytest.raises(ConceptlibError, match="no value") as caught:
        file.prompts(file.Params(path="a.csv", target="cat"), job())
    assert "row 2" in caught.value.where


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no prompts"),
        ("prompt,seed\n,3\n", "no prompt"),
        ("prompt,seed\na,x\n", "no whole number"),
        ("prompt,seed\na,1\nb, c,2\n", "row 2.*more cells"),
    ],
)
def test_a_wrong_row_is_told(text: str, said: str) -> None:
    Path("a.csv").write_text(text)
    with pytest.raises(ConceptlibError) as caught:
        file.prompts(file.Params(path="a.csv"), job())
    assert re.search(said, f"{caught.value.where}: {caught.value.what}")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        file.prompts(file.Params(path="none.csv"), job())
