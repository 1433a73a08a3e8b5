"""The errors that a user can do something about.

Every one says what went wrong, where, and what to do next; the command line prints these three and no traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConceptlibError(Exception):
    """Something went wrong that the user can act on. Exit status 1.

    what: one sentence. where: the file, row, artifact or option it is about. hint: the next thing to do, if possible
    a command.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"({self.where})")
        text = " ".join(parts)
        return f"{text}. {self.hint}" if self.hint else text


class UsageError(ConceptlibError):
    """The request itself makes no sense (contradicting options, missing confirmation). Exit status 2."""

    exit_code = 2


class NotFound(ConceptlibError):
    """A name that nothing answers to; the hint names the nearest ones."""


def nearest(name: str, candidates: Iterable[str], count: int = 1) -> list[str]:
    """The candidates most like `name`, best first; empty when none is alike."""
    return difflib.get_close_matches(name, list(candidates), n=count, cutoff=0.5)


def did_you_mean(name: str, candidates: Iterable[str], *, listing: str = "one of") -> str:
    """A hint for an unknown name: the nearest candidate, or all of them when none is alike and they are few."""
    known = sorted(set(candidates))
    close = nearest(name, known)
    if close:
        return f"did you mean {close[0]!r}?"
    if not known:
        return "there are none yet"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"{listing}: {shown}"
