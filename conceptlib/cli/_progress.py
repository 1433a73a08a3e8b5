"""How far a command is: a bar a stage on a terminal, a line every ten seconds in a file or a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO, Any

from conceptlib.cli._signals import raise_again
from conceptlib.cli._visible import visible_line
from conceptlib.progress import showing

_BAR_DELAY = 2.0  # seconds: shorter jobs need no bar
LINE_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """`progress(stage, done, total)`, as library functions call it; a context manager that ends what it drew.

    A total of 0 is one that nobody knows. A stage whose count goes back begins anew.
    """

    def __init__(self, stream: IO[str], *, enabled: bool = True, every: float = LINE_EVERY) -> None:
        self._shown: _Bars | _Lines | None = None
        self._stack = ExitStack()
        if enabled:
            self._shown = _Bars(stream) if stream.isatty() else _Lines(stream, every)

    def __enter__(self) -> Progress:
        self._stack.enter_context(showing(self))  # what is fetched somewhere below is told here as well
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        if self._shown is not None:
            self._shown.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        raise_again()
        if self._shown is not None:
            self._shown.tell(visible_line(stage), done, total)


class _Bars:
    """One tqdm bar a stage; none for a stage that takes less than two seconds."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._stage, self._since, self._first, self._done = "", 0.0, 0, 0
        self._bar: Any = None

    def tell(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage or done < self._done:
            self.close()
            self._stage, self._since, self._first = stage, now, done
        self._done = done
        if self._bar is None and now - self._since >= _BAR_DELAY and (done < total or not total):
            from tqdm import tqdm

            self._bar = tqdm(
                desc=stage,
                total=total or None,
                initial=self._first,
                file=self._stream,
                dynamic_ncols=True,
                leave=True,
                position=0,  # the only bar, whatever bars other libraries have left behind
            )
        if self._bar is not None:
            self._bar.total = total or None
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._stage = None, ""


class _Lines:
    """A line every few seconds: stage, done, rate, time left; by a thread, so that a long step is seen as well."""

    def __init__(self, stream: IO[str], every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._every, self._clock = stream, every, clock
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stage, self._first, self._done, self._total = "", 0, 0, 0
        self._since = self._moved = 0.0
        self._said = False  # whether this stage had a line

    def tell(self, stage: str, done: int, total: int) -> None:
        now = self._clock()
        with self._lock:
            if stage != self._stage or done < self._done:
                self._finish(now)
                self._stage, self._first, self._since, self._said = stage, done, now, False
            if done != self._done:
                self._moved = now
            self._done, self._total = done, total
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
            self._thread.start()

    def say(self) -> None:
        """The line of this moment, if there is something to tell."""
        with self._lock:
            if self._stage and (self._done < self._total or not self._total):
                self._write(self._line(self._clock()))
                self._said = True

    def close(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            self._finish(self._clock())
            self._stage = ""

    def _watch(self) -> None:
        while not self._end.wait(self._every):
            self.say()

    def _finish(self, now: float) -> None:
        """The last line of a stage that had others."""
        if self._said and self._done >= self._total > 0:
            self._write(f"  {self._stage}: {self._count()}, {duration(now - self._since)}")

    def _count(self) -> str:
        return f"{self._done:,}/{self._total:,}" if self._total else f"{self._done:,}"

    def _line(self, now: float) -> str:
        parts = [f"  {self._stage}: {self._count()}"]
        spent, new = now - self._since, self._done - self._first
        if new > 0 and spent > 0:
            rate = new / spent
            parts.append(f"{rate:,.1f}/s" if rate >= 1 else f"{1 / rate:,.1f} s each")
            if self._total:
                parts.append(f"{duration((self._total - self._done) / rate)} left")
        if now - self._moved > 2 * self._every:
            parts.append(f"the last {duration(now - self._moved)} ago")
        return ", ".join(parts)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # whoever read it is gone; the command itself will hear of it
            self._end.set()


def duration(seconds: float) -> str:
    """`40 s`, `2 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
