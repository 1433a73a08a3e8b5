"""`conceptlib plugins`: code of your own, and whether it may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conceptlib.cli import output
from conceptlib.cli.output import Output

if TYPE_CHECKING:
    from conceptlib.plugins import Plugin


@click.group("plugins", short_help="List your plug-ins, and let them run.")
def cli() -> None:
    """List code of your own, and say which of it may run.

    A plug-in is a Python file $CONCEPTLIB_HOME/plugins/REGISTRY/NAME.py, or an entry point "conceptlib.REGISTRY" of an
    installed package. A file runs only after you have allowed it; when it changes, you are asked again.
    CONCEPTLIB_PLUGINS=1 lets all of them run, CONCEPTLIB_PLUGINS=0 none.

    \b
    conceptlib plugins ls
    conceptlib plugins allow overlays/stripes
    """


@cli.command("ls", short_help="List the plug-ins.")
@output.options
def ls(out: Output) -> None:
    """List the plug-ins: where each comes from, its hash or version, and whether it may run and can be loaded.

    Plug-ins that may run are imported for that.

    \b
    conceptlib plugins ls
    """
    from conceptlib.plugins import settings_file
    from conceptlib.specs.plugged import overview

    rows = overview()
    out.table(rows, ["plugin", "state", "version", "place"], empty="no plug-ins yet: docs/plugins.md shows how")
    if any(row.state == "not allowed" for row in rows):
        out.note(f"`conceptlib plugins allow PLUGIN` lets a file run; the list is {settings_file()}")


@cli.command("allow", short_help="Let a plug-in run.")
@click.argument("names", nargs=-1, metavar="[REGISTRY/NAME]...")
@click.option("--all", "every", is_flag=True, help="All files that are there now.")
@output.options
def allow(out: Output, names: tuple[str, ...], every: bool) -> None:
    """Let files run, each as it is now: read them first. A file that is changed later has to be allowed again.

    \b
    conceptlib plugins allow overlays/stripes
    conceptlib plugins allow --all
    """
    from conceptlib import plugins

    chosen = _chosen(names, every)
    for one in chosen:
        sha256 = plugins.allow(one)
        out.note(f"{one.ref} may run: {one.path} (sha256 {sha256[:12]})")
    out.result([one.ref for one in chosen], human=f"{len(chosen)} allowed", quiet="\n".join(one.ref for one in chosen))


@cli.command("forbid", short_help="Take the permission back.")
@click.argument("names", nargs=-1, metavar="[REGISTRY/NAME]...")
@click.option("--all", "every", is_flag=True, help="All files that are there now.")
@output.options
def forbid(out: Output, names: tuple[str, ...], every: bool) -> None:
    """Take the permission of files back.

    \b
    conceptlib plugins forbid overlays/stripes
    """
    from conceptlib import plugins

    taken = [one.ref for one in _chosen(names, every) if plugins.forbid(one)]
    out.result(taken, human=f"{len(taken)} forbidden", quiet="\n".join(taken) or None)


def _chosen(names: tuple[str, ...], every: bool) -> list[Plugin]:
    from conceptlib.specs.plugged import named, runnable

    if bool(names) == every:
        raise click.UsageError("which? name plug-ins, as `conceptlib plugins ls` shows them, or say --all")
    return [named(name) for name in names] if names else runnable()
