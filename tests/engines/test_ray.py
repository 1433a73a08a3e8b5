"""Build and annotate on a real Ray cluster of two CPUs: the artifacts are those of one machine, whoever dies."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conceptlib.concepts import build as building
from conceptlib.concepts.build import build, truth_of
from conceptlib.concepts.reuse import Recorded
from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row
from conceptlib.detectors.annotate import annotate
from conceptlib.engines import engine
from conceptlib.engines import ray as engine_ray
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.store import Artifact, Store
from conceptlib.worlds.tiny import world
from tests.support.mortal import ClumsyDetector, Lingering, Mortal, MortalDetector, Numbered, Unborn
from tests.support.pictures import dataset

ROWS = ["rows=60", "test_share=0.25", "shard_rows=20"]  # blocks of 20, 20 and 5 in train, of 15 in test


class Piece:
    """A piece of work."""

    name = "train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of this machine, of one node with two CPUs; joined by its address as an engine joins it."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Ray gives workers a low priority and a minute to start: on a busy machine neither is enough.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_worker_register_timeout_seconds", "300")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found = Cluster(initialize_head=True, head_node_args=node(num_cpus=2))
        patch.setenv("RAY_ADDRESS", found.address)
        with engine_ray.cluster() as ray:
            yield found
            assert ray.is_initialized()  # an engine leaves alone what it did not connect
        assert not ray.is_initialized()
        found.shutdown()


@pytest.fixture
def cluster(nodes: Any) -> str:
    """The address of the cluster."""
    return str(nodes.address)


def node(**options: Any) -> dict[str, Any]:
    """A node's options. Its ports are chosen here: it gives up where its agents take 15 s to choose theirs."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    return {"object_store_memory": 100 << 20, "include_dashboard": False, **ports, **options}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact]:
    """The same build in one process."""
    store = Store(tmp_path_factory.mktemp("local"))
    return store, build("icd-qr", overrides=ROWS, store=store, workers=1)


def mortal(monkeypatch: pytest.MonkeyPatch, key: str, times: int, log: Path) -> None:
    monkeypatch.setattr(building, "Recorded", lambda draw: Mortal(Recorded(draw), key, times, log))


def test_a_worker_dies_and_the_build_is_that_of_one_machine(
    cluster: str, local: tuple[Store, Artifact], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mortal(monkeypatch, "train-00000025", 1, log := tmp_path / "log")
    told: list[tuple[str, int, int]] = []
    store = Store()
    made = build("icd-qr", overrides=ROWS, store=store, engine="ray", progress=lambda *a: told.append(a))
    assert made.id == local[1].id and made.key == local[1].key
    assert truth_of(made, store).id == truth_of(local[1], local[0]).id
    files = [
        sorted(p for p in one.path.rglob("*") if p.is_file() and p.name != "manifest.json") for one in (made, local[1])
    ]
    assert [p.relative_to(made.path) for p in files[0]] == [p.relative_to(local[1].path) for p in files[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
    assert made.info == local[1].info and not store.verify()
    assert told[-1] == ("build", 60, 60) and [read for _, read, _ in told] == sorted(read for _, read, _ in told)
    # The block that was under way when its worker died is drawn again, nothing else.
    drawn = Counter(log.read_text().split())
    assert {key for key, count in drawn.items() if count > 1} == {f"train-{k:08d}" for k in range(20, 26)}
    assert len(drawn) == 60 and max(drawn.values()) == 2


def test_a_block_that_kills_every_worker_is_named_and_the_rest_is_kept_for_the_other_engine(
    cluster: str,
    local: tuple[Store, Artifact],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        mortal(patch, "train-00000041", 99, log := tmp_path / "log")
        with pytest.raises(ConceptlibError, match=r"died 3 times.*train block 2 \(train-00000040 to train-00000044\)"):
            build("icd-qr", overrides=ROWS, engine="ray", workers=1)
    assert Counter(log.read_text().split())["train-00000041"] == engine_ray.TRIES
    assert capsys.readouterr() == ("", "")  # Ray's own reports of the deaths
    assert not Store().list("dataset")
    told: list[tuple[str, int, int]] = []
    made = build("icd-qr", overrides=ROWS, workers=1, progress=lambda *a: told.append(a))
    assert told[0] == ("build", 41, 60) and made.id == local[1].id


def test_a_build_that_stopped_here_goes_on_there_with_rows_of_an_earlier_one(
    cluster: str, local: tuple[Store, Artifact], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store()
    build("icd-qr", overrides=["rows=32", *ROWS[1:]], store=store, workers=1)  # 24 of train, 8 of test
    drawn = 0
    render = world.render

    def stop(scene: world.Scene, size: int = 64) -> Any:
        nonlocal drawn
        drawn += 1
        if drawn == 17:
            raise KeyboardInterrupt
        return render(scene, size)

    with monkeypatch.context() as patch:
        patch.setattr(world, "render", stop)
        with pytest.raises(KeyboardInterrupt):
            build("icd-qr", overrides=ROWS, store=store, workers=1)
    mortal(monkeypatch, "none", 0, log := tmp_path / "log")
    made = build("icd-qr", overrides=ROWS, store=store, engine="ray", workers=1)
    assert made.id == local[1].id and made.info["reused"] == 8  # those of train were in the blocks that were done
    assert sorted(log.read_text().split()) == [
        *(f"test-{k:08d}" for k in range(8, 15)),
        *(f"train-{k:08d}" for k in range(40, 45)),
    ]


def test_a_worker_dies_and_the_annotations_are_those_of_one_machine(cluster: str, tmp_path: Path) -> None:
    store = Store()
    pictures, _ = dataset(store, {"train": (5, 7, 4), "test": (6,)}, size=256)
    log = tmp_path / "log"
    told: list[tuple[str, int, int]] = []
    made = annotate(
        pictures, MortalDetector(log, 4), store=store, batch_size=2, engine="ray", progress=lambda *a: told.append(a)
    )
    assert told[-1] == ("annotate", 22, 22)
    elsewhere = Store(tmp_path / "other")
    same, _ = dataset(elsewhere, {"train": (5, 7, 4), "test": (6,)}, size=256)
    assert annotate(same, MortalDetector(tmp_path / "here", 0), store=elsewhere).id == made.id
    assert [p.name for p in AnnotationTable(made).shards()] == [p.name for p in ImageTable(pictures).shards()]
    # 12 batches, and those again that the dead worker had done of its shard, its last included: 4 at most.
    assert 13 <= len(log.read_text().split()) <= 16


def test_a_bad_row_is_the_error_that_it_is_here(cluster: str) -> None:
    store = Store()
    with store.draft("dataset", "bad", lock={}) as draft:
        row = image_row("row-0", b"\x89PNG no more", size=(4, 4))
        ImageTable.write(draft.path / "data" / "train-00000-of-00001.parquet", [row])
        bad = draft.commit()
    errors = []
    for name in ("local", "ray"):
        with pytest.raises(ConceptlibError, match="'row-0' cannot be decoded") as caught:
            annotate(bad, "zxing", store=store, engine=name)
        errors.append((caught.value.what.partition(":")[0], caught.value.where, caught.value.hint))
    assert errors[0] == errors[1]


def test_a_node_leaves_and_its_piece_is_done_by_another(nodes: Any, cluster: str, tmp_path: Path) -> None:
    other = nodes.add_node(**node(num_cpus=1))
    work = Lingering(other.node_id, tmp_path / "there")
    over = threading.Event()

    def take_away() -> None:
        while not over.wait(0.1):
            if work.marker.exists():
                return nodes.remove_node(other, allow_graceful=False)

    watch = threading.Thread(target=take_away)
    watch.start()
    try:
        done = dict(engine_ray.run(work, [Numbered(k) for k in range(4)], workers=3))
    finally:
        over.set()
        watch.join()
    assert work.marker.exists()
    assert done == {Numbered(k): k * k for k in range(4)}


def test_a_machine_without_conceptlib_is_told_from_a_death(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_ray, "_Actor", Unborn)
    with pytest.raises(
        ConceptlibError, match=r"cannot start: .*No module named 'conceptlib'.*install the same version"
    ):
        next(engine_ray.run(str, [Piece()], workers=1))


def test_the_command_joins_a_cluster_says_nothing_of_it_and_leaves_it_running(cluster: str, home: Path) -> None:
    import ray

    dataset(Store(home), {"train": (2, 2)}, size=256)
    environment = os.environ | {"RAY_ADDRESS": cluster, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-m",
        "conceptlib",
        "annotate",
        "codes",
        "-d",
        "zxing",
        "--engine",
        "ray",
        "--workers",
        "1",
    ]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 4
    assert "ray" not in done.stderr.lower()
    assert ray.nodes()[0]["Alive"]


def test_a_bug_names_the_piece_of_work_and_keeps_the_traceback() -> None:
    from ray import cloudpickle

    detector = cloudpickle.dumps(ClumsyDetector())
    setup = engine_ray._Setup(
        engine_ray.__version__, os.getcwd(), {}, (), cloudpickle.dumps(lambda _: cloudpickle.loads(detector).detect([]))
    )
    error = engine_ray._Actor(setup).run(Piece()).error()
    assert isinstance(error, ConceptlibError) and "IndexError: list index out of range" in error.what
    assert error.where == Piece.name and "mortal.py" in error.__notes__[0]


def test_a_full_disk_there_is_a_full_disk_here() -> None:
    from ray import cloudpickle

    def full(_: object) -> None:
        raise OSError(28, "No space left on device", "/there/x.parquet")

    setup = engine_ray._Setup(engine_ray.__version__, os.getcwd(), {}, (), cloudpickle.dumps(full))
    error = engine_ray._Actor(setup).run(Piece()).error()
    assert isinstance(error, OSError) and (error.errno, error.filename) == (28, "/there/x.parquet")


def test_another_version_of_conceptlib_is_refused() -> None:
    error = engine_ray._Actor(engine_ray._Setup("99.0", "/", {}, (), b"")).run(Piece()).error()
    assert isinstance(error, ConceptlibError) and "99.0" in error.what


def test_no_token_goes_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        put = staticmethod(lambda setup: setup)

    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_HOME", "/shared/hf")
    setup = engine_ray._setup(Fake, None)
    assert setup.environment["HF_HOME"] == "/shared/hf" and "HF_TOKEN" not in setup.environment
    with socket.socket() as one, pytest.raises(ConceptlibError, match="cannot be sent to other machines"):
        engine_ray._setup(Fake, one)


def test_a_worker_a_cpu_or_a_gpu_where_there_are_any() -> None:
    def slots(gpu: bool, **resources: float) -> int:
        return engine_ray._slots(SimpleNamespace(cluster_resources=lambda: resources), gpu)

    assert (slots(False, CPU=8.0, GPU=2.0), slots(True, CPU=8.0, GPU=2.0), slots(True, CPU=8.0)) == (8, 2, 8)
    with pytest.raises(ConceptlibError, match="no CPUs"):
        slots(False, memory=1.0)
    with pytest.raises(ConceptlibError, match="cannot be 0 workers"):
        next(engine_ray.run(str, [Piece()], workers=0))


def test_no_cluster_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def nobody(**_: object) -> None:
        raise ConnectionError("Could not connect.\nA long story")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", nobody)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with (
        pytest.raises(
            ConceptlibError, match=r"no Ray cluster.*Could not connect\. \(10\.0\.0\.1:6379\).*RAY_ADDRESS=local"
        ),
        engine_ray.cluster(),
    ):
        pass


def test_what_is_missing_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConceptlibError, match=r"no engine 'rai'.*did you mean 'ray'"):
        build("icd-qr", engine="rai")
    with pytest.raises(UsageError, match="only a cluster"):
        annotate("codes", "zxing", workers=2)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find(name, *a))
    for act in (
        lambda: build("icd-qr", engine="ray"),
        lambda: annotate("codes", "zxing", engine="ray"),
        lambda: engine("ray"),
    ):
        with pytest.raises(ConceptlibError, match=r"needs Ray.*pip install 'conceptlib\[ray\]'"):
            act()
