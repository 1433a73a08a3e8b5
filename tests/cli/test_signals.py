"""Signals that end a command, and what `--json` prints of a failure."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conceptlib.cli._progress import Progress
from conceptlib.cli._signals import Ended, listening
from conceptlib.cli.main import main
from conceptlib.store import Store
from tests.test_processes import wait_for

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "ignored", "status", "what"),
    [
        (signal.SIGINT, signal.SIGINT, 130, "interrupted"),  # as a shell script starts what is in the background
        (signal.SIGTERM, None, 143, "ended by SIGTERM"),
        (signal.SIGHUP, None, 129, "ended by SIGHUP"),
    ],
)
def test_signals_end_a_command_cleanly(number: int, ignored: int | None, status: int, what: str, home: Path) -> None:
    command = [sys.executable, "-m", "conceptlib", "build", "icd-qr", "rows=100000", "--workers", "1", "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # What this test was started under (nohup) does not count.
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    wait_for(lambda: list(home.rglob("parts")))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err.strip().endswith(f"error: {what}\n  hint:  the same command continues where it stopped")
    hint = "the same command continues where it stopped"
    assert json.loads(out) == {"error": {"what": what, "where": "", "hint": hint, "status": status}}
    assert not Store(home).list()


def test_handlers_are_put_back_and_what_is_ignored_stays_so() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with pytest.raises(Ended), listening() as listener:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
        assert (listener.status, listener.what) == (143, "ended by SIGTERM")
    finally:
        signal.signal(signal.SIGHUP, kept)
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_signal_that_somebody_swallowed_is_raised_again_while_work_goes_on() -> None:
    with listening():
        progress = Progress(io.StringIO())
        progress("work", 1, 3)
        with contextlib.suppress(KeyboardInterrupt):  # as a destructor or a C extension's import does
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Ended):
            progress("work", 2, 3)
    progress("work", 3, 3)
    progress.__exit__()


@pytest.mark.parametrize(
    ("argv", "status", "what"),
    [
        (["catalog", "show", "nothing", "--json"], 1, "nothing"),
        (["build", "icd-qr", "rows=none", "--json"], 1, "rows"),
        (["build", "--json"], 2, "Missing argument"),
        (["build", "icd-qr", "--no-such", "--json"], 2, "--no-such"),
        (["buidl", "--json"], 2, "buidl"),
        (["env", "--json", "--quiet"], 2, "exclude each other"),
    ],
)
def test_a_failure_is_a_document_too(
    argv: list[str], status: int, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == status
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert what in error["what"] + error["where"] + error["hint"]
    assert error["status"] == status and set(error) == {"what", "where", "hint", "status"}
    assert shown.err.startswith("error: ")


@pytest.mark.parametrize("argv", [["build", "icd-qr", "rows=none"], ["catalog", "show", "--", "--json"]])
def test_without_json_stdout_stays_empty(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) != 0
    assert capsys.readouterr().out == ""


def test_a_result_that_is_printed_stays_the_only_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from conceptlib.cli import env

    def late(self: object, data: object, **kwargs: object) -> None:
        fields(self, data)  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")

    fields = env.output.Output.fields
    monkeypatch.setattr(env.output.Output, "fields", late)
    monkeypatch.setattr(env.output.Output, "result", late)
    assert main(["env", "--json"]) == 1
    assert "error" not in json.loads(capsys.readouterr().out)
