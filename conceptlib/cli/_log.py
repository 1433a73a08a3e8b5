"""What the library logs as a warning, shown as the command line shows its own: Python would print it as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from conceptlib.cli.output import Output


class _Shown(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__(logging.INFO)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._out.warn(record.getMessage())
        else:
            self._out.note(record.getMessage())


@contextmanager
def warnings_shown(out: Output) -> Iterator[None]:
    """Inside the block, warnings of `conceptlib` go to `out`, and which plug-ins run."""
    handler = _Shown(out)
    logger, told = logging.getLogger("conceptlib"), logging.getLogger("conceptlib.plugins")
    logger.addHandler(handler)
    before = told.level
    told.setLevel(logging.INFO)
    try:
        yield
    finally:
        told.setLevel(before)
        logger.removeHandler(handler)
