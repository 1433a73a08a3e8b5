from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from conceptlib.cli.output import Output, format_cell, jsonable, redact, render_table
from conceptlib.errors import ConceptlibError, UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def sink(mode: str) -> tuple[Output, io.StringIO, io.StringIO]:
    stdout, stderr = io.StringIO(), io.StringIO()
    return Output(mode, stdout=stdout, stderr=stderr), stdout, stderr


ROWS = [{"name": "a", "n": 1, "x": 0.123456, "tags": ["p", "q"]}, {"name": "long", "n": 20, "x": None, "tags": []}]


def test_table_for_people() -> None:
    out, stdout, _ = sink("human")
    out.table(ROWS)
    assert stdout.getvalue().splitlines() == [
        "name   n       x  tags",
        "a      1  0.1235  p, q",
        "long  20       -  -",
    ]


def test_table_for_json_and_scripts() -> None:
    out, stdout, _ = sink("json")
    out.table(ROWS, ["name"])
    assert json.loads(stdout.getvalue()) == ROWS
    out, stdout, _ = sink("quiet")
    out.table(ROWS, ["x", "name"], quiet="name")
    assert stdout.getvalue() == "a\nlong\n"


def test_an_empty_table() -> None:
    for mode, expected in (("human", ""), ("json", "[]\n"), ("quiet", "")):
        out, stdout, stderr = sink(mode)
        out.table([], ["name"], empty="no datasets yet")
        assert stdout.getvalue() == expected
        assert stderr.getvalue() == ("no datasets yet\n" if mode == "human" else "")


def test_a_wide_table_is_cut_to_the_terminal() -> None:
    shown = render_table([{"a": "x" * 50, "b": "y" * 50}], ["a", "b"], width=60)
    assert [len(line) <= 60 for line in shown.splitlines()] == [True, True]
    assert shown.endswith("…")


def test_result_in_each_mode() -> None:
    for mode, expected in (("human", "made it\n"), ("quiet", "abc\n"), ("json", '{\n  "id": "abc"\n}\n')):
        out, stdout, _ = sink(mode)
        out.result({"id": "abc"}, human="made it\n", quiet="abc")
        assert stdout.getvalue() == expected
    out, stdout, _ = sink("human")
    out.result({"id": "abc", "longer": None})
    assert stdout.getvalue() == "id      abc\nlonger  -\n"
    out, stdout, _ = sink("quiet")
    out.result({"id": "abc"})
    assert stdout.getvalue() == ""


def test_notes_go_to_stderr_and_warnings_are_never_silent() -> None:
    for mode, expected in (("human", "note\nwarning: w\n"), ("json", "note\nwarning: w\n"), ("quiet", "warning: w\n")):
        out, stdout, stderr = sink(mode)
        out.note("note")
        out.warn("w")
        assert stderr.getvalue() == expected
        assert stdout.getvalue() == ""


@dataclass
class Point:
    x: float
    path: Path


def test_jsonable() -> None:
    value = {
        "array": np.arange(3, dtype=np.float32),
        "scalar": np.float64("nan"),
        "int": np.int64(3),
        "inf": float("inf"),
        "point": Point(1.5, Path("a/b")),
        7: (True, None),
    }
    assert json.loads(json.dumps(jsonable(value), allow_nan=False)) == {
        "array": [0, 1, 2],
        "scalar": None,
        "int": 3,
        "inf": None,
        "point": {"x": 1.5, "path": "a/b"},
        "7": [True, None],
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), ("", "-"), (True, "yes"), (1 / 3, "0.3333"), (12, "12"), ([1, 0.5], "1, 0.5"), ("a\n b", "a b")],
)
def test_cells(value: object, shown: str) -> None:
    assert format_cell(value) == shown


def test_tokens_are_masked_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-shaped-like-one")
    token = "hf_" + "aB3" * 11
    out, stdout, stderr = sink("json")
    out.result({"header": f"Bearer {token}", "env": "not-shaped-like-one"})
    out.error(f"bad token {token}", where="not-shaped-like-one", hint=token)
    shown = stdout.getvalue() + stderr.getvalue()
    assert token not in shown and "not-shaped-like-one" not in shown
    assert shown.count("hf_***") == 5


@pytest.mark.parametrize("text", ["hf_hub_download", "the hf_transfer option", "shelf_abc", "hf://datasets/x"])
def test_words_that_are_no_token_stay(text: str) -> None:
    assert redact(text) == text


def test_no_colour_without_a_terminal_or_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), io.StringIO()
    Output(stderr=coloured).error("x")
    Output(stderr=plain).error("x")
    assert "\x1b[" in coloured.getvalue()
    assert plain.getvalue() == "error: x\n"
    monkeypatch.setenv("NO_COLOR", "1")
    quiet = Terminal()
    Output(stderr=quiet).error("x")
    assert quiet.getvalue() == "error: x\n"


def test_a_terminal_that_knows_no_unicode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Output(stdout=stream).text("± 3 × 4")
    assert raw.getvalue() == b"? 3 ? 4\n"


def test_confirm(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _, stderr = sink("human")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    out.confirm("remove it?", yes=True)
    with pytest.raises(UsageError) as caught:
        out.confirm("remove it?", yes=False)
    assert caught.value.hint == "say --yes"
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    out.confirm("remove it?", yes=False)
    assert stderr.getvalue() == "remove it? [y/N] "
    for answer in ("n\n", "\n", "", "yess\n"):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        with pytest.raises(ConceptlibError, match="not confirmed"):
            out.confirm("remove it?", yes=False)


def test_wide_characters_keep_the_columns_aligned() -> None:
    rows = [{"name": "絵文字の猫", "n": 1}, {"name": "cafe\u0301", "n": 22}, {"name": "🐈 cat", "n": 333}]
    head, *lines = render_table(rows, ["name", "n"]).splitlines()
    assert head == "name          n"
    assert lines == ["絵文字の猫    1", "cafe\u0301         22", "🐈 cat      333"]
    assert render_table(rows, ["name", "n"], width=8).splitlines()[1] == "絵文字…"
