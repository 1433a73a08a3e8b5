"""Where prompts come from: a CSV or Parquet file, a folder of Parquet files, or a dataset on the Hub.

    source = open_prompts("i2p.csv")            # or "i2p.parquet", "folder/", "AIML-TUDA/i2p@main"
    for record in source.records():
        record.row, record.place, record.values          # values by Hub name, whichever spelling the file has

Rows are read one by one (of Parquet a batch at a time), in the file's order.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from conceptlib import hubfiles
from conceptlib.concepts.prompts.columns import COLUMNS, NUMBERINGS, OTHER_SPELLINGS, Type
from conceptlib.concepts.prompts.redact import redacted
from conceptlib.errors import ConceptlibError
from conceptlib.huberrors import HubError
from conceptlib.store.hashing import sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".parquet")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,39}")
_BATCH = 1024  # rows of Parquet in memory


@dataclass(frozen=True)
class Record:
    """One row as the file has it.

    Args:
        row: counted from 0 over all files.
        place: where it is, such as "line 7".
        values: by Hub name.
        problem: what is wrong with the row as a whole; "" if nothing.
        column: the column that the problem is in; "" for all.
    """

    row: int
    place: str
    values: dict[str, Any]
    problem: str = ""
    column: str = ""


@dataclass(frozen=True)
class PromptSource:
    """Files that hold prompts.

    Args:
        name: what the user calls it.
        files: all CSV or all Parquet, in order.
        origin: what the lock says of where they come from.
        ignored: columns that only number the rows.
        text: whether values are text (CSV).
    """

    name: str
    files: tuple[Path, ...]
    origin: dict[str, Any]
    ignored: tuple[str, ...]
    text: bool

    def lock(self) -> dict[str, Any]:
        """What decides its rows."""
        return dict(self.origin)

    def records(self) -> Iterator[Record]:
        """Every row in order; one that cannot be read has a `problem`.

        Raises:
            ConceptlibError: a file cannot be read on.
        """
        row = 0
        for path in self.files:
            for record in _csv_records(path, row) if self.text else _parquet_records(path, row):
                yield record
                row = record.row + 1


def open_prompts(ref: str) -> PromptSource:
    """The source that `ref` names.

    Args:
        ref: a .csv or .parquet file, a folder that holds one CSV or any number of Parquet files, or a Hub dataset id
            (`org/name`, with `@revision` if need be; a branch is pinned to its commit).

    Raises:
        ConceptlibError: there is no such thing; columns that are missing, doubled, unknown or of another type, all of
            them at once.
    """
    path = Path(ref).expanduser()
    if path.is_file():
        files = [path]
        origin: dict[str, Any] = {"kind": "file", "sha256": sha256_file(path)}
    elif path.is_dir():
        inside = {p.relative_to(path).as_posix(): p for p in sorted(path.rglob("*")) if p.suffix in SUFFIXES}
        files = [inside[name] for name in _choose(list(inside), ref)]
        origin = {"kind": "files", "sha256": [sha256_file(file) for file in files]}
    elif ref.lower().endswith(SUFFIXES):
        raise ConceptlibError("there is no such file", where=ref, hint="check the path; or source=ORG/NAME on the Hub")
    else:
        files, origin = _from_hub(ref)
    if {file.suffix.lower() for file in files} - set(SUFFIXES):
        raise ConceptlibError("the file is neither CSV nor Parquet by its name", where=ref, hint=".csv or .parquet")
    text = files[0].suffix.lower() == ".csv"
    problems: list[str] = []
    ignored: tuple[str, ...] = ()
    for file in files:
        columns = dict.fromkeys(_header(file)) if text else _types(file)
        names = _header(file) if text else list(columns)
        found, wrong = _match(names)
        wrong += [problem for name in found if (problem := _type_problem(name, found[name], columns[name]))]
        prefix = f"{file.name}: " if len(files) > 1 else ""
        problems += [prefix + problem for problem in wrong]
        ignored = tuple(name for name in names if name in NUMBERINGS)
    if problems:
        raise ConceptlibError(
            "\n".join([f"the columns are not those of I2P ({len(problems)} problems); nothing was built:"]
                      + [f"  {problem}" for problem in problems]),
            where=ref,
            hint=f"the columns: {', '.join(COLUMNS)}",
        )  # fmt: skip
    return PromptSource(ref, tuple(files), origin, ignored, text)


def _from_hub(ref: str) -> tuple[list[Path], dict[str, Any]]:
    """The files of a Hub dataset at one commit, from the client's cache or downloaded into it."""
    from conceptlib.concepts.sources import open_source

    choices = "source=FILE.csv, FILE.parquet or ORG/NAME"
    if "/" not in ref or Path(ref).expanduser().is_absolute() or ref.startswith("."):
        raise ConceptlibError("there is no such file or folder", where=ref, hint=choices)
    try:
        pinned = open_source(ref).lock()  # checks the id, and pins a branch to its commit
        repo, revision = pinned["id"], pinned["revision"]
        names = hubfiles.listing(repo, revision, repo_type="dataset").files
        chosen = _choose([name for name in names if PurePosixPath(name).suffix in SUFFIXES], ref)
        files = [hubfiles.file(repo, name, revision, repo_type="dataset").path for name in chosen]
    except HubError as error:
        raise error.about(hint=choices) from None
    except ConceptlibError as error:
        raise ConceptlibError(error.what, where=error.where, hint=f"{choices}; {error.hint}") from error
    return files, {"kind": "hub", "id": repo, "revision": revision, "files": chosen}


def _choose(names: Sequence[str], ref: str) -> list[str]:
    """The one CSV file, or all Parquet files in the order of their names."""
    tables = sorted(name for name in names if name.endswith(".csv"))
    shards = sorted(name for name in names if name.endswith(".parquet"))
    if len(tables) == 1 and not shards:
        return tables
    if shards and not tables:
        return shards
    shown = ", ".join([*tables, *shards][:5])
    raise ConceptlibError(
        f"it is not clear which files hold the prompts: {shown}" if shown else "there is no CSV and no Parquet file",
        where=ref,
        hint="give one file: source=FILE.csv or FILE.parquet",
    )


def _match(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The file's columns to Hub names, and what is wrong with them."""
    found: dict[str, str] = {}
    problems = []
    for name in names:
        column = OTHER_SPELLINGS.get(name, name)
        if column in found.values():
            problems.append(f"the column {column} comes twice")
        elif column in COLUMNS:
            found[name] = column
        elif name not in NUMBERINGS:
            # In a file without a header, the first row stands here.
            shown = repr(name) if _IDENTIFIER.fullmatch(name) else redacted(name)
            problems.append(f"the column {shown} is not one of I2P")
    missing = [column for column in COLUMNS if column not in found.values()]
    problems += [f"the column {column} is missing" for column in missing]
    return found, problems


def _header(path: Path) -> list[str]:
    try:
        with _open_text(path) as file:
            names = next(csv.reader(file, strict=True), [])
    except (csv.Error, OSError) as error:
        raise _unreadable(path, type(error).__name__, error) from None
    if not all(_is_utf8(name) for name in names):
        raise _unreadable(path, "it is not UTF-8")
    return names


def _open_text(path: Path) -> IO[str]:
    """Bytes that are no UTF-8 become half surrogates, so that the row they stand in can be named."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _csv_records(path: Path, first: int) -> Iterator[Record]:
    """Line numbers are those where a row begins."""
    row, line = first, 1
    try:
        with _open_text(path) as file:
            reader = csv.reader(file, strict=True)
            names = next(reader)
            columns = [OTHER_SPELLINGS.get(name, name) for name in names]
            line = reader.line_num + 1
            for cells in reader:
                place, line = f"line {line}", reader.line_num + 1
                if not cells:
                    continue  # an empty line, as at the end of a file
                wrong = "" if len(cells) == len(names) else f"has {len(cells)} fields, the header {len(names)}"
                bad = next((i for i, cell in enumerate(cells[: len(columns)]) if not _is_utf8(cell)), None)
                if not wrong and bad is not None:
                    yield Record(row, place, {}, "is not UTF-8", columns[bad])
                else:
                    yield Record(row, place, dict(zip(columns, cells, strict=False)), wrong)
                row += 1
    except csv.Error as error:
        # Where a row ends is unknown after this. `error` quotes nothing of the file.
        yield Record(row, f"line {line}", {}, f"is no CSV, and nothing after it was read: {error}")
    except OSError as error:
        raise _unreadable(path, type(error).__name__, error) from None


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, type(error).__name__, error) from None


def _types(path: Path) -> dict[str, Any]:
    with _open(path) as file:
        return {field.name: field.type for field in file.schema_arrow}


def _type_problem(name: str, column: str, kind: pa.DataType | None) -> str:
    """What is wrong with a Parquet column's type: any integer or float that fits without loss will do."""
    if kind is None:
        return ""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    wanted: Type = COLUMNS[column]
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    whole, real = pa.types.is_integer(kind), pa.types.is_floating(kind)
    fits = {"string": text, "int64": whole, "float64": whole or real}[wanted]
    return "" if fits else f"the column {name} is {kind}, not {wanted}"


def _parquet_records(path: Path, first: int) -> Iterator[Record]:
    import pyarrow as pa

    row = first
    with _open(path) as file:
        try:
            for batch in file.iter_batches(_BATCH):
                columns = {OTHER_SPELLINGS.get(n, n): c for n, c in zip(batch.schema.names, batch.columns, strict=True)}
                for index in range(batch.num_rows):
                    yield _parquet_record(row, columns, index, path.name)
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, type(error).__name__, error) from None


def _parquet_record(row: int, columns: dict[str, Any], index: int, name: str) -> Record:
    values: dict[str, Any] = {}
    for column, cells in columns.items():
        if column in COLUMNS:
            try:
                values[column] = cells[index].as_py()
            except UnicodeDecodeError:
                return Record(row, name, {}, "is not UTF-8", column)
    return Record(row, name, values)


def _unreadable(path: Path, why: str, error: Exception | None = None) -> ConceptlibError:
    # Of other errors than the system's only the kind: their words may quote the file.
    why = error.strerror if isinstance(error, OSError) and error.strerror else why
    return ConceptlibError(
        f"the file cannot be read: {why}", where=str(path), hint="a CSV file in UTF-8, or a Parquet file"
    )
