from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest

from conceptlib.cli import main as module
from conceptlib.cli.main import cli, main, verbs
from conceptlib.errors import ConceptlibError, UsageError


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Make `conceptlib env` raise what the test wants."""

    def failing(error: BaseException) -> None:
        @click.command("env")
        def command() -> None:
            raise error

        monkeypatch.setattr(module.LazyGroup, "get_command", lambda self, ctx, name: command)

    return failing


def test_every_file_is_a_verb_with_short_help(capsys: pytest.CaptureFixture[str]) -> None:
    files = {path.stem.removesuffix("_") for path in Path(module.__file__).parent.glob("[a-z]*.py")} - {
        "main",
        "output",
    }
    assert {name.replace("-", "_") for name in verbs()} == files
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in verbs():
        assert f"\n  {name} " in shown
        command = cli.get_command(click.Context(cli), name)
        assert command is not None and command.name == name
        assert command.get_short_help_str(1000), f"{name} has no help"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from conceptlib import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"conceptlib, version {__version__}\n"


@pytest.mark.parametrize("argv", [["--help"], ["datasets", "-h"], ["detectors", "ls"], ["concepts", "validate"]])
def test_help_and_specs_import_nothing_heavy(argv: list[str]) -> None:
    code = f"""
import sys
from conceptlib.cli.main import main
main({argv!r})
heavy = {{"torch", "diffusers", "transformers", "datasets", "ultralytics", "pyarrow", "duckdb", "cv2", "PIL"}}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_help_of_all_commands_loads_click_and_little_else() -> None:
    """What `--help` costs is what it imports: none of our library packages, no pydantic, no YAML."""
    code = """
import sys
from conceptlib.cli.main import main
main(["--help"])
ours = {name.split(".")[1] for name in sys.modules if name.startswith("conceptlib.")}
print(sorted(ours | ({"pydantic", "yaml", "numpy"} & set(sys.modules))), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "['cli', 'errors', 'progress', 'redaction']"  # files of the ground floor


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["datsets"], "No such command 'datsets'. Did you mean 'datasets'"),
        (["concepts", "sho"], "Did you mean 'show'"),
        (["concepts", "show"], "Missing argument 'NAME'"),
        (["concepts", "ls", "--jsn"], "--json"),
        (["concepts", "cat", "text", "override"], "write it as key=value"),
        (["concepts", "ls", "--json", "--quiet"], "exclude each other"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" or "--json" in argv
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "hint:" in captured.err


@pytest.mark.parametrize("argv", [[], ["concepts"]])
def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert main(argv) == 2
    assert "Usage: conceptlib" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (ConceptlibError("It broke", where="a", hint="do"), 1, "error: It broke\n  where: a\n  hint:  do\n"),
        (ConceptlibError("It broke"), 1, "error: It broke\n"),
        (UsageError("Not so"), 2, "error: Not so\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n  hint:  the same command continues where it stopped\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "error: Permission denied\n  where: /x\n"),
    ],
)
def test_what_goes_wrong_becomes_a_message(capsys, failing, error: BaseException, status: int, shown: str) -> None:
    failing(error)
    assert main(["env"]) == status
    captured = capsys.readouterr()
    assert captured.err.lstrip("\n") == shown  # click leaves the line of a ^C
    assert captured.out == ""


def test_a_full_disk(capsys: pytest.CaptureFixture[str], failing) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/data/x.parquet"))
    assert main(["env"]) == 1
    shown = capsys.readouterr().err
    assert "no space left on the disk" in shown and "/data/x.parquet" in shown and "conceptlib gc" in shown


def test_bugs_say_how_to_see_the_traceback(capsys, failing, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(KeyError("x"))
    assert main(["env"]) == 1
    shown = capsys.readouterr().err
    assert "unexpected KeyError: 'x'" in shown and "CONCEPTLIB_DEBUG=1" in shown and "Traceback" not in shown
    monkeypatch.setenv("CONCEPTLIB_DEBUG", "1")
    assert main(["env"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_tokens_in_errors_are_masked(capsys, failing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-value-1")
    monkeypatch.setenv("CONCEPTLIB_DEBUG", "1")
    failing(ConceptlibError("401 for hf_" + "A" * 34, where="https://u:secret-value-1@hub"))
    assert main(["env"]) == 1
    shown = capsys.readouterr().err
    assert "AAAA" not in shown and "secret-value-1" not in shown
    assert shown.count("hf_***") >= 2


def test_a_reader_that_leaves_is_no_error() -> None:
    """`conceptlib concepts cat text | true`: no traceback, no message."""
    code = "import sys; from conceptlib.cli.main import main; sys.exit(main(['concepts', 'cat', 'text']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_the_installed_command_and_the_module_are_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "conceptlib", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "conceptlib,")
