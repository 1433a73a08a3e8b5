"""Things that are done by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

SAVE_EVERY = 60.0
"""Seconds after which a training saves its state, however few steps it took."""


class Every:
    """`due()` once in so many seconds, counted from when it was made and from when it was due last."""

    def __init__(self, seconds: float, clock: Callable[[], float] | None = None) -> None:
        self._seconds, self._clock = seconds, clock or time.monotonic
        self._last = self._clock()

    def due(self) -> bool:
        """Whether the time has come; if so, it starts anew."""
        now = self._clock()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True
