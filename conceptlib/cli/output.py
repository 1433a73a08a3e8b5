"""The only place that prints, and the options that commands share.

A command takes an `Output` from the `@output.options` decorator and says what it has; the sink decides how it looks:

* by default tables and sentences for people, results on stdout, everything else on stderr;
* `--json`: one JSON document on stdout, `{"error": {"what", "where", "hint", "status"}}` where the command fails;
* `--quiet`: only what a script needs (ids, names, paths), one a line.

Nothing that looks like a Hugging Face token leaves this module in clear, and no control character reaches a terminal:
captions and names come from strangers (`_visible`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from unicodedata import east_asian_width

import click

from conceptlib.cli._progress import Progress
from conceptlib.cli._visible import visible, visible_json, visible_line
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.redaction import redact


def jsonable(value: Any) -> Any:
    """Turn paths, tuples, NumPy scalars and objects with `as_dict`/`model_dump` into what JSON knows; NaN and
    infinities become null.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "as_dict"):
        return jsonable(_fields_of(value))
    for method in ("as_dict", "model_dump", "tolist"):
        if hasattr(value, method):
            return jsonable(getattr(value, method)())
    return str(value)


def _fields_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def format_cell(value: Any) -> str:
    """A table cell for people: short floats, lists joined, None as a dash."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(format_cell(item) for item in value) or "-"
    return visible_line(" ".join(str(value).split()))


class Output:
    """Where a command's words go. `mode` is "human", "json" or "quiet"."""

    documents = 0
    """JSON documents that this command has printed, by whichever sink: there is one a command."""

    def __init__(self, mode: str = "human", *, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> None:
        self.mode = mode
        self._stdout = stdout
        self._stderr = stderr

    @property
    def stdout(self) -> IO[str]:
        stream = self._stdout or sys.stdout
        if stream is None or stream.closed:  # `conceptlib ... >&-`: Python then has no such stream, or a closed one
            raise OSError(errno.EBADF, "the output is closed: nobody can read the answer")
        return stream

    @property
    def stderr(self) -> IO[str]:
        return self._stderr or sys.stderr

    def _write(self, text: str, stream: IO[str], *, lead: str = "", end: str = "\n") -> None:
        """Print `text`, made harmless. `lead` is our own word before it, which may be in colour."""
        self._put(lead + visible(redact(text)) + end, stream)

    def _put(self, text: str, stream: IO[str]) -> None:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a terminal that is not UTF-8 shows a question mark rather than a traceback
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()

    def _json(self, value: Any) -> None:
        Output.documents += 1
        document = redact(json.dumps(jsonable(value), indent=2, ensure_ascii=False))
        self._put(visible_json(document) + "\n", self.stdout)

    # what a command has to say

    def result(self, data: Any, *, human: str = "", quiet: object = None) -> None:
        """The command's one result: `data` for `--json`, `human` for people (else the data as lines), `quiet` for
        scripts.
        """
        if self.mode == "json":
            self._json(data)
        elif self.mode == "quiet":
            if quiet is not None:
                self._write(str(quiet), self.stdout)
        elif human:
            self._write(human.rstrip("\n"), self.stdout)
        else:
            self.fields(data)

    def fields(self, data: Mapping[str, Any]) -> None:
        """A mapping, one `key  value` line an entry (an object in JSON)."""
        if self.mode == "json":
            self._json(data)
            return
        width = max((len(str(key)) for key in data), default=0)
        for key, value in data.items():
            self._write(f"{visible_line(str(key)):<{width}}  {format_cell(value)}", self.stdout)

    def table(
        self,
        rows: Iterable[Any],
        columns: Sequence[str] | None = None,
        *,
        quiet: str = "",
        empty: str = "",
    ) -> None:
        """Rows of one shape, mappings or dataclasses. JSON prints every key of every row; people see `columns`;
        `--quiet` the column `quiet` (else the first).

        empty: what to tell people when there are no rows (on stderr).
        """
        rows = [row if isinstance(row, Mapping) else _fields_of(row) for row in rows]
        columns = list(columns) if columns is not None else list(rows[0] if rows else [])
        if self.mode == "json":
            self._json(rows)
        elif self.mode == "quiet":
            for row in rows:
                self._write(visible_line(str(row.get(quiet or columns[0], ""))), self.stdout)
        elif not rows:
            self.note(empty or "nothing here yet")
        else:
            self._write(render_table(rows, columns, width=self.width()), self.stdout)

    def text(self, text: str) -> None:
        """Text as it is, on stdout (file contents, help)."""
        self._write(text.rstrip("\n"), self.stdout)

    def note(self, text: str) -> None:
        """A remark for people on stderr; silent with `--quiet`."""
        if self.mode != "quiet":
            self._write(text, self.stderr)

    def warn(self, text: str) -> None:
        """Something the user should know, on stderr in every mode."""
        self._write(f": {text}", self.stderr, lead=paint("warning", "yellow", self.stderr))

    def error(self, what: str, where: str = "", hint: str = "") -> None:
        """What went wrong, where, and what to do next, on stderr in every mode."""
        lines = [f": {what}"]
        if where:
            lines.append(f"  where: {visible_line(where)}")
        if hint:
            lines.append(f"  hint:  {hint}")
        self._write("\n".join(lines), self.stderr, lead=paint("error", "red", self.stderr))

    def failed(self, what: str, where: str = "", hint: str = "", *, status: int) -> int:
        """What ended the command: `error`, and with `--json` the same on stdout, if the result is not there already.
        Returns the exit status.
        """
        self.error(what, where, hint)
        if self.mode == "json" and not Output.documents:
            with contextlib.suppress(OSError):  # stdout may be what failed
                self._json({"error": {"what": what, "where": where, "hint": hint, "status": status}})
        return status

    def progress(self) -> Progress:
        """A progress callback for library functions; use it as a context manager so that the last bar is closed."""
        return Progress(self.stderr, enabled=self.mode != "quiet")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be undone. Raises UsageError when nobody can answer, ConceptlibError when
        the answer is no.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise UsageError(
                f"this needs a confirmation: {question}", where="standard input is not a terminal", hint="say --yes"
            )
        self._write(f"{question} [y/N] ", self.stderr, end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise ConceptlibError("not confirmed, nothing was changed")

    def width(self) -> int:
        """Columns of the terminal; as many as one likes where there is none."""
        return shutil.get_terminal_size((150, 24)).columns if self.stdout.isatty() else 10_000


def paint(text: str, colour: str, stream: IO[str]) -> str:
    """`text` in a colour where the stream is a terminal and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return click.style(text, fg=colour, bold=True)


def render_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, width: int = 10_000) -> str:
    """An aligned text table: a header line, then a line a row. The last column is cut so that no line is longer than
    `width`.

    Our own, and not `rich`'s, which was measured beside it: 10,000 rows of six columns take 0.16 s here and 9 s there,
    20 rows 0.5 and 20 ms, its import 50 to 75 ms. It also shares a narrow terminal's width out among all columns, so
    that ids are cut, where here the columns on the left stay whole.
    """
    cells = [[format_cell(row.get(column)) for column in columns] for row in rows]
    numeric = [
        all(isinstance(row.get(c), (int, float, type(None))) and not isinstance(row.get(c), bool) for row in rows)
        for c in columns
    ]
    head = [visible_line(column) for column in columns]
    widths = [max(_width(column), *(_width(row[i]) for row in cells)) for i, column in enumerate(head)]
    lines = []
    for line in [head, *cells]:
        padded = [_padded(text, w, right) for text, w, right in zip(line, widths, numeric, strict=True)]
        lines.append(_cut("  ".join(padded).rstrip(), width))
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character (CJK, emoji), none for a mark above another."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _cut(line: str, width: int) -> str:
    """A line of at most `width` columns, with `…` where something was cut off."""
    if _width(line) <= width:
        return line
    kept = line[: max(width - 1, 1)]
    while _width(kept) > max(width - 1, 1):
        kept = kept[:-1]
    return kept + "…"


# the options that commands share


def _set_home(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        if any("\ud800" <= character <= "\udfff" for character in value):  # the catalog's library takes no such path
            raise click.BadParameter("its name is not UTF-8", ctx=context, param=parameter)
        if not value.strip():
            raise click.BadParameter("it is empty; leave it out for $CONCEPTLIB_HOME", ctx=context, param=parameter)
        os.environ["CONCEPTLIB_HOME"] = str(Path(value).expanduser().absolute())


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, `--quiet` and `--home`; the command receives `out: Output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
    @click.option("--quiet", "-q", is_flag=True, help="Print only names, ids or paths, one a line.")
    @click.option(
        "--home",
        metavar="DIR",
        expose_value=False,
        is_eager=True,
        callback=_set_home,
        help="The folder for artifacts, instead of $CONCEPTLIB_HOME.",
    )
    @functools.wraps(command)
    def wrapper(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        if as_json and quiet:
            raise UsageError("--json and --quiet exclude each other", hint="choose one")
        return command(*args, out=Output("json" if as_json else "quiet" if quiet else "human"), **kwargs)

    return wrapper


def _check_overrides(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for item in value:
        if "=" not in item:
            raise click.UsageError(f"{item!r} is no override; write it as key=value, such as rows=64", ctx=context)
    return value


overrides_argument = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", callback=_check_overrides)
"""Trailing `key=value` words as `overrides: tuple[str, ...]`, for `load_spec(..., overrides=overrides)`."""

device_option = click.option(
    "--device", metavar="DEVICE", default=None, help="Run on cpu, cuda, cuda:1 or mps; by default on the best device."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default=None,
    help="Floating-point type of the weights; the device decides by default.",
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where to work: in this process, or on the Ray cluster at RAY_ADDRESS (without it, on this machine).",
)
trust_option = click.option(
    "--trust", is_flag=True, help="Open weights that are pickles (.pt). Do so only if you trust their author."
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Answer yes to every question.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done, without doing it.")
