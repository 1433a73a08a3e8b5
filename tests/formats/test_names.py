from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.formats._names import Names, plain


@pytest.mark.parametrize(
    ("image_id", "name"),
    [
        ("row-00000001", "row-00000001"),
        ("cats/one.JPG", "cats-one"),
        ("../../etc/passwd", "etc-passwd"),
        ("/absolute", "absolute"),
        ("v1.5", "v1-5"),
        ("a\0b\nc", "a-b-c"),
        ("котёнок.png", "image"),
        ("", "image"),
        ("con.jpg", "image-con"),
        ("LPT1", "image-LPT1"),
        ("__key__", "key"),
        ("x" * 500, "x" * 100),
    ],
)
def test_plain(image_id: str, name: str) -> None:
    assert plain(image_id) == name


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12), unique=True, max_size=30))
def test_names_are_safe_and_differ_everywhere(image_ids: list[str]) -> None:
    names = Names(image_ids)
    given_ = [names.of(image_id) for image_id in image_ids]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) and len(name) <= 109 for name in given_)
    assert len({name.casefold() for name in given_}) == len(image_ids)


def test_only_those_that_collide_get_a_hash() -> None:
    names = Names(["a/b.jpg", "A-b.png", "c"])
    assert names.of("c") == "c"
    one, other = names.of("a/b.jpg"), names.of("A-b.png")
    assert re.fullmatch(r"a-b-[0-9a-f]{8}", one) and re.fullmatch(r"A-b-[0-9a-f]{8}", other) and one[4:] != other[4:]
