from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from conceptlib.errors import ConceptlibError
from conceptlib.store import hashing

text = st.text(st.characters(codec="utf-8"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


@given(documents)
def test_canonical_json_reads_back_as_the_same(document: object) -> None:
    assert json.loads(hashing.canonical_json(document)) == document


@given(st.dictionaries(text, scalars, min_size=2, max_size=6))
def test_the_order_of_keys_does_not_matter(document: dict[str, object]) -> None:
    reversed_order = dict(reversed(document.items()))
    assert hashing.digest(document) == hashing.digest(reversed_order)


@given(documents, documents)
def test_different_documents_have_different_digests(a: object, b: object) -> None:
    same_text = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (hashing.digest(a) == hashing.digest(b)) == same_text


def test_the_text_is_the_one_everybody_can_compute() -> None:
    document = {"b": [1, 2.5, None, True], "a": "é"}
    assert hashing.canonical_json(document) == b'{"a":"\\u00e9","b":[1,2.5,null,true]}'
    assert hashing.digest(document) == hashlib.sha256(b'{"a":"\\u00e9","b":[1,2.5,null,true]}').hexdigest()


class Params(BaseModel):
    rows: int = 4
    rate: float = 0.5


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, 2), [1, 2]),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1, 2]]), [[1, 2]]),
        (Path("a") / "b", "a/b"),
        (Params(), {"rows": 4, "rate": 0.5}),
    ],
)
def test_what_is_nearly_json_counts_as_json(value: object, plain: object) -> None:
    assert hashing.canonical_json({"x": value}) == hashing.canonical_json({"x": plain})
    assert hashing.plain(value) == plain


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [0, float("nan")]}, "$.a[1]"),
        ([1, [2.0, float("nan")]], "$[1][1]"),
        ({"a": {"b": float("-inf")}}, "$.a.b"),
        ({"a": {1, 2}}, "$.a"),
        ({"a": "half a pair \ud800"}, "$.a"),
        ({"a": {"\udfff": 1}}, "$.a"),
        ({"a": b"x"}, "$.a"),
        ({"a": {1: "x"}}, "$.a"),
        ([np.array([1.0, np.inf])], "$[0][1]"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: object, where: str) -> None:
    with pytest.raises(ConceptlibError) as caught:
        hashing.canonical_json(value)
    assert caught.value.where == where


@given(st.binary(max_size=100))
def test_bytes_and_files_hash_alike(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "one.bin"
    path.write_bytes(data)
    assert hashing.sha256_file(path) == hashing.sha256_bytes(data) == hashlib.sha256(data).hexdigest()


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_what_is_written_in_pieces_hashes_as_the_whole(pieces: list[bytes]) -> None:
    file = io.BytesIO()
    writer = hashing.HashingWriter(file)
    assert [writer.write(piece) for piece in pieces] == [len(piece) for piece in pieces]
    whole = b"".join(pieces)
    assert (file.getvalue(), writer.count, writer.sha256()) == (whole, len(whole), hashlib.sha256(whole).hexdigest())


def test_a_file_that_takes_less_than_it_is_given_is_given_the_rest() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            return super().write(data[:3])

    file = Slow()
    assert hashing.HashingWriter(file).write(b"0123456789") == 10 and file.getvalue() == b"0123456789"


def test_a_large_file_is_read_in_chunks_that_progress_hears(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "large.bin").write_bytes(data)
    heard: list[int] = []
    assert hashing.sha256_file(tmp_path / "large.bin", heard.append) == hashlib.sha256(data).hexdigest()
    assert sum(heard) == len(data) and len(heard) > 1


def test_tree_digest_sees_paths_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, bytes]) -> str:
        for path, data in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(data)
        return hashing.tree_digest(tmp_path / name)

    first = tree("first", {"a": b"1", "sub/b": b"2"})
    assert tree("second", {"sub/b": b"2", "a": b"1"}) == first
    assert tree("third", {"a": b"2", "sub/b": b"1"}) != first
    assert tree("fourth", {"a": b"1", "b": b"2"}) != first
    (tmp_path / "second" / "empty").mkdir()
    assert hashing.tree_digest(tmp_path / "second") == first
    expected = {"a": hashlib.sha256(b"1").hexdigest(), "sub/b": hashlib.sha256(b"2").hexdigest()}
    assert first == hashing.digest(expected)


def test_tree_digest_refuses_links_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path)
    with pytest.raises(ConceptlibError, match="neither a file nor a folder"):
        hashing.tree_digest(tmp_path / "tree")
    with pytest.raises(ConceptlibError, match="no such folder"):
        hashing.tree_digest(tmp_path / "absent")


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1))
def test_ids_depend_on_kind_content_and_parents(content: str, other: str) -> None:
    base = hashing.artifact_id("dataset", content, {})
    assert len(base) == 16 and int(base, 16) >= 0
    assert (hashing.artifact_id("dataset", other, {}) == base) == (content == other)
    assert hashing.artifact_id("images", content, {}) != base
    assert hashing.artifact_id("dataset", content, {"of": "0" * 16}) != base
