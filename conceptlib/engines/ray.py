"""By actors on a Ray cluster (https://docs.ray.io, the extra `ray`): Ray Core, no Ray Data.

The cluster is that of `RAY_ADDRESS` (`host:6379`), else one that `ray start` began on this machine, else one of this
machine's own, which ends with the job; `RAY_ADDRESS=local` always takes the last. Each actor holds one copy of the
work, works on one task at a time, and reads and writes files under the paths that this process uses: store and source
lie on a file system that all machines share. Only tasks and small results pass through Ray.

An actor that dies (out of memory, killed, its machine gone) is replaced, and its task is given out again, `TRIES` times
in all.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import socket
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib import __version__, plugins
from conceptlib.engines import R, T, Work
from conceptlib.errors import ConceptlibError

TRIES = 3
OBJECT_STORE_BYTES = 256 << 20
"""Of a cluster of this machine's own: nothing large goes through it."""

_TAKEN = ("CONCEPTLIB_", "HF_", "YOLO_")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")


def check() -> None:
    """Raises ConceptlibError without Ray."""
    if importlib.util.find_spec("ray") is None:
        raise ConceptlibError(
            "the ray engine needs Ray, which is not installed", where="engine", hint="pip install 'conceptlib[ray]'"
        )


def run(
    work: Work[T, R], tasks: Iterable[T], *, workers: int | None = None, gpu: bool = False
) -> Generator[tuple[T, R], None, None]:
    """See `Engine.run`. `workers`: actors; at most, and by default, one a CPU of the cluster, with `gpu` one a GPU."""
    if workers is not None and workers < 1:
        raise ConceptlibError(f"there cannot be {workers} workers", where="workers", hint="1 or more")
    rest = iter(tasks)
    first = next(rest, None)
    if first is None:
        return  # no cluster is worth starting for nothing
    with cluster() as ray:
        slots = _slots(ray, gpu)
        pool = _Pool(ray, _setup(ray, work), min(workers or slots, slots), bool(gpu and _gpus(ray)))
        try:
            yield from pool.run(first, rest)
        finally:
            pool.close()


@contextmanager
def cluster() -> Iterator[Any]:
    """The `ray` module, connected; what was not connected before is disconnected at the end.

    Raises:
        ConceptlibError: no cluster answers, or none can be started.
    """
    os.environ.setdefault("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(OBJECT_STORE_BYTES))
    import ray

    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # the library raises many kinds, its own base class among them
        ray.shutdown()
        hint = "`ray status` tells whether it runs; RAY_ADDRESS=local takes this machine alone"
        raise ConceptlibError(
            f"there is no Ray cluster to work on: {_first_line(error)}", where=address or "ray", hint=hint
        ) from error
    try:
        with _hushed():
            yield ray
            ray.shutdown()
    finally:
        ray.shutdown()


@contextmanager
def _hushed() -> Iterator[None]:
    """Without Ray's own reports of dead workers, which go to stdout: a result is printed there, and we say it too.

    Nothing public turns them off; where this switch is gone, they are seen again and no more is lost.
    """
    worker = importlib.import_module("ray._private.worker")
    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        worker._worker_logs_enabled = before  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Setup:
    """What an actor must know before it unpickles anything of ours."""

    version: str
    folder: str
    environment: dict[str, str]
    sources: tuple[plugins.Source, ...]
    work: bytes


@dataclass(frozen=True)
class _Failed:
    """An error that the work raised: what an OSError or a ConceptlibError holds, and where it came from."""

    what: str
    where: str
    hint: str
    number: int | None
    trace: str

    def error(self) -> Exception:
        if self.number is not None:
            return OSError(self.number, self.what, self.where)
        error = ConceptlibError(self.what, where=self.where, hint=self.hint)
        error.add_note(self.trace)
        return error


class _Actor:
    """Holds the work; its errors come back as data, since not every exception survives being pickled."""

    def __init__(self, setup: _Setup) -> None:
        self._setup = setup
        self._work: Any = None

    def run(self, task: Any) -> Any:
        try:
            if self._work is None:
                self._work = _open(self._setup)
            return self._work(task)
        except Exception as error:
            return _failed(error, task.name)


def _open(setup: _Setup) -> Any:
    from ray import cloudpickle

    if setup.version != __version__:
        raise ConceptlibError(
            f"a worker has conceptlib {__version__}, this command {setup.version}",
            where=socket.gethostname(),
            hint="install the same version on every machine of the cluster",
        )
    os.environ.update(setup.environment)
    if Path(setup.folder).is_dir():
        os.chdir(setup.folder)  # relative paths mean what they mean to the user
    plugins.receive(setup.sources)
    return cloudpickle.loads(setup.work)  # of this very command, as all that Ray carries; nothing from outside


def _failed(error: Exception, task: str) -> _Failed:
    trace = f"on {socket.gethostname()}:\n{traceback.format_exc()}"
    if isinstance(error, ConceptlibError):
        return _Failed(error.what, error.where, error.hint, None, trace)
    if isinstance(error, OSError) and error.errno is not None:
        return _Failed(error.strerror or str(error), str(error.filename or task), "", error.errno, trace)
    what = f"a worker failed: {type(error).__name__}: {_first_line(error)}"
    return _Failed(what, task, "CONCEPTLIB_DEBUG=1 shows the worker's traceback", None, trace)


class _Pool:
    """Actors and what each is busy with; no more tasks are taken than there are actors."""

    def __init__(self, ray: Any, setup: Any, count: int, gpu: bool) -> None:
        self._ray, self._setup, self._count = ray, setup, count
        options = {"num_cpus": 1, "num_gpus": int(gpu), "max_restarts": 0, "max_task_retries": 0}
        self._actor = ray.remote(**options)(_Actor)
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Any]] = {}

    def run(self, first: Any, rest: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        again, deaths = deque([first]), Counter[str]()
        while True:
            while len(self._busy) < self._count:
                task = again.popleft() if again else next(rest, None)
                if task is None:
                    self._dismiss()  # what waits for a CPU may have theirs
                    break
                actor = self._idle.pop() if self._idle else self._actor.remote(self._setup)
                self._busy[actor.run.remote(task)] = actor, task
            if not self._busy:
                return
            (ready,), _ = self._ray.wait(list(self._busy), num_returns=1)
            actor, task = self._busy.pop(ready)
            try:
                answer = self._ray.get(ready)
            except self._ray.exceptions.RayTaskError as error:  # what the task or the answer holds cannot be pickled
                raise ConceptlibError(f"a worker failed: {_last_line(error)}", where=task.name) from error
            except self._ray.exceptions.RayError as error:
                self._ray.kill(actor)
                if "creation task" in str(error):  # nothing of ours has run there yet, and nothing will
                    raise _unborn(error) from error
                deaths[task.name] += 1
                if deaths[task.name] >= TRIES:
                    raise _died(task.name, error) from error
                again.append(task)
                continue
            self._idle.append(actor)
            if isinstance(answer, _Failed):
                raise answer.error()
            yield task, answer

    def close(self) -> None:
        """End all actors, whatever they do."""
        for actor, _ in self._busy.values():
            self._ray.kill(actor)
        self._busy = {}
        self._dismiss()

    def _dismiss(self) -> None:
        while self._idle:
            self._ray.kill(self._idle.pop())


def _setup(ray: Any, work: Any) -> Any:
    """In the object store once, however many actors there are."""
    from ray import cloudpickle

    environment = {
        key: value
        for key, value in os.environ.items()
        if key.startswith(_TAKEN) and not any(word in key for word in _SECRET)
    }
    try:
        pickled = cloudpickle.dumps(work)
    except Exception as error:  # whatever an object's own pickling raises
        raise ConceptlibError(
            f"the work cannot be sent to other machines: {_first_line(error)}",
            where="engine",
            hint="give a detector by the name of its spec; or use --engine local",
        ) from error
    return ray.put(_Setup(__version__, os.getcwd(), environment, plugins.sources(), pickled))


def _gpus(ray: Any) -> int:
    return int(ray.cluster_resources().get("GPU", 0))


def _slots(ray: Any, gpu: bool) -> int:
    slots = (gpu and _gpus(ray)) or int(ray.cluster_resources().get("CPU", 0))
    if not slots:
        raise ConceptlibError("the Ray cluster has no CPUs for workers", where="ray", hint="`ray status` shows them")
    return int(slots)


def _unborn(error: Exception) -> ConceptlibError:
    return ConceptlibError(
        f"a worker cannot start: {_last_line(error)}",
        where="ray",
        hint="install the same version of conceptlib on every machine of the cluster",
    )


def _died(task: str, error: Exception) -> ConceptlibError:
    return ConceptlibError(
        f"workers died {TRIES} times over the same piece of work ({_last_line(error)})",
        where=task,
        hint="out of memory? give each worker more; the same command goes on from the finished shards",
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
