"""What the library logs as a warning, shown as the command line shows its own: Python would print it as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from conceptlib.cli.output import Output


class _Shown(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.warn(record.getMessage())


@contextmanager
def warnings_shown(out: Output) -> Iterator[None]:
    """Inside the block, warnings of `conceptlib` go to `out`."""
    handler = _Shown(out)
    logger = logging.getLogger("conceptlib")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
