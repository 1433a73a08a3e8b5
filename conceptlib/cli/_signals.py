"""Signals that end a command: all of them as Ctrl-C does, so that work is kept, each with an exit status of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Ended(KeyboardInterrupt):
    """The signal `number` came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Listener:
    """What came. `status`: 128 + the signal's number, as shells have it; 130 for Ctrl-C."""

    number = int(signal.SIGINT)
    came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.number, self.came = number, True
        raise Ended(number)

    @property
    def status(self) -> int:
        return 128 + self.number

    @property
    def what(self) -> str:
        """For the message."""
        return "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"


_listener: Listener | None = None


def raise_again() -> None:
    """Raise `Ended` if a signal came and the work goes on all the same: an exception is lost where it comes up in the
    middle of an import of a C extension, or while an object is destroyed. For whoever is called while work goes on.
    """
    if _listener is not None and _listener.came:
        raise Ended(_listener.number)


@contextmanager
def listening() -> Iterator[Listener]:
    """Ctrl-C, SIGTERM and SIGHUP raise `Ended` in the main thread, until the block ends.

    A shell without job control starts what it puts in the background with SIGINT ignored, and Python leaves it so:
    nothing but SIGKILL would end a command that a script started. SIGHUP stays ignored, since that is what `nohup`
    asks for.
    """
    global _listener
    listener, outer = Listener(), _listener
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.default_int_handler):
            before[signal.SIGINT] = signal.signal(signal.SIGINT, listener)
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, listener)
        _listener = listener
    try:
        yield listener
    finally:
        _listener = outer
        for number, handler in before.items():
            signal.signal(number, handler)
