"""Annotating as work for other machines: which detector a worker loads, and whether it is the one that was meant."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.adapters.zxing import Params, ZxingDetector
from conceptlib.detectors.base import uses_gpu
from conceptlib.detectors.load import load_detector
from conceptlib.detectors.shards import ShardTask, ShardWork
from conceptlib.errors import ConceptlibError
from conceptlib.store import Store
from tests.support.pictures import dataset


def test_a_worker_annotates_a_shard_once_and_with_the_same_detector(home: Path, tmp_path: Path) -> None:
    store = Store(home)
    pictures, _ = dataset(store, {"train": (3, 2)}, size=256)
    first, second = ImageTable(pictures).shards()
    sent = ShardWork.of("zxing", load_detector("zxing"), pictures.path, 2, store, None, False)
    work = pickle.loads(pickle.dumps(sent))
    task = ShardTask(first, tmp_path / "data" / first.name)
    assert work(task) == task.count() == 3 and task.name == first.name
    assert [row["image_id"] for row in AnnotationTable.shard_rows(task.target)] == ["row-0", "row-1", "row-2"]
    stamp = task.target.stat().st_mtime_ns
    assert work(task) == 3 and task.target.stat().st_mtime_ns == stamp  # an earlier try had done it
    other = replace(sent, lock=sent.lock | {"zxing-cpp": "0.1", "params": {}})
    with pytest.raises(ConceptlibError, match=r"another detector than this machine: params, zxing-cpp differ"):
        other(ShardTask(second, tmp_path / "data" / second.name))
    newer = replace(sent, lock=sent.lock | {"code_version": 99})
    with pytest.raises(ConceptlibError, match=r"another detector than this machine: code_version differ"):
        newer(ShardTask(second, tmp_path / "data" / second.name))


def test_a_trained_detector_is_meant_by_its_id_and_a_worker_has_a_gpu_of_its_own(home: Path) -> None:
    trained = ZxingDetector("zxing", Params())
    trained.artifact = "0123456789abcdef"
    work = ShardWork.of("zxing", trained, home, 32, Store(home), "cuda:1", True)
    assert (work.detector, work.device, work.trust) == ("0123456789abcdef", "cuda", True)
    assert ShardWork.of(trained, trained, home, 32, Store(home), "cpu", False).detector is trained


def test_who_takes_a_gpu() -> None:
    class Network(ZxingDetector):
        on_cpu = False

    network = Network("n", Params())
    assert [uses_gpu(network, device) for device in (None, "cuda", "cuda:1", "cpu", "mps")] == [True] * 3 + [False] * 2
    assert not uses_gpu(load_detector("zxing"), None)
