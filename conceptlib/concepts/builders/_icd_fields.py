"""Types of fields of `icd`'s parameters."""

from __future__ import annotations

import codecs
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from conceptlib.concepts.labels import Kind, columns_of


def _encoding(name: str) -> str:
    try:
        known = codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise ValueError(f"there is no encoding {name!r}; cp1252, gb18030 and cp932 are often meant") from error
    if not known._is_text_encoding:
        raise ValueError(f"{name!r} is no encoding of text")
    return name


def _columns(given: tuple[str, ...] | dict[str, Kind]) -> tuple[str, ...] | dict[str, Kind]:
    columns_of(given)
    return given


def _listed(given: Any) -> Any:
    if isinstance(given, str):
        return (given,)
    return tuple(given) if isinstance(given, list) else given


Encoding = Annotated[str, AfterValidator(_encoding)]
Labels = Annotated[tuple[str, ...] | dict[str, Kind], BeforeValidator(_listed), AfterValidator(_columns)]
