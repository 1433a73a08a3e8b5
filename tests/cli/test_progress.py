"""Bars and lines, by a clock of our own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest

from conceptlib.cli import _progress
from conceptlib.cli._progress import Progress, _Lines, duration
from conceptlib.cli.output import Output
from tests.test_processes import wait_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bars(steps: Iterator[tuple[float, tuple[str, int, int]]], monkeypatch: pytest.MonkeyPatch) -> str:
    now = 0.0
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now)
    stream = Terminal()
    with Progress(stream) as progress:
        for seconds, call in steps:
            now += seconds
            progress(*call)
    return stream.getvalue()


def test_a_bar_appears_for_a_long_stage_only(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [(0.1, ("quick", step, 10)) for step in range(11)]
    slow = [(1.0, ("slow", step, 10)) for step in range(11)]
    shown = bars(iter([*quick, *slow, (0.1, ("next", 0, 5))]), monkeypatch)
    assert "slow" in shown and "10/10" in shown and "quick" not in shown and "next" not in shown


def test_a_bar_of_an_unknown_total_counts_and_one_that_goes_back_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = bars(iter([(1.0, ("read", 100 * step, 0)) for step in range(5)]), monkeypatch)
    assert re.search(r"read: .*400", shown) and "%" not in shown
    shown = bars(iter([(1.0, ("draw", step % 5, 8)) for step in range(10)]), monkeypatch)
    assert shown.count("\n") == 2


class Log:
    """Lines of a stage with 10 seconds between two."""

    def __init__(self) -> None:
        self.now, self.stream = 0.0, io.StringIO()
        self.lines = _Lines(self.stream, 1e9, clock=lambda: self.now)

    def after(self, seconds: float, *calls: tuple[str, int, int]) -> list[str]:
        for call in calls:
            self.lines.tell(*call)
        self.now += seconds
        self.lines.say()
        return self.stream.getvalue().splitlines()


def test_a_line_tells_stage_count_rate_and_time_left() -> None:
    log = Log()
    assert log.after(10, ("train", 0, 400)) == ["  train: 0/400"]
    assert log.after(10, ("train", 100, 400))[-1] == "  train: 100/400, 5.0/s, 1 min 0 s left"
    assert log.after(380, ("train", 101, 400))[-1].startswith("  train: 101/400, 4.0 s each, 19 min ")
    log.lines.tell("train", 400, 400)
    log.lines.close()
    assert log.stream.getvalue().splitlines()[-1] == "  train: 400/400, 6 min 40 s"


def test_a_resumed_stage_has_the_rate_of_now() -> None:
    log = Log()
    log.lines.tell("train", 300, 400)
    log.now = 10
    assert log.after(10, ("train", 320, 400)) == ["  train: 320/400, 1.0/s, 1 min 20 s left"]


def test_a_stage_without_a_total_and_large_numbers() -> None:
    assert Log().after(10, ("read", 0, 0), ("read", 12_000, 0)) == ["  read: 12,000, 1,200.0/s"]


def test_a_stage_that_stands_still_says_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    log.lines._every = 10
    log.lines.tell("train", 0, 9)
    log.now = 5
    log.lines.tell("train", 1, 9)
    assert log.after(50)[-1] == "  train: 1/9, 55.0 s each, 7 min 20 s left, the last 50 s ago"


def test_a_short_stage_says_nothing_and_a_done_one_no_more() -> None:
    log = Log()
    log.lines.tell("quick", 0, 3)
    log.lines.tell("quick", 3, 3)
    assert log.after(20, ("next", 5, 5)) == []
    log.lines.close()
    assert log.stream.getvalue() == ""


def test_lines_come_by_themselves_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with Progress(stream, every=0.01) as progress:
        progress("train", 1, 3)
        wait_for(lambda: stream.getvalue().count("train: 1/3") > 2)
    count = len(stream.getvalue())
    progress("train", 2, 3)  # closed: whoever still tells is not heard twice
    assert len(stream.getvalue()) == count


def test_a_stream_that_is_gone_stops_the_lines_and_nothing_else() -> None:
    stream = io.StringIO()
    with Progress(stream, every=0.01) as progress:
        stream.close()
        progress("train", 1, 3)
        wait_for(lambda: progress._shown._end.is_set())  # type: ignore[union-attr]
        progress("train", 2, 3)


def test_quiet_shows_nothing() -> None:
    stream = Terminal()
    with Output("quiet", stderr=stream).progress() as progress:
        progress("train", 1, 3)
        assert progress._shown is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3599.9, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
