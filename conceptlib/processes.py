"""Processes that work for this one, and know nothing of the script that runs.

    with Workers(str.upper, 2) as workers:
        answers = [workers.submit(word) for word in words]
        print([answer.result() for answer in answers])

`multiprocessing` starts a process by running the user's script once more, which is why it wants
`if __name__ == "__main__":` around everything. Here a process is an interpreter of its own that is told the import
path, the plug-ins that run here, and the work. So a script, standard input, `python -c`, a notebook and a daemonic
process can start them as they are. What is sent must be picklable and live in a module, not in the script itself.

A process ends when its standard input ends, so that none outlives this one, however that ends. Ctrl-C does not reach
it; whoever holds the `Workers` ends them.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import spawn
from typing import IO, Any

from conceptlib import plugins
from conceptlib.errors import ConceptlibError

_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from conceptlib.processes import serve; serve()"


class Workers:
    """At most `count` processes that apply `work` to what is submitted; each starts when there is something for it."""

    def __init__(self, work: Callable[[Any], Any], count: int) -> None:
        self._work = pickle.dumps((plugins.sources(), pickle.dumps(work)))
        self._threads = ThreadPoolExecutor(count, "conceptlib-worker")  # each waits for a process of its own
        self._own = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def submit(self, task: Any) -> Future[Any]:
        """`work(task)`, of which the result or the error comes; ConceptlibError if the process died over it."""
        return self._threads.submit(self._ask, task)

    def close(self) -> None:
        """End all processes, whatever they do."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def _ask(self, task: Any) -> Any:
        packed = pickle.dumps(task)
        process = self._process()
        assert process.stdin is not None and process.stdout is not None  # they are pipes
        try:
            _send(process.stdin, packed)
            done, answer = pickle.loads(_receive(process.stdout))  # noqa: S301 - from our own process
        except (EOFError, BrokenPipeError) as error:
            raise _died(process) from error
        if not done:
            raise answer
        return answer

    def _process(self) -> subprocess.Popen[bytes]:
        """This thread's, started if need be."""
        process: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
        if process is None:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the workers are closed")
                process = _start()
                self._processes.append(process)
            self._own.process = process
            assert process.stdin is not None
            _send(process.stdin, self._work)
        return process


def _start() -> subprocess.Popen[bytes]:
    executable = spawn.get_executable()  # what `multiprocessing.set_executable` said, where Python is embedded
    if not executable:
        raise ConceptlibError(
            "no worker process can be started: this program does not say where its Python is",
            where="workers",
            hint="say workers=1, or call multiprocessing.set_executable(PATH)",
        )
    path = [folder or os.getcwd() for folder in sys.path]
    # A group of its own: Ctrl-C in a terminal reaches this process alone.
    apart: dict[str, Any] = {"process_group": 0}
    if os.name == "nt":
        apart = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    command = [os.fsdecode(executable), "-P", "-c", _BOOT, *path]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **apart)


def _died(process: subprocess.Popen[bytes]) -> ConceptlibError:
    status = process.wait()
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return ConceptlibError(
        f"a worker process ended abruptly ({how})",
        where=f"process {process.pid}",
        hint="out of memory? try fewer workers; the same command goes on from what is done",
    )


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(8, "big"))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """The next message. Raises EOFError."""
    head = stream.read(8)
    size = int.from_bytes(head, "big")
    message = stream.read(size) if len(head) == 8 else b""
    if not message or len(message) < size:
        raise EOFError
    return message


# in the process


def serve() -> None:
    """What a process does: answer until its standard input ends."""
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    try:
        os.dup2(2, 1)  # what the work prints must not get between the answers
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    work: Callable[[Any], Any] | None = None
    packed = b""
    try:
        packed = _receive(tasks)
        while True:
            task = _receive(tasks)
            try:
                work = work or _unpacked(packed)
                answer = pickle.dumps((True, work(pickle.loads(task))))  # noqa: S301
            except Exception as error:
                answer = _failed(error)
            _send(answers, answer)
    except (EOFError, BrokenPipeError):  # the process that started this one wants no more, or is gone
        os._exit(0)


def _unpacked(packed: bytes) -> Callable[[Any], Any]:
    sources, work = pickle.loads(packed)  # noqa: S301 - from the process that started this one
    plugins.receive(sources)  # before anything of theirs is unpickled
    unpacked: Callable[[Any], Any] = pickle.loads(work)  # noqa: S301
    return unpacked


def _failed(error: Exception) -> bytes:
    """An error as an answer; one that cannot be pickled as its words."""
    error.add_note("in a worker process:\n" + traceback.format_exc())
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)  # noqa: S301 - our own
    except Exception:  # whatever an error's own pickling raises
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer
