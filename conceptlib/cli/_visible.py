"""What a terminal may be given: text whose control characters are written out, so that they do nothing.

Captions, file names and messages of other programs come from strangers. An escape sequence in one could colour, move or
retype what the user sees; a bidirectional override could turn `exe.gpj` round. They are shown as Python writes them:
`\\x1b[31m`, `\\u202e`.
"""

from __future__ import annotations

import re

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1 (`\x9b` opens a sequence too)
_BIDI = "\u202a-\u202e\u2066-\u2069"  # embeddings, overrides and isolates; the marks that Hebrew and Arabic use stay
_LINES = "\u2028\u2029"  # line and paragraph separators, which some terminals break lines at
_UNSEEN = "\ufff9-\ufffb\U000e0000-\U000e007f"  # annotations, and tags that spell text which nobody sees
_HALVES = "\ud800-\udfff"  # halves of surrogate pairs: bytes of a file name that are no UTF-8

_FORBIDDEN = re.compile(f"[{_CONTROLS}{_BIDI}{_LINES}{_UNSEEN}{_HALVES}]")
_FORBIDDEN_IN_A_LINE = re.compile(f"[\t\n{_CONTROLS}{_BIDI}{_LINES}{_UNSEEN}{_HALVES}]")


def visible(text: str) -> str:
    """``text`` for a terminal. Line feeds and tabs stay, CR LF is a line feed; every other control is written out."""
    return _FORBIDDEN.sub(_written, text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """The same for what is one line, whatever it holds: a path, a stage, the key of a field."""
    return _FORBIDDEN_IN_A_LINE.sub(_written, text)


def visible_json(document: str) -> str:
    """A JSON document that says the same and holds no control characters: JSON has escapes of its own.

    ``json.dumps`` escapes those below 0x20; here come the others. All stand inside strings.
    """
    return _FORBIDDEN.sub(_escaped, document)


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(match[0])
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k] << 8 | units[k + 1]:04x}" for k in range(0, len(units), 2))
