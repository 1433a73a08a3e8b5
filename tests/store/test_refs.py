"""References: what is a name, a version, a label, a condition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.store.refs import Ref, parse_ref, tidy


@pytest.mark.parametrize(
    ("text", "ref", "base"),
    [
        ("icd-qr", Ref("icd-qr"), "icd-qr"),
        ("geom-erasing/qr@3f2a", Ref("geom-erasing/qr", "3f2a", "3f2a", word=True), "geom-erasing/qr"),
        ("i2p@Self-harm", Ref("i2p", "Self-harm", "self-harm", word=True), "i2p"),
        ("i2p@nudity > 50", Ref("i2p", "", "nudity>50"), "i2p"),
        ("i2p@3f2a@nudity>50", Ref("i2p", "3f2a", "nudity>50"), "i2p@3f2a"),
        ("i2p@3f2a@sexual", Ref("i2p", "3f2a", "sexual"), "i2p@3f2a"),
        ("i2p@prompt = 'x@Y'", Ref("i2p", "", "prompt='x@Y'"), "i2p"),
        ("i2p@illegal activity", Ref("i2p", "", "illegal activity"), "i2p"),
        ("i2p@", Ref("i2p"), "i2p"),
        ("@x", Ref("", "x", "x", word=True), ""),
        ("", Ref(""), ""),
    ],
)
def test_parts(text: str, ref: Ref, base: str) -> None:
    assert parse_ref(text) == ref
    assert ref.base == base


@pytest.mark.parametrize(
    ("condition", "written"),
    [
        ("  A  >= 5\n AND b ", "a>=5 and b"),
        ("a - -b > 1", "a - -b>1"),  # not --, a comment
        ("x = 'It''s  A' OR y", "x='It''s  A' or y"),
        ('"Odd  Name" = 1', '"Odd  Name"=1'),
        ("x = 'never closed", "x='never closed"),
        ("in ( 1 , 2 )", "in(1,2)"),
    ],
)
def test_tidy(condition: str, written: str) -> None:
    assert tidy(condition) == written


@given(st.text(alphabet="aB '\"<>=(),-/*1\n", max_size=30))
def test_tidying_is_done_once_and_loses_nothing(condition: str) -> None:
    once = tidy(condition)
    assert tidy(once) == once
    assert "".join(once.split()).lower() == "".join(condition.split()).lower()


@given(st.text(max_size=30))
def test_any_text_has_parts(text: str) -> None:
    assert parse_ref(text).name == text.partition("@")[0]
