from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.store import names, secrets

parts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
good = st.lists(parts, min_size=1, max_size=4).map("/".join)


@given(good, good)
def test_folders_stand_for_one_name_each(a: str, b: str) -> None:
    assert names.name_of(names.folder_of(a)) == a
    assert (names.folder_of(a) == names.folder_of(b)) == (a == b)
    assert "/" not in names.folder_of(a)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "/etc",
        "a//b",
        "a/",
        "/a",
        ".hidden",
        "a b",
        "a\\b",
        "a\0",
        "a\n",
        "a+b",
        "C:",
        "x" * 300,
        "é",
    ],
)
def test_names_that_would_leave_the_store_are_refused(name: str) -> None:
    with pytest.raises(ConceptlibError, match="not a name"):
        names.folder_of(name)


def test_every_kind_says_what_makes_it() -> None:
    assert set(names.MADE_BY) == set(names.KINDS)
    with pytest.raises(ConceptlibError, match="unknown kind"):
        names.check_kind("model")


TOKENS = [
    "hf_" + "a1B2" * 8,
    "prefix hf_" + "a1B2" * 8 + " suffix",
    "ghp_" + "a" * 36,
    "github_pat_" + "a" * 30,
    "sk-" + "a" * 30,
    "AKIA" + "A1" * 8,
    "-----BEGIN RSA PRIVATE KEY-----",
    "https://user:secret@example.org/x",
]


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_refused_by_place_and_never_repeated(token: str) -> None:
    with pytest.raises(ConceptlibError) as caught:
        secrets.refuse_secrets({"params": {"list": ["x", {"url": token}]}}, "lock")
    assert caught.value.where == "lock.params.list[1].url"
    assert token not in str(caught.value)
    with pytest.raises(ConceptlibError) as caught:
        secrets.refuse_secrets({token: 1}, "lock")
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "hf_internal_testing/tiny",
        "hf_home",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "https://example.org:8080/a@b",
        "a" * 64,
        "task-based",
        "risk-averse-selection-of-everything-here",
    ],
)
def test_what_is_no_token_passes(text: str) -> None:
    secrets.refuse_secrets({"a": [text, None, 3, True]}, "lock")
