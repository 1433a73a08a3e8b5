"""`ls`, `cat`, `cp` and `validate`: the same four commands for every group of specs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output, format_cell

_ROOM = 40  # columns: the least that a description needs beside a name


def _holds(row: Mapping[str, str], words: Sequence[str]) -> bool:
    text = f"{row['name']} {row['kind']} {row['uses']} {row['description']}".lower()
    return all(word.lower() in text for word in words)


def _too_wide(rows: Sequence[Mapping[str, str]], columns: Sequence[str], width: int) -> bool:
    """Whether a table would leave no room for the descriptions."""
    others = [max(len(column), *(len(format_cell(row[column])) for row in rows)) + 2 for column in columns[:-1]]
    return sum(others) + _ROOM > width


def _block(row: Mapping[str, str], columns: Sequence[str], width: int) -> str:
    """A spec on a narrow terminal: its name and what is known of it, then its description, nothing cut."""
    facts = [format_cell(row[column]) for column in columns[1:-1] if row[column] and column != "origin"]
    head = textwrap.fill(f"{row['name']}  {'  '.join(facts)}", width, subsequent_indent="    ", break_long_words=False)
    text = textwrap.fill(row["description"], width, initial_indent="  ", subsequent_indent="  ")
    return f"{head}\n{text}" if text else head


def add_spec_commands(group: click.Group, kinds: tuple[str, ...], *, noun: str, example: str) -> None:
    """Give a group the four commands over specs of these kinds; the help texts use the noun and `example`, a name."""

    @group.command("ls", short_help=f"List every {noun} spec.")
    @click.argument("words", nargs=-1, metavar="[WORD]...")
    @click.option("--kind", type=click.Choice(kinds), default=None, hidden=len(kinds) == 1, help="Only specs of it.")
    @output.options
    def list_command(out: Output, words: tuple[str, ...], kind: str | None) -> None:
        from conceptlib.specs import list_specs

        rows = [row for row in list_specs(kind or kinds) if _holds(row, words)]
        measured = any(row["measured"] for row in rows)
        left_out = {"kind"} if kind or len(kinds) == 1 else set()
        left_out |= set() if measured else {"measured"}
        columns = [c for c in ("name", "kind", "uses", "origin", "measured", "description") if c not in left_out]
        width = out.width()
        if out.mode == "human" and rows and _too_wide(rows, columns, width):
            out.text("\n".join(_block(row, columns, width) for row in rows))
        else:
            out.table(rows, columns, empty=f"no {noun} specs yet" if not words else f"no {noun} spec has these words")

    list_command.help = f"""List the specs: your own (working folder, $CONCEPTLIB_HOME/specs) and the built-in ones.

    With WORDs only those that have all of them, in name or description. What a spec may be given: its file
    (`{group.name} cat NAME`), and every key with `--resolved`.

    \b
    conceptlib {group.name} ls
    conceptlib {group.name} ls {example.partition("/")[0]}"""

    @group.command("cat", short_help=f"Print a {noun} spec.")
    @click.argument("name")
    @click.option("--resolved", is_flag=True, help="Print it with every default filled in and overrides applied.")
    @output.overrides_argument
    @output.options
    def cat_command(out: Output, name: str, resolved: bool, overrides: tuple[str, ...]) -> None:
        from conceptlib.specs import load_spec, read_spec_text, to_yaml

        if resolved or overrides or out.mode == "json":
            spec = load_spec(kinds, name, overrides).resolved(whole=True)
            out.result(spec, human=to_yaml(spec), quiet=to_yaml(spec))
        else:
            out.text(read_spec_text(kinds, name))

    cat_command.help = f"""Print the file of a spec, comments and all.

    \b
    conceptlib {group.name} cat {example}
    conceptlib {group.name} cat {example} --resolved seed=1"""

    @group.command("cp", short_help=f"Copy a {noun} spec to edit it.")
    @click.argument("name")
    @click.argument("dest", required=False)
    @output.yes_option
    @output.options
    def copy_command(out: Output, name: str, dest: str | None, yes: bool) -> None:
        from conceptlib.specs import copy_spec

        path = copy_spec(kinds, name, dest, overwrite=yes)
        out.result(
            {"path": path},
            human=f"copied to {path}; edit it, then `conceptlib {group.name} validate {path}`",
            quiet=path,
        )

    copy_command.help = f"""Copy a spec, to edit the copy.

    DEST is a new name (the copy goes to $CONCEPTLIB_HOME/specs, where it is found by that name), a .yaml file or a
    folder. Without DEST the copy keeps its name and stands in front of the original.

    \b
    conceptlib {group.name} cp {example} ./mine.yaml
    conceptlib {group.name} validate ./mine.yaml"""

    @group.command("validate", short_help=f"Say everything that is wrong with a {noun} spec.")
    @click.argument("names", nargs=-1, metavar="[NAME|FILE|KEY=VALUE]...")
    @output.options
    def validate_command(out: Output, names: tuple[str, ...]) -> int:
        from conceptlib.specs import validate_specs

        overrides = [word for word in names if "=" in word]
        reports = validate_specs(kinds, [word for word in names if "=" not in word], overrides)
        problems = [problem for report in reports for problem in report.problems]
        out.result(reports, human="\n".join(map(str, reports)), quiet="\n".join(map(str, problems)) or None)
        return 1 if problems else 0

    validate_command.help = f"""Check specs without importing anything heavy: every problem at once, with file and line.

    Without a name, all of them. Exit status 1 when anything is wrong.

    \b
    conceptlib {group.name} validate
    conceptlib {group.name} validate {example} seed=1"""
