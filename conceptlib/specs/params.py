"""The base of every registered module's `Params`, and field types that they share.

A builder, adapter, method or suite says what its spec may contain by a class

    class Params(conceptlib.specs.Params):
        rows: Annotated[int, Field(ge=1)] = 4096
        opacity: Annotated[FloatRange, within(0, 1)] = (0.8, 1.0)

in its module. Importing that module must cost milliseconds: specs are validated before anything heavy is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

T = TypeVar("T", int, float)
WHOLE = {"fields": "all"}
"""A context for `Params.model_dump`: with the fields that are `later`, at their defaults too."""


class Params(BaseModel):
    """Parameters of one registered module: unknown keys are errors, values cannot change, NaN and infinities are
    refused.

    `later` names the fields that came after artifacts had been made without them. While such a field has its default,
    under which everything is as it was before, it is left out of what is dumped, so that the locks, and with them the
    keys, of what was made before stay the same. `model_dump(context=WHOLE)` has all fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        if info.context == WHOLE:
            return values
        unused = {name for name in self.later if getattr(self, name) == fields[name].get_default()}
        return {name: value for name, value in values.items() if name not in unused}


def _ordered(pair: tuple[T, T]) -> tuple[T, T]:
    if pair[0] > pair[1]:
        raise ValueError(f"a range is [low, high], and {pair[0]} is more than {pair[1]}")
    return pair


FloatRange = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""`[low, high]` with low ≤ high; both ends belong to it."""

IntRange = Annotated[tuple[int, int], AfterValidator(_ordered)]
"""`[low, high]` of whole numbers with low ≤ high; both ends belong to it."""


def within(low: float, high: float) -> AfterValidator:
    """Metadata for a range field: both ends must lie in [low, high]."""

    def check(pair: tuple[T, T]) -> tuple[T, T]:
        if pair[0] < low or pair[1] > high:
            raise ValueError(f"the range must lie within [{low:g}, {high:g}]")
        return pair

    return AfterValidator(check)


Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share, in [0, 1]."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
