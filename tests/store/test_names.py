from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.redaction import refuse_secrets
from conceptlib.store import Artifact, Store, kinds, names

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


@pytest.mark.parametrize("old", ["V1", "a.b", "Parts/x", "con", "aux.x", "x.", "com1"])
@pytest.mark.parametrize("way", ["name", "tag"])
def test_what_exists_keeps_its_name_and_nothing_new_collides_with_it(store: Store, old: str, way: str) -> None:
    """On file systems that take `A` for `a`, and on Windows, which has no file `con`."""
    if way == "tag" and "/" in old:
        old = old.replace("/", "-")
    odd = old in ("con", "aux.x", "com1") or (way == "name" and old.endswith("."))

    def use(word: str, content: str) -> object:
        if way == "tag":
            return store.tag(put(store, "icd-qr", content), word, force=True)
        return put(store, word, content)

    with pytest.MonkeyPatch.context() as earlier:  # a release that knew no such rule
        earlier.setattr(names, "_DEVICES", frozenset())
        if odd and old.endswith("."):
            (store.layout.artifacts / "dataset" / old).mkdir(parents=True)
        use(old, "1")
    use(old, "2")
    for new in {old.swapcase(), old.title()} - {old}:
        with pytest.raises(ConceptlibError, match=f"'{re.escape(old)}' in nothing but capitals") as caught:
            use(new, "3")
        assert repr(old) in caught.value.hint
    if way == "name" and not odd:
        put(store, old.swapcase(), "1", kind="images")  # another kind lies in another folder
        assert len(store.list("dataset")) == 2


@pytest.mark.parametrize("name", ["con", "CON", "nul.v2", "Lpt9", "x."])
def test_names_that_windows_cannot_hold_are_refused_before_any_work(store: Store, name: str) -> None:
    with pytest.raises(ConceptlibError, match="Windows has no file"):
        put(store, name, "1")
    assert not store.layout.drafts.exists()
    made = put(store, "icd-qr/con", "1")  # the folder is called icd-qr+con
    if name != "x.":  # its file is called x..json
        with pytest.raises(ConceptlibError, match="Windows has no file"):
            store.tag(made, name)
    assert not store.tags()


def put(store: Store, name: str, content: str, kind: str = "dataset") -> Artifact:
    with store.draft(kind, name, lock={"content": content}) as draft:
        if draft.done:
            return draft.done
        (draft.path / "x").write_text(content)
        return draft.commit()


def test_every_kind_says_what_makes_it() -> None:
    assert all(kind.made_by.startswith("conceptlib ") for kind in kinds.known())
    with pytest.raises(ConceptlibError, match="unknown kind"):
        kinds.get("model")


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
        refuse_secrets({"params": {"list": ["x", {"url": token}]}}, "lock")
    assert caught.value.where == "lock.params.list[1].url"
    assert token not in str(caught.value)
    with pytest.raises(ConceptlibError) as caught:
        refuse_secrets({token: 1}, "lock")
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
    refuse_secrets({"a": [text, None, 3, True]}, "lock")
