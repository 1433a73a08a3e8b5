"""What is left out of a dataset, and why: one exception, one list of reasons, one way to shorten others' errors."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"<(\w+\.)*(\w+) object at 0x[0-9a-fA-F]+>")


class Reject(Exception):
    """A picture that is not used. `reason` is one of `REASONS`, `detail` says it in words."""

    REASONS = (
        "unreadable",  # no picture, or a format that is not read
        "truncated",  # the file ends too early
        "damaged",  # the file contradicts itself
        "tiny",  # a side below the limit
        "too-large",  # more pixels or bytes than may be read
        "unsupported",  # a picture without a meaning as RGB
        "missing-file",  # named in the metadata, not in the folder
        "refused",  # a path that leads out of its source, or is no regular file; an address
        "no-caption",
        "bad-caption",  # it is no text, or in an encoding that nobody named
        "bad-label",  # it is none of its column's kind
        "bad-row",  # a line of a table that does not fit it
        "has-concept",  # a detector finds the concept in it already
        "no-split",  # it lies in none of the source's splits
        "other-picture",  # another picture of its sample is used
        "duplicate",  # the row key came before
    )

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reject) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


def first_line(error: BaseException) -> str:
    """The first line of somebody else's error, at most 200 characters. Addresses of objects, which differ from run to
    run and tell nobody anything, become words: `<_io.BytesIO object at 0x7f...>` is "the file".
    """
    text = _ADDRESS.sub(lambda found: "the file" if "IO" in found[2] else f"a {found[2]}", str(error).strip())
    return (text or type(error).__name__).splitlines()[0][:200]
