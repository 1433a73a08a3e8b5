"""Raw values to captions: text, nothing, or a reject with its reason; never a guess."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.concepts.rejects import Reject
from conceptlib.concepts.sources.text import caption_beside, caption_text, decode_text, parse_json

TEXTS = {
    "cp1252": "un café à Zürich",
    "gb18030": "一只棕色的狗在海滩上奔跑",
    "cp932": "茶色の犬が浜辺を走っている写真です",
    "big5": "一隻棕色的狗在海灘上奔跑，背景是藍色的大海",
    "cp949": "해변을 달리는 갈색 개의 사진입니다",
    "cp1251": "коричневая собака бежит по пляжу",
}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" a dog ", "a dog"),
        ("nan", "nan"),
        ("", None),
        (None, None),
        (float("nan"), None),
        (np.float32("nan"), None),
        (np.str_("a dog"), "a dog"),
        (["a", "b"], "a"),
        (("", None, "b"), "b"),
        (np.array(["a", "b"]), "a"),
        ([], None),
        ("größe 写真 \u202e".encode(), "größe 写真 \u202e"),
        (b"\xef\xbb\xbfok\r\n", "ok"),
        ("a cat".encode("utf-16"), "a cat"),
        (b"\xfe\xff" + "a cat".encode("utf-16-be"), "a cat"),
        ("一只猫".encode("utf-32"), "一只猫"),
        ("a\0b \x1b[31m", "a\0b \x1b[31m"),
    ],
)
def test_what_is_a_caption(value: Any, text: str | None) -> None:
    assert caption_text(value) == text


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"en": "a"}, "a mapping"),
        (True, "a truth value"),
        (3, "a number"),
        (2.5, r"a number \(2.5\)"),
        (float("inf"), "a number"),
        pytest.param(10**5000, "a number", id="digits"),
        ([3], "a number"),
        ([["a"]], "a list in a list"),
        ("\ud800", "surrogate"),
        (object(), "of type object"),
        ("a cat".encode("utf-16-le"), "utf-16-le"),
        ("一只猫".encode("gbk"), "gb18030"),  # whose bytes are UTF-8 as well: һֻè
        *((text.encode(name), name) for name, text in TEXTS.items()),
    ],
)
def test_what_is_none_says_why(value: Any, detail: str) -> None:
    with pytest.raises(Reject, match=detail) as caught:
        caption_text(value)
    assert caught.value.reason == "bad-caption"


@pytest.mark.parametrize(("name", "text"), TEXTS.items())
def test_the_encoding_can_be_named(name: str, text: str) -> None:
    assert caption_text(text.encode(name), name) == text
    assert caption_text(b"\xef\xbb\xbf" + text.encode(), name) == text  # a mark says more
    with pytest.raises(Reject, match=f"no {name}"):
        caption_text(b"\x81\xff\xff\xa0\x80", name) if name != "cp1251" else caption_text(b"\x98", name)


@pytest.mark.parametrize("text", ["αβγ μm", "naïve μ", "שָׁלוֹם", "مَرْحَبًا", "Đặng Văn", "ǅ ł ß", "e\u0301té", "Хbox"])
def test_alphabets_beside_each_other_are_text(text: str) -> None:
    assert decode_text(text.encode()) == text


@given(st.binary(max_size=60) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_their_utf8_text_or_a_reject(data: bytes) -> None:
    try:
        text = decode_text(data)
    except Reject as reject:
        assert reject.reason == "bad-caption" and reject.detail
        return
    assert text.encode() in (data, data.removeprefix(b"\xef\xbb\xbf")) or data[:2] in (
        b"\xff\xfe",
        b"\xfe\xff",
        b"\0\0",
    )


def test_the_caption_beside_a_picture() -> None:
    files: dict[str, bytes] = {"json": b'{"caption": "from json", "de": "Bild"}', "caption": b"kohya", "tags": b"a, b"}
    assert caption_beside(files.get) == "kohya"
    assert caption_beside((files | {"txt": b" \n"}).get) == "kohya"
    assert caption_beside((files | {"txt": b"text"}).get) == "text"
    assert caption_beside(files.get, "tags") == "a, b" and caption_beside(files.get, "de") == "Bild"
    assert caption_beside({"json": b"[1]"}.get) is None and caption_beside({}.get) is None
    with pytest.raises(Reject, match=r"its \.txt: the text is no UTF-8"):
        caption_beside({"txt": b"caf\xe9"}.get)
    with pytest.raises(Reject, match=r"its \.json: .*a number"):
        caption_beside({"json": b'{"text": 3}'}.get)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "{'a': 1}", "\ufeff{}"])
def test_json_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Reject) as caught:
        parse_json(text)
    assert caught.value.reason == "bad-row"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
        max_leaves=5,
    )
)
def test_any_value_of_json_is_text_nothing_or_a_reject(value: Any) -> None:
    try:
        text = caption_text(parse_json(json.dumps(value)))
    except Reject as reject:
        assert reject.reason == "bad-caption" and not isinstance(value, str)
        return
    assert text is None or (text == text.strip() and text)
