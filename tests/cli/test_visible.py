"""Nothing that a stranger wrote reaches a terminal as a command to it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.cli import _progress
from conceptlib.cli._log import warnings_shown
from conceptlib.cli._visible import visible, visible_json, visible_line
from conceptlib.cli.main import main
from conceptlib.cli.output import Output, Progress
from conceptlib.store import Store

HOSTILE = "a\x1b[31mred\x1b]0;title\x07 \x9b2J\r\x08\x7f\x00 \u202egpj\u2066.exe\u2028\U000e0041"
HARMFUL = set("\x1b\x07\x9b\r\x08\x7f\x00\u202e\u2066\u2028\U000e0041")

SAYS: dict[str, Callable[[Output], Any]] = {
    "table": lambda out: out.table([{HOSTILE: HOSTILE, "list": [HOSTILE]}]),
    "empty table": lambda out: out.table([], empty=HOSTILE),
    "fields": lambda out: out.fields({HOSTILE: HOSTILE}),
    "result": lambda out: out.result({"a": 1}, human=HOSTILE, quiet=HOSTILE),
    "result as fields": lambda out: out.result({HOSTILE: {HOSTILE: HOSTILE}}, quiet=HOSTILE),
    "text": lambda out: out.text(HOSTILE),
    "note": lambda out: out.note(HOSTILE),
    "warn": lambda out: out.warn(HOSTILE),
    "error": lambda out: out.error(HOSTILE, HOSTILE, HOSTILE),
}


@pytest.mark.parametrize("mode", ["human", "quiet", "json"])
@pytest.mark.parametrize("says", SAYS.values(), ids=SAYS.keys())
def test_every_way_to_say_something(says: Callable[[Output], Any], mode: str) -> None:
    stream = io.StringIO()
    says(Output(mode, stdout=stream, stderr=stream))
    assert not HARMFUL & set(stream.getvalue())
    stream.getvalue().encode()


def test_json_says_the_same_as_before() -> None:
    stream = io.StringIO()
    Output("json", stdout=stream).result({HOSTILE: [HOSTILE, "\udcff", "日本 ✓ é"]})
    assert json.loads(stream.getvalue()) == {HOSTILE: [HOSTILE, "\udcff", "日本 ✓ é"]}
    assert "日本 ✓ é" in stream.getvalue()


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text(text: str) -> None:
    for shown in (visible(text), visible_line(text)):
        shown.encode()
        assert all(one.isprintable() or one.isspace() or one in text for one in shown)
        assert not any((ord(one) < 32 and one not in "\n\t") or 127 <= ord(one) < 160 for one in shown)
    assert not set("\n\t") & set(visible_line(text))
    document = json.dumps(text, ensure_ascii=False)
    assert json.loads(visible_json(document)) == json.loads(document)
    visible_json(document).encode()


@pytest.mark.parametrize("text", ["plain", "日本語 ✓ é", "שלום\u200f", "👩\u200d🚀", "two\nlines\tand a tab", ""])
def test_honest_text_stays(text: str) -> None:
    assert visible(text) == text


def test_what_is_shown_instead() -> None:
    assert visible("\x1b[1m\u202e\U000e0041\udcff\r\na\rb") == r"\x1b[1m\u202e\U000e0041\udcff" + "\na\\rb"
    assert visible_line("a\nb\tc") == r"a\nb\tc"


def test_a_second_line_cannot_pass_for_ours() -> None:
    stream = io.StringIO()
    out = Output(stdout=stream, stderr=stream)
    out.error("no such file", where="x\nerror: all is lost")
    out.fields({"k\nerror": "v\nerror: v"})
    assert not [line for line in stream.getvalue().splitlines()[1:] if line.startswith("error")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: clock[0])
    stream = Terminal()
    with Progress(stream) as progress:
        for step in range(5):
            clock[0] += 10
            progress("draw \x1b[31m\u202e", step, 10)
    assert "draw" in stream.getvalue() and "\x1b[31m" not in stream.getvalue() and "\u202e" not in stream.getvalue()


def test_our_own_colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    Output(stderr=stream).error("\x1b[5mx")
    assert stream.getvalue().startswith("\x1b[31m") and "\x1b[5m" not in stream.getvalue()


def test_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    Output(stderr=stream).confirm("remove \x1b[31m?", yes=False)
    assert stream.getvalue() == "remove \\x1b[31m? [y/N] "


def test_what_the_library_logs() -> None:
    stream = io.StringIO()
    with warnings_shown(Output(stderr=stream)):
        logging.getLogger("conceptlib.store.layout").warning("left out: %s", "\x1b[31m")
    assert stream.getvalue() == "warning: left out: \\x1b[31m\n"
    logging.getLogger("conceptlib.store.layout").warning("not ours any more")
    assert "any more" not in stream.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        ["catalog", "ls"],
        ["catalog", "show", "odd"],
        ["catalog", "query", "SELECT info->>'$.caption' AS \"\x1b[31m\" FROM artifacts"],
        ["catalog", "query", "SELECT '\x1b[31m' FROM nothing"],
        ["verify"],
        ["catalog", "show", "\x1b[31mno such\u202e"],
    ],
)
@pytest.mark.parametrize("mode", [[], ["--quiet"], ["--json"]])
def test_commands(words: list[str], mode: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with Store().draft("dataset", "odd", lock={"spec": HOSTILE}) as draft:
        (draft.path / "x").write_text("x")
        artifact = draft.commit(info={"caption": HOSTILE, HOSTILE: 1})
    (artifact.path / "extra\x1b[31m").write_text("x")
    main([*words, *mode])
    captured = capsys.readouterr()
    assert not HARMFUL & set(captured.out + captured.err)
