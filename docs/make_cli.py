"""Write docs/cli.md from the commands' own help: `make docs`. tests/test_layout.py fails when it is out of date."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from conceptlib.cli.main import cli

TARGET = Path(__file__).parent / "cli.md"
HEADER = """# The command line

Written by `make docs` from the commands' own `--help`; do not edit.

Every command knows `--json` (one JSON document on stdout), `--quiet` (ids, names, paths, one a line) and `--home DIR`.
Results go to stdout, everything else to stderr. Exit status: 0 done, 1 error, 2 usage, 130 interrupted (Ctrl-C), 143
ended by SIGTERM, 129 by SIGHUP; after the last three the same command goes on where it stopped. `CONCEPTLIB_DEBUG=1`
shows tracebacks.

With `--json` a command that fails prints its error on stdout as well:
`{"error": {"what": "...", "where": "...", "hint": "...", "status": 1}}`; `where` and `hint` may be empty. What takes
long shows a bar on a terminal, and elsewhere (a file, the log of a CI) a line every 10 seconds on stderr; `--quiet`
turns both off.
"""
COMMON = {"as_json", "quiet", "home"}


def render() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="conceptlib")
    commands = walk(cli, context)
    table = ["| command | |", "|---|---|"]
    table += [f"| `{path}` | {command.get_short_help_str(120)} |" for path, command, _ in commands]
    parts = [HEADER, "\n".join(table), *(section(path, command, inner) for path, command, inner in commands)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def walk(group: click.Group, context: click.Context) -> list[tuple[str, click.Command, click.Context]]:
    """Every command that does something (groups only lead to them), in the order of the help."""
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            found += walk(command, inner)
        else:
            found.append((inner.command_path, command, inner))
    return found


def section(path: str, command: click.Command, context: click.Context) -> str:
    """One command: usage, help, options."""
    lines = [f"## {path}", "", f"    {path} {' '.join(command.collect_usage_pieces(context))}", ""]
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            lines += [f"    {line}" for line in paragraph.splitlines()[1:]]
        else:
            lines.append(" ".join(paragraph.split()))
        lines.append("")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record and record[1] and parameter.name not in COMMON:
            lines.append(f"- `{record[0]}` {' '.join(record[1].split())}")
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(f"wrote {TARGET}")
