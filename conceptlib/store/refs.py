"""What a reference to an artifact says.

icd-qr                    the newest of that name
icd-qr@3f2a               WORD: a version (the first digits of an id), else a subset of that label (i2p@sexual)
i2p@nudity>50             anything with more than letters, digits, ".", "_", "-": a condition, a subset's
i2p@3f2a@nudity>50        the subset of that version
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest

_WORD = re.compile(r"[A-Za-z0-9._-]+")
_VERSION_FIRST = re.compile(r"(?P<version>[A-Za-z0-9._-]+)@(?P<selector>.+)", re.DOTALL)
_QUOTED = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")")
_TIGHT = re.compile(r"\s*([<>=!(),]+)\s*")


@dataclass(frozen=True)
class Ref:
    """name: of the artifact. version: digits of an id. selector: a subset's label or condition, as `tidy` writes it.

    A word after the one `@` may be a version or a label: then it is both, and `word` says so.
    """

    name: str
    version: str = ""
    selector: str = ""
    word: bool = False

    @property
    def base(self) -> str:
        """The reference without the selector."""
        return self.name if self.word or not self.version else f"{self.name}@{self.version}"


def parse_ref(text: str) -> Ref:
    """The parts of a reference. Never fails: what is no reference has a name that no artifact has."""
    name, _, rest = text.partition("@")
    if not rest:
        return Ref(name)
    if _WORD.fullmatch(rest):
        return Ref(name, rest, rest.lower(), word=True)
    if match := _VERSION_FIRST.fullmatch(rest):
        return Ref(name, match["version"], tidy(match["selector"]))
    return Ref(name, "", tidy(rest))


def tidy(condition: str) -> str:
    """A condition so that spaces and capitals outside quotes make no difference: `Nudity > 50` is `nudity>50`."""
    pieces = _QUOTED.split(condition.strip())
    plain = (_TIGHT.sub(r"\1", re.sub(r"\s+", " ", piece.lower())) for piece in pieces[::2])
    return "".join(text for pair in zip_longest(plain, pieces[1::2], fillvalue="") for text in pair)
