from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.specs import SpecError
from conceptlib.specs.yaml_io import MAX_BYTES, parse_document, parse_value, read_document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5000.0),
        (".5", 0.5),
        ("-0x1F", "-0x1F"),
        ("0x1F", 31),
        ("010", "010"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("", None),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{a: {b: [true]}}", {"a": {"b": [True]}}),
        ("'64'", "64"),
        ("héllo ☃", "héllo ☃"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


json_values = st.recursive(  # JSON has no infinities: what `json.dumps` writes for them, no other reader knows
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), json_values, min_size=1, max_size=4))
def test_what_json_can_say_is_read_as_json_reads_it(data: dict[str, object]) -> None:
    import json

    # JSON escapes characters outside the BMP as surrogate pairs, which YAML does not know; write those as they are.
    text = json.dumps(data, ensure_ascii=False)
    printable = all(ch.isprintable() and ch not in "\ufeff" for ch in text)
    if printable:
        assert parse_document(text, "x").data == data


def test_every_value_has_its_line() -> None:
    document = parse_document("a: 1\nb:\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n", "f.yaml")
    assert document.where(("a",)) == "f.yaml:1"
    assert document.where(("b", "c")) == "f.yaml:3"
    assert document.where(("b", "c", 1, "e")) == "f.yaml:6"
    assert document.where(("b", "c", 7, "nothing")) == "f.yaml:3"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: &x [1]\nb: *x\n", 1, "anchors and aliases"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\nb: 2\na: 3\n", 3, "given twice, first on line 1"),
        ("a:\n  x: 1\n  x: 2\n", 3, "given twice"),
        ("a: 1\n2: x\n", 2, "key must be a string"),
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("- 1\n- 2\n", 1, "must be a mapping"),
        ("just words\n", 1, "must be a mapping"),
        ("", 1, "must be a mapping"),
    ],
)
def test_refused_with_the_line(text: str, line: int, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_document(text, "f.yaml")
    assert caught.value.problems[0].where == f"f.yaml:{line}"
    assert message in caught.value.problems[0].message


def test_all_duplicate_keys_are_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_document("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n", "f.yaml")
    assert [problem.field for problem in caught.value.problems] == ["a", "b.c"]


def test_a_billion_laughs_is_refused_before_it_unfolds() -> None:
    layers = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(SpecError, match="anchors"):
        parse_document("\n".join(layers), "bomb.yaml")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(SpecError, match="nested more than 32"):
        parse_document("a: " + "[" * 5000, "deep.yaml")


def test_unreadable_files(tmp_path) -> None:
    big = tmp_path / "big.yaml"
    big.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(SpecError, match="larger than 256 KiB"):
        read_document(big)
    binary = tmp_path / "latin.yaml"
    binary.write_bytes(b"a: caf\xe9\n")
    with pytest.raises(SpecError, match=r"not UTF-8 text \(byte 6\)"):
        read_document(binary)
    with pytest.raises(SpecError, match="cannot be read"):
        read_document(tmp_path / "missing.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        read_document(tmp_path)
    bom = tmp_path / "bom.yaml"
    bom.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_document(bom).data == {"a": 1, "b": 2}


def test_the_safe_loader_of_others_is_untouched() -> None:
    assert yaml.safe_load("a: no") == {"a": False}


def test_not_a_number_is_read_and_left_to_the_schema() -> None:
    assert math.isnan(parse_value(".nan"))
    assert parse_value("-.inf") == -math.inf
    assert parse_value("Infinity") == "Infinity"


@given(st.floats(allow_nan=False))
def test_every_float_is_read_as_yaml_writes_it(number: float) -> None:
    assert parse_document(yaml.safe_dump({"a": number}), "x").data == {"a": number}


@pytest.mark.parametrize("text", ["[1", "1\nvalue2: 3", "{a: 1", "&x 1", "a: b"])
def test_override_values_that_are_no_value(text: str) -> None:
    if "\n" in text:
        assert parse_value(text) == text  # an argument with a newline is a string, not more YAML
    else:
        with pytest.raises(ValueError, match=r"valid|anchors"):
            parse_value(text)
