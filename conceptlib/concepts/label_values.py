"""The words of a dataset's class columns: what may be a target, and what it is a word of.

values = class_values(dataset)             # {"artist": ("Degas", "Monet"), "season": ("summer", "winter")}
column_of("Monet", values)                 # "artist"
"""

from __future__ import annotations

from collections.abc import Mapping

from conceptlib.concepts.labels import labels_of
from conceptlib.concepts.tables import HasPath, ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact

Values = Mapping[str, tuple[str, ...]]
"""Words by label column, sorted."""


def class_values(dataset: Artifact | HasPath) -> Values:
    """The words of every class column: as the manifest lists them, else (it is older, or there are very many) as the
    rows have them.

    Raises:
        ConceptlibError: it holds no pictures, or a shard cannot be read.
    """
    table = ImageTable(dataset)
    labels = labels_of(getattr(dataset, "info", {}), table.labels)
    found = {name: set(label.values or ()) for name, label in labels.items() if label.kind == "class"}
    unlisted = [name for name in found if labels[name].values is None]
    for row in table.rows(columns=unlisted) if unlisted else ():
        for name in unlisted:
            found[name].update(() if row[name] is None else (row[name],))
    return {name: tuple(sorted(words)) for name, words in found.items()}


def column_of(word: str, values: Values) -> str:
    """The one column that a word belongs to; "" if there is none.

    Raises:
        ConceptlibError: it belongs to several.
    """
    found = [name for name, words in values.items() if word in words]
    if len(found) > 1:
        raise ConceptlibError(
            f"{word!r} is a value of {' and of '.join(found)}",
            where="labels",
            hint="build the dataset with one of these columns",
        )
    return found[0] if found else ""


def words_of(column: str, values: Values, where: str) -> tuple[str, ...]:
    """The words of a column.

    Raises:
        ConceptlibError: there is no such class column, or it is empty.
    """
    if not values.get(column):
        there = ", ".join(name for name, words in values.items() if words)
        raise ConceptlibError(
            f"the dataset has no classes in a label column {column!r}",
            where=where,
            hint=f"it has: {there or 'none; build it with labels='}",
        )
    return values[column]
