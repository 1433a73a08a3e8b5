from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from pydantic import ValidationError

from conceptlib.specs import FloatRange, Fraction, IntRange, Params, PositiveInt, within
from conceptlib.specs.params import WHOLE
from conceptlib.specs.schema import Spec


class Example(Params):
    size: Annotated[FloatRange, within(0, 1)] = (0.1, 0.5)
    version: IntRange = (1, 10)
    rate: Fraction = 0.5
    rows: PositiveInt = 1


def test_defaults_and_dump() -> None:
    assert Example().model_dump(mode="json") == {"size": [0.1, 0.5], "version": [1, 10], "rate": 0.5, "rows": 1}


def test_equal_ends_are_a_range() -> None:
    assert Example(size=(0.3, 0.3), version=(4, 4)).version == (4, 4)
    assert Example(size=(0, 1)).size == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": (0.5, 0.1)}, "0.5 is more than 0.1"),
        ({"size": (0.5, 1.1)}, r"within \[0, 1\]"),
        ({"size": (-0.1, 1)}, r"within \[0, 1\]"),
        ({"size": (0.1,)}, "required"),
        ({"size": (0.1, 0.2, 0.3)}, "at most 2 items"),
        ({"size": (0.1, float("nan"))}, "finite"),
        ({"version": (3, 1)}, "3 is more than 1"),
        ({"rate": 1.5}, "less than or equal to 1"),
        ({"rate": float("inf")}, "finite"),
        ({"rows": 0}, "greater than or equal to 1"),
        ({"unknown": 0}, "not permitted"),
    ],
)
def test_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Example(**values)


def test_values_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Example().rows = 2


def test_a_wrong_default_is_found() -> None:
    class Broken(Params):
        rate: Fraction = 7

    with pytest.raises(ValidationError):
        Broken()


class Grown(Example):
    later: ClassVar[frozenset[str]] = frozenset({"blur", "shape"})
    blur: FloatRange = (0.0, 0.0)
    shape: str | None = None


class Outer(Params):
    inner: Grown = Grown()


def test_fields_that_came_later_are_in_no_lock_until_they_are_used() -> None:
    before = Example().model_dump(mode="json")
    assert Grown().model_dump(mode="json") == before == Outer().model_dump(mode="json")["inner"]
    assert Grown(blur=(0, 0), shape=None).model_dump(mode="json") == before
    assert Grown(blur=(0, 2)).model_dump(mode="json") == before | {"blur": [0, 2]}
    assert Grown(shape="dots").model_dump(exclude={"rate"}) == {
        **Example().model_dump(exclude={"rate"}),
        "shape": "dots",
    }


def test_fields_that_came_later_are_shown() -> None:
    spec = Spec(kind="dataset", name="a", params=Outer())
    assert "blur" not in spec.resolved()["params"]["inner"]
    assert spec.resolved(whole=True)["params"]["inner"]["blur"] == [0, 0]
    assert Outer().model_dump(context=WHOLE)["inner"]["shape"] is None
