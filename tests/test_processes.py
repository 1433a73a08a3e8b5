"""Worker processes: no main guard, no orphans, errors that come back; and the same for whatever of ours starts some."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from conceptlib import processes
from conceptlib.errors import ConceptlibError
from conceptlib.processes import Workers
from tests.support import processes as work

STARTERS = """
import sys
from pathlib import Path
print("once", file=sys.stderr)
import conceptlib
from conceptlib.concepts.check import check
from conceptlib.worlds.tiny.data import prerender

data = conceptlib.build("icd-qr", overrides=["rows=20"], workers=2)
print(data.info["rows"], check(data, workers=2).pictures, len(prerender(Path("drawn"), 4, 0, {}, workers=2)[0]))
"""
"""Every library call that starts processes with workers of ours."""

LEAST = """
import sys
print("once", file=sys.stderr)
from conceptlib.processes import Workers
from tests.support.processes import tell

with Workers(tell, 2) as workers:
    print([future.result()[0] for future in [workers.submit("a"), workers.submit("b")]])
"""
"""What they start them with: in the other forms of a script it is that which could differ."""


def as_file(code: str, folder: Path) -> tuple[list[str], str | None]:
    (folder / "script.py").write_text(code, encoding="utf-8")
    return [str(folder / "script.py")], None


def as_standard_input(code: str, folder: Path) -> tuple[list[str], str | None]:
    return ["-"], code


def in_a_daemonic_process(code: str, folder: Path) -> tuple[list[str], str | None]:
    """Such a process may start none by `multiprocessing`; torch's loaders and many servers are such."""
    start = f"Process(target=exec, args=({code!r}, {{}}), daemon=True)"
    return ["-c", f"import multiprocessing as m\np = m.get_context('fork').{start}\np.start()\np.join()\n"], None


@pytest.mark.parametrize(
    ("form", "code", "said"),
    [
        (as_file, STARTERS, "{'train': 16, 'test': 4} 20 4"),
        (as_standard_input, LEAST, "['A', 'B']"),
        (in_a_daemonic_process, LEAST, "['A', 'B']"),
    ],
)
def test_a_script_needs_no_main_guard(
    form: Callable[[str, Path], tuple[list[str], str | None]], code: str, said: str, tmp_path: Path
) -> None:
    arguments, given = form(code, tmp_path)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{said}\n"
    assert done.stderr.count("once") == 1, "a worker ran the script"


def environment() -> dict[str, str]:
    """Where the modules of the tests are found, too."""
    root = str(Path(__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def test_answers_come_from_other_processes_and_what_they_print_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    with Workers(work.tell, 2) as workers:
        answers = [future.result() for future in [workers.submit(word) for word in ("a", "b", "c", "d")]]
    assert [word for word, _ in answers] == ["A", "B", "C", "D"]
    assert os.getpid() not in {pid for _, pid in answers}
    assert "printed a" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("task", "expected", "message"),
    [
        ("refuse", ConceptlibError, "refused"),
        ("file", FileNotFoundError, "no-such-file"),
        ("unpicklable", RuntimeError, "Unpicklable: cannot travel"),
    ],
)
def test_errors_come_back_and_the_worker_goes_on(task: str, expected: type[Exception], message: str) -> None:
    with Workers(work.fail, 1) as workers:
        with pytest.raises(expected, match=message) as caught:
            workers.submit(task).result()
        if task == "refuse":
            assert (caught.value.where, caught.value.hint) == ("here", "do not")
        assert workers.submit("fine").result() == "fine"


def test_work_that_lives_in_the_script_is_an_error_and_no_hang(tmp_path: Path) -> None:
    code = "from conceptlib.processes import Workers\ndef mine(x): return x\nWorkers(mine, 1).submit(1).result()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "mine" in done.stderr


@pytest.mark.parametrize(("how", "told"), [("kill", "by signal 9"), ("exit", "with status 3")])
def test_a_worker_that_dies_is_told_of(how: str, told: str) -> None:
    with Workers(work.die, 2) as workers, pytest.raises(ConceptlibError, match=f"ended abruptly .{told}"):
        workers.submit(how).result()


def test_a_worker_that_cannot_start_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.spawn, "get_executable", lambda: None)
    with Workers(work.tell, 1) as workers, pytest.raises(ConceptlibError, match="where its Python is"):
        workers.submit("a").result()


def test_half_an_answer_is_none() -> None:
    with pytest.raises(EOFError):
        processes._receive(io.BytesIO((10).to_bytes(8, "big") + b"short"))


def test_closing_ends_workers_in_the_middle_of_their_work(tmp_path: Path) -> None:
    workers = Workers(partial(work.sleep, tmp_path), 2)
    futures = [workers.submit(60) for _ in range(4)]
    pids = wait_for(lambda: pids_in(tmp_path, 2))
    workers.close()
    assert all(future.cancelled() or future.exception() for future in futures)
    assert not any(map(alive, pids))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_parent(tmp_path: Path, number: int) -> None:
    code = """
import sys
from functools import partial
from pathlib import Path
from conceptlib.processes import Workers
from tests.support.processes import sleep

workers = Workers(partial(sleep, Path(sys.argv[1])), 2)
for future in [workers.submit(0.2) for _ in range(1000)]:
    future.result()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment()) as parent:
        pids = wait_for(lambda: pids_in(tmp_path, 2))
        parent.send_signal(number)
    wait_for(lambda: not any(map(alive, pids)))


def wait_for(what: Callable[[], object], seconds: float = 60) -> object:
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
    return found


def pids_in(folder: Path, count: int) -> list[int]:
    found = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    return found if len(found) == count else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True
