"""Prompts of a file of one's own: a line each (`.txt`), or a table (`.csv`, `.jsonl`) with a column `prompt`.

Of a table, `seed` decides the noise of a row (else the suite's seed and the row's number do), `value` says what the
prompt names, and other columns of text are label columns.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from conceptlib.errors import ConceptlibError
from conceptlib.evaluators.base import Prompts
from conceptlib.specs.params import Params as BaseParams
from conceptlib.store.hashing import digest
from conceptlib.store.seeds import row_seed

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job

_TEXT = ("prompt", "caption", "text")


class Params(BaseParams):
    """path: the file. n: how many of its prompts, from the first on; null for all. target: the `value` that was
    erased.
    """

    path: Annotated[str, Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    target: str | None = None


def prompts(params: Params, job: Job) -> Prompts:
    """The file's prompts, in order.

    Raises:
        ConceptlibError: no such file, a row without a prompt, no row that names the target, or a row that names nothing
            where there is a target.
    """
    path = Path(params.path).expanduser()
    rows = read(path)[: params.n]
    if not rows:
        raise ConceptlibError("there are no prompts in this file", where=path)
    for index, row in enumerate(rows):
        row["seed"] = row_seed(job.spec.seed, index) if row["seed"] is None else row["seed"]
    names = dict.fromkeys(name for row in rows for name in row)  # a row may leave any of them out
    columns = [name for name in names if name not in ("caption", "seed", "value")]
    stated = [name for name in columns if all(row.get(name) for row in rows)]
    values = list(dict.fromkeys(row["value"] for row in rows if row.get("value")))
    if params.target is not None and params.target not in values:
        raise ConceptlibError(f"no row has the value {params.target!r}", where=path, hint="its column is `value`")
    target = params.target or ""
    for number, row in enumerate(rows, 1):
        if target and not row.get("value"):  # told now: neither the target's nor a neighbour's, it could not be counted
            raise ConceptlibError(
                "this row has no value",
                where=f"{path}, row {number}",
                hint="say what its prompt names, as of the others",
            )
    ordered = (target, *(value for value in values if value != target)) if target else tuple(values)
    told = {"captions": "file", "captions_sha256": digest(rows)}
    return Prompts(
        "file", rows, tuple(columns), tuple(stated), target, ordered, lock=told, info={"captions": path.name}
    )


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file: `caption`, `seed` (None where it says none) and every other column.

    Raises:
        ConceptlibError: it cannot be read, or a row has no prompt, no whole number as its seed, or too many cells.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = text.split("\n")  # `splitlines` also cuts at U+2028 and its like, which a prompt may hold
        if path.suffix == ".jsonl":
            known: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        elif path.suffix == ".csv":
            known = list(csv.DictReader(io.StringIO(text, newline="")))  # a quoted prompt may have several lines
        else:
            known = [{"caption": line.strip()} for line in lines if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise ConceptlibError(f"these prompts cannot be read: {error}", where=path) from error
    return [_row(row, index, path) for index, row in enumerate(known, 1)]


def _row(row: Any, number: int, path: Path) -> dict[str, Any]:
    where = f"{path}, row {number}"
    if not isinstance(row, dict):
        raise ConceptlibError("a row must be a mapping", where=where)
    if None in row:  # where `csv` puts what is left over
        raise ConceptlibError(
            "this row has more cells than there are columns",
            where=where,
            hint='quote a prompt that has a comma: "a, b"',
        )
    column = next((name for name in _TEXT if row.get(name)), None)
    if column is None:
        raise ConceptlibError("this row has no prompt", where=where, hint="its column is `prompt` or `caption`")
    seed = row.get("seed")
    try:
        seed = None if seed in (None, "") else int(seed)
    except (TypeError, ValueError):
        raise ConceptlibError(f"the seed {seed!r} is no whole number", where=where) from None
    rest = {key: str(value) for key, value in row.items() if key not in (column, "seed") and value not in (None, "")}
    return {"caption": str(row[column]), "seed": seed, **rest}
