"""Work for `conceptlib.processes`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from conceptlib.errors import ConceptlibError


class Unpicklable(Exception):
    """An error of two arguments that remembers one: it cannot be made anew."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def tell(word: str) -> tuple[str, int]:
    sys.stdout.write(f"printed {word}\n")
    sys.stdout.flush()
    time.sleep(0.1)
    return word.upper(), os.getpid()


def fail(task: str) -> str:
    if task == "refuse":
        raise ConceptlibError("refused", where="here", hint="do not")
    if task == "file":
        raise FileNotFoundError(2, "there is none", "no-such-file")
    if task == "unpicklable":
        raise Unpicklable("cannot travel", "far")
    return task


def die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(3)


def sleep(folder: Path, seconds: float) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(seconds)
