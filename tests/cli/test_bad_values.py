"""Bad values at every option and argument of every command: each is answered with a message, and never as a bug."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from conceptlib.cli.main import cli, main

HUGE = "1" + "0" * 23
WORDS = [
    "",
    " ",
    "-",
    "--",
    ".",
    "..",
    "/",
    "a" * 5000,
    "\x00",
    "a\nb",
    "\x1b[31m",
    "é\udce9",
    "*",
    "a b",
    "NUL",
    "@",
    "a@",
    "x=y",
]
NUMBERS = ["nan", "inf", "-inf", "-1", "0", HUGE, "-" + HUGE, "1e23", "0x10", "1_000", "", "one", "½"]
PLACES = ["/dev/null/x", "/", ".", "/proc/self/environ", "./no/such/thing", "folder", "file.txt"]
OVERRIDES = [
    "=1",
    "a=",
    "a.b.c=1",
    "seed=-1",
    f"seed={HUGE}",
    "seed=.nan",
    "seed=[",
    "params=1",
    "name=x",
    "kind=x",
    "\x00=1",
    "a=\x00",
    "a=!!python/object:os.system",
    "a=" + "[" * 3000,
    "a=&x [*x]",
    "concepts=[\x1b]",
    "targets=[1e400]",
    "rows=1e400",
    "rows=" + "9" * 5000,
]
SAFE = {"conceptlib demo", "conceptlib models train"}
"""Commands that take minutes when nothing is wrong; their values are tried by their own tests."""


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def values(parameter: click.Parameter) -> list[str]:
    """Bad values by the parameter's type; None of them is what anybody means."""
    if isinstance(parameter, click.Argument) and parameter.name == "overrides":
        return OVERRIDES
    if isinstance(parameter.type, (click.types.IntParamType, click.types.FloatParamType)):
        return NUMBERS
    if isinstance(parameter.type, click.Choice):
        return ["", "nope", "\x00"]
    return [*WORDS, *PLACES, *NUMBERS[:4]]


def filler(parameter: click.Parameter) -> str:
    """Something that parses, for what must be there beside the value that is tried: of no artifact."""
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[0])
    if isinstance(parameter.type, (click.types.IntParamType, click.types.FloatParamType)):
        return "1"
    return "nosuch"


def line(path: tuple[str, ...], command: click.Command, tried: click.Parameter, value: str) -> list[str]:
    words = list(path)
    after: list[str] = []
    for parameter in command.params:
        given = value if parameter is tried else filler(parameter) if parameter.required else None
        if given is None:
            continue
        if isinstance(parameter, click.Option):
            words += [f"{max(parameter.opts, key=len)}={given}"]
        else:
            after.append(given)
    return [*words, "--", *after] if after else words


CASES = [
    pytest.param(path, command, id=" ".join(path))
    for path, command in commands(cli)  # type: ignore[arg-type]
    if " ".join(("conceptlib", *path)) not in SAFE
]


@pytest.fixture
def there(tmp_path: Path) -> None:
    Path("folder").mkdir()
    Path("file.txt").write_text("kind: recipe\nname: [\n")


@pytest.mark.parametrize(("path", "command"), CASES)
def test_bad_values_get_a_message(
    path: tuple[str, ...], command: click.Command, there: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.is_flag:
            continue
        for value in values(parameter):
            words = line(path, command, parameter, value)
            status = main(words)
            shown = capsys.readouterr()
            what = f"{[word[:60] for word in words]} gave {status}: {shown.err[:400]}"
            assert status in (0, 1, 2), what
            assert "bug in conceptlib" not in shown.err and "Traceback" not in shown.err, what
            assert status == 0 or "error: " in shown.err or "validate" in path, what
            assert "\x1b[31m" not in shown.err, what


class Closed(io.TextIOBase):
    """An output that nobody reads any more: `conceptlib ... >&-`."""

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("stdout", ["none", "closed", "broken", "full"])
@pytest.mark.parametrize(
    "words", [["concepts", "ls"], ["recipes", "ls", "--json"], ["recipes", "cat", "uce/object"], []]
)
def test_an_output_that_is_closed(
    words: list[str], stdout: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = io.StringIO()
    closed.close()
    outputs: dict[str, Any] = {
        "none": None,
        "closed": closed,
        "broken": Closed(errno.EBADF),
        "full": Closed(errno.ENOSPC),
    }
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", outputs[stdout])
        status = main(words)
    assert status in (1, 2)
    assert "bug in conceptlib" not in capsys.readouterr().err


def test_a_value_is_tried_at_every_parameter() -> None:
    tried = {" ".join(case.values[0]) for case in CASES}  # type: ignore[arg-type]
    assert {"erase", "generate", "publish", "catalog query", "datasets cp", "gc", "sweep"} <= tried and len(tried) > 40
