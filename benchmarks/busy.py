"""The demo's erase on a free machine and beside four busy loops.

    python benchmarks/busy.py --free --busy --steps 12      # once on a free machine; it makes the other one itself
    python benchmarks/busy.py --busy --fixed 2              # with a fixed number of threads that spin, as it was before

The erase is the demo's (`geom-erasing/qr` on `tiny`, the recipe's batch) on a small dataset, with fewer steps: what a
step takes does not depend on how many there are. The bar: at most four times the seconds of a free machine, everything
included that the training does (the trials that choose the number of threads too). Every run is a process of its own.

The result is one JSON object, on stdout and, with `--out FILE`, in a file: seconds of the training, of its steps
(median), and the number of threads of each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from conceptlib.cores import available

LOOPS = 4
BAR = 4.0
ROWS = 64


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def erase(home: Path, steps: int, fixed: int, seed: int) -> dict[str, Any]:
    """One erase in a process of its own; what its log tells."""
    environment = {**os.environ, "CONCEPTLIB_HOME": str(home)}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"):
        environment.pop(name, None)
    if fixed:
        # What OpenMP does where nothing is said lies between the two policies; a number of spins says it outright.
        environment |= {"OMP_NUM_THREADS": str(fixed), "OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "300000"}
    words = ["erase", "geom-erasing/qr", "--data", "icd-qr", "--annotations", "truth", "--base", "tiny"]
    words += [f"steps={steps}", f"seed={seed}"]
    began = time.monotonic()
    command = [sys.executable, "-m", "conceptlib", *words, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    took = time.monotonic() - began
    folder = Path(json.loads(done.stdout)["path"])
    info = json.loads((folder / "manifest.json").read_text())["info"]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {
        "steps": steps,
        "seconds": round(took, 1),
        "train_seconds": info["train_seconds"],
        "seconds_a_step": round(median(line["seconds"] for line in log), 3),
        "threads": [line["threads"] for line in log],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--fixed", type=int, default=0, metavar="THREADS", help="a fixed number that spins")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": f"{available()} x {platform.machine()}", "fixed": options.fixed, "bar": BAR}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        build = [sys.executable, "-m", "conceptlib", "build", "icd-qr", f"rows={ROWS}", "--quiet"]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "CONCEPTLIB_HOME": folder})
        for seed, (name, loops) in enumerate((("free", 0), ("busy", LOOPS))):
            if not getattr(options, name):
                continue
            with ExitStack() as stack:
                if loops:
                    stack.enter_context(busy_loops(loops))
                found[name] = erase(home, options.steps, options.fixed, seed)
    if "free" in found and "busy" in found:
        found["times"] = round(found["busy"]["train_seconds"] / found["free"]["train_seconds"], 2)
        found["times_a_step"] = round(found["busy"]["seconds_a_step"] / found["free"]["seconds_a_step"], 2)
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
