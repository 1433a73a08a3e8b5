"""The one type of progress, and how it reaches what has no parameter for it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import conceptlib
from conceptlib import progress
from conceptlib.cli.output import Output


def test_what_is_shown_is_that_of_the_innermost_block() -> None:
    told: list[tuple[str, int, int]] = []

    def outer(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    assert progress.shown() is None
    with progress.showing(outer):
        with progress.showing(lambda *_: None):
            assert progress.shown() is not outer
        assert progress.shown() is outer
    assert progress.shown() is None


def test_a_command_shows_its_own() -> None:
    with Output(stderr=io.StringIO()).progress() as own:
        assert progress.shown() is own
    assert progress.shown() is None


def test_a_prefix() -> None:
    told: list[tuple[str, int, int]] = []
    named = progress.prefixed(lambda stage, done, total: told.append((stage, done, total)), "1/2 esd")
    assert named is not None
    named("train", 1, 9)
    assert told == [("1/2 esd: train", 1, 9)] and progress.prefixed(None, "x") is None


def test_the_signature_stands_in_one_place() -> None:
    root = Path(conceptlib.__file__).parent
    again = re.compile(r"Callable\[\[str, int, int\], None\]")
    assert [str(path) for path in root.rglob("*.py") if again.search(path.read_text("utf-8"))] == []
