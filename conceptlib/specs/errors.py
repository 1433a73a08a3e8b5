"""The problems of a spec, all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conceptlib.errors import ConceptlibError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (`file:line`, or the override), which field, what about it, and the nearest
    valid value if any.
    """

    where: str
    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        subject = f"{self.field}: " if self.field else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.where}: {subject}{self.message}{hint}"


class SpecError(ConceptlibError):
    """A spec, or several, that cannot be used. `problems` lists everything that is wrong, in the order of the file."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{name} has {count}:{lines}")
