"""`ls`, `cat`, `cp` and `validate`: the same four commands for every group of specs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Group:
    """A group of commands over specs of some kinds.

    noun, example: for the help texts; the second is a spec's name. moved: kinds that have a group of their own now, by
    its name: `cat`, `cp` and `validate` of this one still find them, the first two with a note.
    """

    group: click.Group
    kinds: tuple[str, ...]
    noun: str
    example: str
    moved: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.group.name)

    @property
    def all_kinds(self) -> tuple[str, ...]:
        return (*self.kinds, *self.moved)

    def note(self, out: Output, verb: str, refs: Sequence[str]) -> None:
        """Say where the specs that have moved are found."""
        from conceptlib.specs import find

        for ref in refs if self.moved else ():
            if other := self.moved.get(find(self.all_kinds, ref).kind):
                out.note(f"`conceptlib {other} {verb} {ref}` is the command for {other}")


def add_spec_commands(
    group: click.Group,
    kinds: tuple[str, ...],
    *,
    noun: str,
    example: str,
    moved: Mapping[str, str] | None = None,
) -> None:
    """Give a group the four commands over specs of these kinds; see `_Group`."""
    of = _Group(group, kinds, noun, example, moved or {})
    for add in (_add_ls, _add_cat, _add_cp, _add_validate):
        add(of)


def _add_ls(of: _Group) -> None:
    one_kind = len(of.all_kinds) == 1

    @of.group.command("ls", short_help=f"List every {of.noun} spec.")
    @click.argument("words", nargs=-1, metavar="[WORD]...")
    @click.option("--kind", type=click.Choice(of.all_kinds), default=None, hidden=True, help="Only specs of it.")
    @output.options
    def list_command(out: Output, words: tuple[str, ...], kind: str | None) -> None:
        from conceptlib.specs import list_specs

        if kind is not None and kind in of.moved:
            out.note(f"`conceptlib {of.moved[kind]} ls` lists them as well")
        rows = [row for row in list_specs(kind or of.kinds) if _holds(row, words)]
        left_out = {"kind"} if kind or one_kind or len(of.kinds) == 1 else set()
        left_out |= set() if any(row["measured"] for row in rows) else {"measured"}
        columns = [c for c in ("name", "kind", "uses", "origin", "measured", "description") if c not in left_out]
        width = out.width()
        if out.mode == "human" and rows and _too_wide(rows, columns, width):
            out.text("\n".join(_block(row, columns, width) for row in rows))
        else:
            empty = f"no {of.noun} specs yet" if not words else f"no {of.noun} spec has these words"
            out.table(rows, columns, empty=empty)

    list_command.help = f"""List the specs: your own (working folder, $CONCEPTLIB_HOME/specs) and the built-in ones.

    With WORDs, list only those that have all of them in their name or description. `{of.name} cat NAME` prints a
    spec's file, and with `--resolved` every key that it may be given.

    \b
    conceptlib {of.name} ls
    conceptlib {of.name} ls {of.example.partition("/")[0]}"""


def _add_cat(of: _Group) -> None:
    @of.group.command("cat", short_help=f"Print a {of.noun} spec.")
    @click.argument("name")
    @click.option("--resolved", is_flag=True, help="Print it with every default filled in and overrides applied.")
    @output.overrides_argument
    @output.options
    def cat_command(out: Output, name: str, resolved: bool, overrides: tuple[str, ...]) -> None:
        from conceptlib.specs import load_spec, read_spec_text, to_yaml

        of.note(out, "cat", [name])
        if resolved or overrides or out.mode == "json":
            spec = load_spec(of.all_kinds, name, overrides).resolved(whole=True)
            out.result(spec, human=to_yaml(spec), quiet=to_yaml(spec))
        else:
            out.text(read_spec_text(of.all_kinds, name))

    cat_command.help = f"""Print the file of a spec, comments and all.

    \b
    conceptlib {of.name} cat {of.example}
    conceptlib {of.name} cat {of.example} --resolved seed=1"""


def _add_cp(of: _Group) -> None:
    @of.group.command("cp", short_help=f"Copy a {of.noun} spec to edit it.")
    @click.argument("name")
    @click.argument("dest", required=False)
    @output.yes_option
    @output.options
    def copy_command(out: Output, name: str, dest: str | None, yes: bool) -> None:
        from conceptlib.specs import copy_spec

        of.note(out, "cp", [name])
        path = copy_spec(of.all_kinds, name, dest, overwrite=yes)
        out.result(
            {"path": path},
            human=f"copied to {path}; edit it, then `conceptlib {of.name} validate {path}`",
            quiet=path,
        )

    copy_command.help = f"""Copy a spec, to edit the copy.

    DEST is a new name (the copy goes to $CONCEPTLIB_HOME/specs, where it is found by that name), a .yaml file or a
    folder. Without DEST the copy keeps its name and stands in front of the original.

    \b
    conceptlib {of.name} cp {of.example} ./mine.yaml
    conceptlib {of.name} validate ./mine.yaml"""


def _add_validate(of: _Group) -> None:
    @of.group.command("validate", short_help=f"Say everything that is wrong with a {of.noun} spec.")
    @click.argument("names", nargs=-1, metavar="[NAME|FILE|KEY=VALUE]...")
    @output.options
    def validate_command(out: Output, names: tuple[str, ...]) -> int:
        from conceptlib.specs import validate_specs

        overrides, refs = [word for word in names if "=" in word], [word for word in names if "=" not in word]
        reports = validate_specs(of.all_kinds, refs, overrides)
        problems = [problem for report in reports for problem in report.problems]
        out.result(reports, human="\n".join(map(str, reports)), quiet="\n".join(map(str, problems)) or None)
        return 1 if problems else 0

    validate_command.help = f"""Check specs without importing anything heavy: every problem at once, with file and line.

    Without a name, all of them. Exit status 1 when anything is wrong.

    \b
    conceptlib {of.name} validate
    conceptlib {of.name} validate {of.example} seed=1"""
