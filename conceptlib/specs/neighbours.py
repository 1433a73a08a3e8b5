"""What a recipe's `neighbours:` may say: which phrases should survive, by hand or by a rule that finds them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from conceptlib.specs.params import Params, PositiveFloat

Survivor = Annotated[str, Field(min_length=1, max_length=500)]
Count = Annotated[int, Field(ge=0, le=100_000)]


class NeighbourSpec(Params):
    """Phrases that should survive an erasure. A plain list in a recipe means `given`.

    given: by hand. nearest: how many words of the model's vocabulary, the nearest to the concept first. gaussian: how
    many samples around the concept's embedding, each decoded to the nearest real word. spread: how far such a sample
    lies from the concept, as a share of the embedding's length.
    """

    given: tuple[Survivor, ...] = ()
    nearest: Count = 0
    gaussian: Count = 0
    spread: PositiveFloat = 0.5

    @model_validator(mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        fields = {"given": value} if isinstance(value, list | tuple) else value
        if isinstance(fields, dict) and isinstance(fields.get("given"), list):
            # What a validator hands on is Python's, no longer JSON's: a strict tuple has to be one.
            return {**fields, "given": tuple(fields["given"])}
        return fields

    def __bool__(self) -> bool:
        return bool(self.given or self.nearest or self.gaussian)
