"""The `conceptlib` command: finds the verbs, runs one, turns what goes wrong into a message and an exit status.

A verb is a file of this folder: `catalog.py` holds the command `cli` that `conceptlib catalog` runs. Adding the file
is enough. At its top level it imports click and `conceptlib.cli.output` only, so that `conceptlib --help` can show
all of them at once.

Exit status: 0 done, 1 error, 2 usage, 130 interrupted (Ctrl-C), 143 ended by SIGTERM, 129 by SIGHUP. With `--json` an
error is a JSON document on stdout too. `CONCEPTLIB_DEBUG=1` shows tracebacks.
"""

from __future__ import annotations

import errno
import keyword
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import click

from conceptlib import __version__
from conceptlib.cli._log import warnings_shown
from conceptlib.cli._signals import listening
from conceptlib.cli.output import Output
from conceptlib.errors import ConceptlibError

_NOT_VERBS = {"main", "output"}
_RENAMED = {"detector": "detectors", "model": "models"}
"""Groups that had another name: the old one still works, with a note."""


def verbs() -> list[str]:
    """The names of all commands, from the files beside this one (`import_.py`: a name that Python keeps to itself)."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(_verb(name) for name in found if name not in _NOT_VERBS and not name.startswith("_"))


def _verb(module: str) -> str:
    return module.rstrip("_").replace("_", "-")


def _module(verb: str) -> str:
    name = verb.replace("-", "_")
    return f"{name}_" if keyword.iskeyword(name) else name


class LazyGroup(click.Group):
    """A group whose commands are the modules of `conceptlib.cli`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return verbs()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in verbs():
            return None
        command = import_module(f"conceptlib.cli.{_module(cmd_name)}").cli
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if new := _RENAMED.get(args[0]):
            if not {"-q", "--quiet"}.intersection(args):
                Output().note(f"`conceptlib {args[0]}` is `conceptlib {new}` now")
            args = [new, *args[1:]]
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:  # click looks for the nearest among commands it has loaded
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=verbs(), ctx=ctx) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="conceptlib")
def cli() -> None:
    """Teach a text-to-image model not to draw something.

    conceptlib builds the datasets that expose a concept, finds where the concept sits, erases it from a diffusion
    model, measures what went and what stayed, catalogs the checkpoint and publishes it.

    \b
    A first look (10 minutes, no network):
      conceptlib demo
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; never raises."""
    args = list(argv) if argv is not None else sys.argv[1:]
    out = Output("json" if "--json" in takewhile(lambda word: word != "--", args) else "human")
    Output.documents = 0
    with listening() as signals:
        try:
            return _run(args, out)
        except (KeyboardInterrupt, click.Abort):
            hint = "the same command continues where it stopped"
            return out.failed(signals.what, hint=hint, status=signals.status)


def _run(args: list[str], out: Output) -> int:
    debug = os.environ.get("CONCEPTLIB_DEBUG", "") not in {"", "0"}
    try:
        with warnings_shown(out):
            _refuse_no_text(args)
            result = cli.main(args=args, prog_name="conceptlib", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        with suppress(OSError):  # a closed output: the status says enough
            out.text(error.format_message())
        return 2
    except click.UsageError as error:
        return out.failed(error.format_message(), hint=_usage_hint(error.ctx), status=2)
    except click.ClickException as error:
        return out.failed(error.format_message(), status=error.exit_code)
    except ConceptlibError as error:
        _trace(debug)
        return out.failed(error.what, error.where, error.hint, status=error.exit_code)
    except BrokenPipeError:
        # The reader (`| head`) has gone. Python would complain again when it flushes stdout at exit, so give it
        # somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _trace(debug)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "free some space (`conceptlib gc` removes unfinished work); the same command then continues"
            return out.failed("no space left on the disk", str(error.filename or ""), hint, status=1)
        what = error.strerror or str(error) or type(error).__name__
        return out.failed(what, str(error.filename or ""), status=1)
    except click.Abort:
        raise
    except Exception as error:
        _trace(debug)
        if place := _in_plugin(error):
            hint = "mend the plug-in; CONCEPTLIB_DEBUG=1 shows the traceback"
            return out.failed(f"a plug-in raised {type(error).__name__}: {error}", place, hint, status=1)
        hint = "this is a bug in conceptlib: CONCEPTLIB_DEBUG=1 shows the traceback to report"
        return out.failed(f"unexpected {type(error).__name__}: {error}", hint=hint, status=1)


def _in_plugin(error: Exception) -> str:
    """File and line of the user's plug-in that an error came through; empty: none."""
    plugins = sys.modules.get("conceptlib.plugins")
    return str(plugins.culprit(error)) if plugins else ""


def _refuse_no_text(words: Sequence[str]) -> None:
    """Refuse what no name, path or value can be: a null character, or bytes that are not UTF-8 where no file of that
    name is there.
    """
    for word in words:
        broken = any("\ud800" <= character <= "\udfff" for character in word)
        if "\x00" in word or (broken and not os.path.exists(word.rpartition("=")[2])):
            raise click.UsageError(f"{word[:80]!r} is no text: it holds a null character or bytes that are not UTF-8")


def _trace(debug: bool) -> None:
    if debug:
        Output().note(traceback.format_exc())


def _usage_hint(context: click.Context | None) -> str:
    return f"`{context.command_path if context else 'conceptlib'} --help` shows the usage"


if __name__ == "__main__":
    sys.exit(main())
