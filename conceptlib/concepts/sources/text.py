"""Captions from whatever a source gives: the one place where a raw value becomes text, nothing, or a `Reject`.

Text is never guessed. Bytes are UTF-8, or start with the mark (BOM) of UTF-8, UTF-16 or UTF-32, or are in the encoding
that the user named (`encoding=`). Of any other the reject says which encoding it looks like: detectors of encodings are
wrong too often about a line of text.
"""

from __future__ import annotations

import codecs
import json
import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from conceptlib.concepts.rejects import Reject, first_line

CAPTION_COLUMNS = ("text", "caption", "prompt")
TEXTS = ("txt", "caption", "text")
"""Endings of a picture's caption file, the first that says something; then `json`."""

_MARKS = (  # of UTF-32 first: it begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Of the encodings that fit a text, the one to name: detectors like to name rare ones that share most letters.
_USUAL = ("cp1252", "gb18030", "cp932", "big5", "cp949", "cp1251", "cp1250", "koi8_r", "cp1253", "cp1254", "cp1256")
_SAMPLE = 4096


def encoding_of(head: bytes, given: str | None) -> str:
    """The encoding of bytes that begin so: by their mark, else the given one, else UTF-8."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), given or "utf-8")


def decode_text(data: bytes, encoding: str | None = None) -> str:
    """The text of encoded bytes.

    Args:
        encoding: what the user says they are in; a mark at their beginning counts more.

    Raises:
        Reject: they are in another encoding, which is named as far as it can be told.
    """
    known = encoding_of(data, encoding)
    try:
        text = data.decode(known)
    except (UnicodeDecodeError, UnicodeError) as error:
        if encoding:
            raise Reject("bad-caption", f"the text is no {encoding}: {first_line(error)}") from error
        raise Reject("bad-caption", not_utf8(data)) from error
    if known == "utf-8" and encoding is None and ("\0" in text or _mixed(text)):
        raise Reject("bad-caption", not_utf8(data))
    return text


def not_utf8(data: bytes) -> str:
    """Why bytes are no UTF-8 text, what they look like, and what to do."""
    name = _suspected(data[:_SAMPLE])
    if name is None:
        return "the text is no UTF-8; say what it is: encoding=..."
    return f"the text is no UTF-8 and looks like {name}; if it is: encoding={name}"


def caption_text(value: Any, encoding: str | None = None) -> str | None:
    """The caption that a raw value of a table, a file or a program stands for; None for none.

    Of a list it is the first that says something. None, NaN and blanks are no caption.

    Raises:
        Reject: a number, a mapping or anything else that is no text; bytes in another encoding.
    """
    if hasattr(value, "tolist") and not isinstance(value, (str, bytes)):  # of NumPy, without importing it
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return _first(value, encoding)
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or type(value).__name__ in ("NAType", "NaTType")
    ):
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = decode_text(bytes(value), encoding)
    if not isinstance(value, str):
        raise Reject("bad-caption", f"the caption is {_called(value)} and no text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Reject("bad-caption", "the caption holds half a surrogate pair") from error
    return str(value).strip() or None


def caption_in(fields: Mapping[str, Any], column: str | None, encoding: str | None = None) -> str | None:
    """The caption among named fields: of `column`, else of the first usual one that is there and says something.
    Raises `Reject`, see `caption_text`.
    """
    for name in CAPTION_COLUMNS if column is None else (column,):
        if text := caption_text(fields.get(name), encoding):
            return text
    return None


def caption_beside(
    read: Callable[[str], bytes | None], column: str | None = None, encoding: str | None = None
) -> str | None:
    """The caption in the files of a picture's name: `NAME.txt`, `.caption`, `.text`, or a column of `NAME.json`.

    Args:
        read: the bytes of the file with that ending, None where there is none; may raise `Reject`.
        column: the ending of the caption's file, or the column of the JSON, instead of the usual ones.

    Raises:
        Reject: one that is there cannot be read, or is no text; the detail begins with its ending.
    """
    for ending in TEXTS if column is None else (column,):
        with _named(ending):
            data = read(ending)
            if data is not None and (text := caption_text(data, encoding)):
                return text
    fields = fields_beside(read, encoding)
    with _named("json"):
        return caption_in(fields, column, encoding)


def fields_beside(read: Callable[[str], bytes | None], encoding: str | None = None) -> Mapping[str, Any]:
    """The fields of `NAME.json` beside a picture, see `caption_beside`; none where there is no such file.

    Raises:
        Reject: it is there and cannot be read; the detail begins with its ending.
    """
    with _named("json"):
        data = read("json")
        fields = None if data is None else parse_json(decode_text(data, encoding))
        return fields if isinstance(fields, dict) else {}


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises `Reject`: it is none, or one that Python cannot hold (thousands of brackets or
    digits)."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Reject("bad-row", "the JSON is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise Reject("bad-row", f"it is no JSON: {error.msg}") from error
    except ValueError as error:
        raise Reject("bad-row", f"the JSON cannot be read: {first_line(error)}") from error


@contextmanager
def _named(ending: str) -> Iterator[None]:
    """Rejects say of which file they speak."""
    try:
        yield
    except Reject as reject:
        reason = "bad-caption" if reject.reason == "bad-row" else reject.reason
        raise Reject(reason, f"its .{ending}: {reject.detail}") from reject


def _first(values: Sequence[Any], encoding: str | None) -> str | None:
    for one in values:
        if isinstance(one, (list, tuple)):
            raise Reject("bad-caption", "the caption is a list in a list")
        if text := caption_text(one, encoding):
            return text
    return None


def _called(value: Any) -> str:
    if isinstance(value, bool):
        return f"a truth value ({value})"
    if isinstance(value, (int, float)):
        return f"a number ({value:g})" if isinstance(value, float) or abs(value) < 10**15 else "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    return f"of type {type(value).__name__}"


def _suspected(data: bytes) -> str | None:
    """The encoding that bytes without a mark look like."""
    if b"\0" in data:
        return "utf-16-be" if data[::2].count(0) > data[1::2].count(0) else "utf-16-le"
    if _is_text(data, "utf-8"):  # GBK whose bytes happen to be UTF-8 as well
        return "gb18030"
    from charset_normalizer import from_bytes

    found = from_bytes(data)
    best = found.best()
    if best is None:
        return None
    fitting = {name for one in found if one.chaos <= best.chaos for name in one.could_be_from_charset}
    return next((name for name in _USUAL if name in fitting), best.encoding)


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


def _mixed(text: str) -> bool:
    """Whether text is likely GBK that happens to be UTF-8 too: a word of letters from several alphabets beside Latin
    ones, and no character that GBK's pairs could not give.
    """
    if text.isascii() or any(char > "\u07ff" for char in text):
        return False
    word = set[str]()
    for char in text:
        kind = unicodedata.category(char)[0]
        if char.isascii() or kind not in "LM":
            word = set()
            continue
        name = unicodedata.name(char, "").split(" ")[0]
        if name != "COMBINING":
            word.add(name)
        if len(word) > 1:
            return _is_text(text.encode(), "gb18030")
    return False
