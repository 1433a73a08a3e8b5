"""Subsets of a prompt dataset: `i2p@sexual`, `i2p@nudity>50`, any SQL condition.

A subset is a dataset of its own, whose parent `dataset` is the whole one and whose lock has the condition. Its rows are
those of the whole, in order; which ones depends on the dataset and the condition alone. The condition is one SQL
expression of DuckDB's. It sees the rows as the view `prompts` (`table.sealed` lists the columns), and no files, no
settings, no clock, no chance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from conceptlib.concepts.prompts.columns import CATEGORIES, COLUMNS, SHORT, category_of, column_of, concept_of
from conceptlib.concepts.prompts.table import NUMBERS, VIEW, PromptTable, count, is_prompts, sealed, write_prompts
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write
from conceptlib.store.hashing import sha256_bytes
from conceptlib.store.refs import Ref, parse_ref, tidy

_SIMPLE = re.compile(r"(?P<column>[a-z_0-9]+)(?P<op><=|>=|<>|!=|==|<|>|=)(?P<value>[0-9]+(\.[0-9]+)?)")
_WORDS = {">": "gt", ">=": "ge", "<": "lt", "<=": "le", "=": "eq", "==": "eq", "<>": "ne", "!=": "ne"}
_COMMENT = re.compile(r"--|/\*|\$\$|\be'", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*'")
_LONGEST = 2000

# What DuckDB does not call CONSISTENT depends on the clock, chance or the session, or logs, or waits; macros say so in
# their definition. Some of the clock's functions claim to be consistent all the same.
_UNSTEADY = """SELECT DISTINCT lower(function_name) FROM duckdb_functions()
    WHERE stability <> 'CONSISTENT' OR macro_definition ILIKE '%current%'"""
_CLOCKS = {"age", "current_localtime", "current_localtimestamp", "current_time", "current_timestamp"}
_CLOCKS |= {"localtime", "localtimestamp", "version"}


def subset_ref(text: str) -> Ref | None:
    """The reference, if it names a subset to build: a condition or a category after `@`; None for anything else."""
    if text.endswith((".yaml", ".yml")):
        return None  # the path of a spec
    ref = parse_ref(text)
    return ref if ref.selector and (not ref.word or category_of(ref.selector)) else None


def build_subset(base: Artifact, condition: str, *, store: Store | None = None) -> Artifact:
    """The rows of `base` for which the condition is true, or the same built before.

    Args:
        base: a prompt dataset that is not itself a subset.
        condition: a category (`self-harm`), or an SQL condition (`nudity > 50 AND NOT violence`).
        store: default: the user's.

    Returns:
        The dataset `<name of base>/<label>`; `info.condition`, and `info.selectors`: what may follow the `@`.

    Raises:
        ConceptlibError: no condition, one that is refused or wrong, or no row for which it is true.
    """
    store = store or Store()
    if not is_prompts(base):
        raise ConceptlibError(
            f"{base.ref} is not a dataset of prompts: a condition selects from those",
            where=str(base.path),
            hint="conceptlib build 'i2p@nudity>50'",
        )
    if "condition" in base.info:
        raise ConceptlibError(
            f"{base.ref} is a subset itself", where=str(base.path), hint="join both conditions with AND"
        )
    condition = tidy(condition)
    category = category_of(condition)
    selectors = [condition]
    if category is not None:
        condition = column_of(category)
        selectors = sorted({condition, concept_of(category), category})
    lock = {"spec": base.lock["spec"] | {"name": f"{base.name}/{_label(condition)}"}, "condition": condition}
    table = PromptTable(base)
    numbers = select(table, condition)
    if not numbers:
        raise ConceptlibError(f"no row of {base.ref} fits the condition", where=condition, hint=_COLUMNS_HINT)
    with store.draft("dataset", lock["spec"]["name"], lock=lock, parents={"dataset": base}) as draft:
        if draft.done:
            return draft.done
        content = write_prompts(draft.path, _picked(table, numbers))
        atomic_write(draft.path / NUMBERS, json.dumps({"case_number": numbers}) + "\n")
        counts = count(PromptTable(draft.path).shards())
        kept = ("holds", "unsafe", "license", "published")
        info = {key: base.info[key] for key in kept if key in base.info} | {
            "rows": {"train": len(numbers)},
            "of": base.ref,
            "condition": condition,
            "selectors": selectors,
            "concepts": [concept_of(one) for one, rows in counts["categories"].items() if rows],
            **counts,
        }
        return draft.commit(content=content, info=info)


def find_base(ref: Ref, store: Store) -> Artifact | None:
    """The whole dataset that a subset's reference is about, if it is built; else None.

    Raises:
        NotFound: a version is named, and there is none such.
    """
    try:
        return store.get(ref.base, "dataset")
    except NotFound:
        if ref.base != ref.name:
            raise
        return None


def select(table: PromptTable, condition: str) -> list[int]:
    """The numbers of the rows for which the condition is true, in order.

    Raises:
        ConceptlibError: the condition is refused, or DuckDB cannot make sense of it. The message never quotes a row.
    """
    import duckdb

    if len(condition) > _LONGEST or not condition.strip():
        raise ConceptlibError("a condition has 1 to 2000 characters", where="the condition", hint=_COLUMNS_HINT)
    if _COMMENT.search(_QUOTED.sub("''", condition)):
        raise _refused(condition, "it holds a comment, $$ or E''")
    with sealed(table.shards()) as connection:
        try:
            # As an expression, not as text in a statement: it cannot end the query and begin another.
            rows = connection.table(VIEW).filter(condition)
            _refuse_unsteady(connection, condition)
            return sorted(number for (number,) in rows.project("case_number").fetchall())
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            # Said before a row was read.
            words = str(error).partition("\n")[0]
            raise ConceptlibError(f"DuckDB says: {words}", where=condition, hint=_COLUMNS_HINT) from None
        except duckdb.PermissionException:
            raise _refused(condition, "it reads a file") from None
        except duckdb.Error as error:
            # Its words may quote a prompt, and so may the error that would be chained.
            kind = type(error).__name__.removesuffix("Exception")
            raise ConceptlibError(
                f"DuckDB could not evaluate the condition ({kind} error)",
                where=condition,
                hint=f"a text that is compared as a number? {_COLUMNS_HINT}",
            ) from None


_COLUMNS_HINT = (
    f"columns: {', '.join(['hard', *SHORT, *(column_of(one) for one in CATEGORIES), 'case_number'])}, and all of the "
    "dataset's own"
)


def _picked(table: PromptTable, numbers: list[int]) -> Iterator[dict[str, Any]]:
    wanted = iter(numbers)
    number = next(wanted, None)
    for index, row in enumerate(table.rows(columns=list(COLUMNS))):
        if index == number:
            yield row
            number = next(wanted, None)


def _label(condition: str) -> str:
    """The last part of the subset's name: `self-harm`, `nudity-gt-50`, else `where-` and a hash."""
    category = category_of(condition)
    if category is not None:
        return concept_of(category)
    if match := _SIMPLE.fullmatch(condition):
        return f"{match['column'].replace('_', '-')}-{_WORDS[match['op']]}-{match['value']}"
    return f"where-{sha256_bytes(condition.encode())[:8]}"


def _refuse_unsteady(connection: Any, condition: str) -> None:
    """Refuse what another day or another run would answer differently, and what is no row of the dataset."""
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 WHERE ({condition})"]).fetchone()
    tree = json.loads(text)
    if tree.get("error"):
        raise _refused(condition, "DuckDB cannot take it apart")
    unsteady = _CLOCKS | {name for (name,) in connection.execute(_UNSTEADY).fetchall()}
    for node in _nodes(tree):
        # `current_date` without brackets reads as a column.
        names = [node.get("function_name"), *(node.get("column_names") or [])[:1]]
        for name in names:
            if str(name).lower() in unsteady:
                raise _refused(condition, f"{name} depends on more than the row")
        if node.get("sample") is not None:
            raise _refused(condition, "a sample is not the same every time")
        if node.get("type") == "TABLE_FUNCTION" or (
            node.get("type") == "BASE_TABLE" and str(node.get("table_name", "")).lower() != VIEW
        ):
            raise _refused(condition, f"a subquery can only read from {VIEW}")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _refused(condition: str, why: str) -> ConceptlibError:
    return ConceptlibError(
        f"this condition is not allowed: {why}",
        where=condition,
        hint="the same condition must always select the same rows of the dataset, by its columns alone",
    )
