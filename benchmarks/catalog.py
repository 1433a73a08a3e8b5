"""What the catalog's commands cost in a store of many artifacts: processor seconds of whole commands, and memory.

    python benchmarks/catalog.py WORKDIR --artifacts 50000   # makes the store once: a minute

A tenth of the artifacts are datasets and annotation sets, three tenths checkpoints; the rest evaluations of 34 scores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conceptlib.store.hashing import artifact_id, artifact_key, digest, sha256_bytes
from conceptlib.store.manifest import FileEntry, Manifest, environment
from conceptlib.store.names import folder_of

METRICS = ["concept_rate", *(f"m{number}" for number in range(1, 17))]
METHODS = ["esd", "uce", "geom-erasing", "sld", "rece", "ablating"]
ADD = """
from conceptlib.store import Store
with Store().draft("dataset", "new", lock={"at": "%s"}) as draft:
    (draft.path / "a").write_text("%s")
    draft.commit()
"""


class Maker:
    """Writes artifacts as the store does, without its locks and syncs."""

    def __init__(self, root: Path) -> None:
        self.root, self.made, self.environment = root, 0, environment()

    def put(self, kind: str, name: str, lock: Any, parents: Mapping[str, str], info: Any, data: bytes = b"x") -> str:
        file = "scores.json" if kind == "evaluation" else "data"
        entries = (FileEntry(path=file, sha256=sha256_bytes(data), size=len(data)),)
        content = digest({file: entries[0].sha256, "number": str(self.made)})
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_767_225_600 + self.made))
        manifest = Manifest(
            id=artifact_id(kind, content, parents), key=artifact_key(kind, name, lock, parents), kind=kind, name=name,
            parents=dict(parents), lock=lock, info=info, files=entries, content=content, content_from="producer",
            created=f"{clock}.000000+00:00", seconds=1.5, environment=self.environment,
        )  # fmt: skip
        folder = self.root / "artifacts" / kind / folder_of(name) / manifest.id
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(manifest.to_json())
        (folder / file).write_bytes(data)
        self.made += 1
        return manifest.id


def make(root: Path, count: int) -> None:
    """A store of so many artifacts."""
    maker, rng = Maker(root), random.Random(1)
    data: list[str] = []
    boxes: list[str] = []
    erased: list[tuple[str, str]] = []
    for k in range(count):
        part = k % 20
        if part == 0:
            spec = {"spec": {"builder": "icd", "seed": k}}
            data.append(maker.put("dataset", f"icd-{k % 7}", spec, {}, {"concepts": ["qr-code"], "written": 100}))
        elif part == 1:
            found = {"boxes": {"qr-code": 50}}
            boxes.append(maker.put("annotations", "zxing", {"n": k}, {"dataset": rng.choice(data)}, found))
        elif part < 8:
            method = METHODS[k % 6]
            name, parents = f"{method}/v{k % 11}", {"dataset": rng.choice(data), "annotations": rng.choice(boxes)}
            lock = {"recipe": {"method": method, "concepts": ["qr-code"], "seed": k}, "base": {"ref": "tiny"}}
            erased.append((maker.put("checkpoint", name, lock, parents, {"adapter": "lora"}), name))
        else:
            checkpoint, name = rng.choice(erased)
            common = {"low": 0.0, "high": 1.0, "n": 512, "interval": "wilson95"}
            scores = [
                {"subject": subject, "metric": metric, "value": rng.random(), **common}
                for subject in ("base", "checkpoint")
                for metric in METRICS
            ]
            lock = {"suite": {"suite": "icd", "name": "icd", "seed": k, "params": {"num_steps": 20}}}
            text = json.dumps(scores).encode()
            maker.put("evaluation", f"{name}/icd", lock, {"checkpoint": checkpoint}, {"suite": "icd"}, text)


def cost(code: str, home: Path) -> tuple[float, int]:
    """Processor seconds and MB of a Python process that runs `code` in a store."""
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.environ["CONCEPTLIB_HOME"] = str(home)
        os.execv(sys.executable, [sys.executable, "-c", code])
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"this failed: {code}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10


def command(*words: str) -> str:
    return f"import sys; from conceptlib.cli.main import main; sys.exit(main({['catalog', *words, '--quiet']!r}))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--artifacts", type=int, default=50_000)
    options = parser.parse_args()
    root = options.workdir.absolute() / f"store-{options.artifacts}"
    if not root.exists():
        make(root, options.artifacts)
    one = next((root / "artifacts" / "checkpoint").glob("*/*")).name
    now = str(time.time())
    steps = {
        "Python's start": "pass",
        "reindex": command("reindex"),
        "ls --limit 20": command("ls", "--limit", "20"),
        "query": command("query", "SELECT kind, count(*) FROM artifacts GROUP BY kind"),
        "show": command("show", one),
        "leaderboard": command("leaderboard"),
        "add one artifact": ADD % (now, now),
        "ls after it came": command("ls", "--limit", "20"),
    }
    print(f"{options.artifacts} artifacts")
    for name, code in steps.items():
        seconds, memory = cost(code, root)
        print(f"{name:<20} {seconds:8.2f} s {memory:6d} MB", flush=True)


if __name__ == "__main__":
    main()
