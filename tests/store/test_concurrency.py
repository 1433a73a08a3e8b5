"""Real processes: two at once, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conceptlib.store import Store

SCRIPT = """
import json, pathlib, sys, time
from conceptlib.store import Store

name, lock, pause, signals = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]), pathlib.Path(sys.argv[4])
wrote = []
with Store().draft("dataset", name, lock=lock) as draft:
    if draft.done:
        artifact = draft.done
    else:
        for shard in range(4):
            path = draft.path / f"shard-{shard}"
            if not path.exists():
                temporary = draft.path / f"shard-{shard}.tmp"
                temporary.write_bytes(b"x" * 1000 * shard)
                (signals / f"{name}-{shard}").touch()
                time.sleep(pause)
                temporary.rename(path)
                wrote.append(shard)
        artifact = draft.commit()
print(json.dumps({"id": artifact.id, "wrote": wrote}))
"""


def start(name: str, lock: dict[str, object], signals: Path, pause: float = 0.02) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SCRIPT, name, json.dumps(lock), str(pause), str(signals)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    answer: dict[str, object] = json.loads(output)
    return answer


def test_two_processes_with_one_key_do_the_work_once(store: Store, folder: Path) -> None:
    answers = [finish(process) for process in [start("icd-qr", {"a": 1}, folder) for _ in range(2)]]
    assert answers[0]["id"] == answers[1]["id"]
    assert sorted(len(answer["wrote"]) for answer in answers) == [0, 4]  # type: ignore[arg-type]
    assert len(store.list()) == 1 and store.verify() == []


def test_two_processes_with_two_keys_and_one_content_end_with_one_artifact(store: Store, folder: Path) -> None:
    answers = [finish(process) for process in [start("icd-qr", {"a": number}, folder) for number in range(2)]]
    assert answers[0]["id"] == answers[1]["id"]
    assert [answer["wrote"] for answer in answers] == [[0, 1, 2, 3]] * 2
    assert len(store.list()) == 1 and store.verify() == []
    for number in range(2):
        with store.draft("dataset", "icd-qr", lock={"a": number}) as draft:
            assert draft.done is not None and draft.done.id == answers[0]["id"]


def test_a_killed_process_loses_its_half_written_shard_only(store: Store, folder: Path) -> None:
    process = start("icd-qr", {"a": 1}, folder, pause=0.3)
    while not (folder / "icd-qr-2").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.list() == []
    answer = finish(start("icd-qr", {"a": 1}, folder))
    assert answer["wrote"] == [2, 3]
    assert store.verify() == [] and [entry.size for entry in store.get("icd-qr").files] == [0, 1000, 2000, 3000]
