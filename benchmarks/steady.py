"""How much Geom-Erasing of QR codes differs from one training to the next, on the embedded model.

    python benchmarks/steady.py                          # 4 seeds, with one thread and with two: 8 trainings
    python benchmarks/steady.py --seeds 0 --threads 1    # some of them; the others that were measured stay
    python benchmarks/steady.py --table                  # measure nothing, write docs/spread.md
    python benchmarks/steady.py --record                 # and keep mean and range in recipes/results.json

Each training is two commands of the demo, `conceptlib erase` and `conceptlib evaluate`, in a process and a store of
its own: dataset, detector and annotations are made once and copied, so that only the training differs. The number of
threads decides in which order sums are taken, hence the last bits of every step, and with them the weights at the
end. The suite's captions and seeds are the same in every row.

Results are kept in `benchmarks/results/steady.json`: what is there of the same recipe is not measured again, and rows
of a recipe with other parameters are dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptlib.evaluators.figures import figure
from conceptlib.reports.tables import markdown_table
from conceptlib.scores import find
from conceptlib.specs.discover import find as find_spec
from conceptlib.specs.results import fingerprint, record, with_ranges

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks", "results", "steady.json")
PAGE = Path("docs", "spread.md")
RECIPE, DATA, DETECTOR = "geom-erasing/qr", "icd-qr", "yolo-icd"
NUM_STEPS = 10
"""Denoising steps of a picture, as in the demo."""
WORST_RATE, WORST_CAPTIONS = 0.02, 0.96


def conceptlib(home: Path, *words: str, threads: int) -> dict[str, Any]:
    """Run a command in a store; what it answers with `--json`."""
    environment = os.environ | {
        "CONCEPTLIB_HOME": str(home),
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "conceptlib", *words, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return dict(json.loads(done.stdout))


def prepare(home: Path, n: int) -> None:
    """Make what all trainings share: dataset, detector, annotations, and the base's pictures."""
    conceptlib(home, "build", DATA, threads=1)
    conceptlib(home, "detectors", "train", DETECTOR, "--data", DATA, threads=1)
    conceptlib(home, "annotate", DATA, "--detector", DETECTOR, threads=1)
    conceptlib(home, "evaluate", "tiny", *suite(n), threads=1)


def suite(n: int) -> list[str]:
    """The words of `conceptlib evaluate` that say what is measured."""
    return ["--suite", "icd", "--detector", DETECTOR, f"n={n}", f"num_steps={NUM_STEPS}"]


def measure(home: Path, work: Path, seed: int, threads: int, n: int) -> dict[str, Any]:
    """Train once and evaluate: a row of the results."""
    own = work / f"seed-{seed}-threads-{threads}"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(home, own)
    inputs = ["--data", DATA, "--annotations", DETECTOR, "--base", "tiny"]
    erased = conceptlib(own, "erase", RECIPE, *inputs, f"seed={seed}", threads=threads)
    measured = conceptlib(own, "evaluate", RECIPE, *suite(n), threads=threads)
    shutil.rmtree(own)
    return {
        "seed": seed,
        "threads": threads,
        "n": n,
        "checkpoint": erased["id"],
        "train_seconds": erased["train_seconds"],
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "scores": measured["scores"],
    }


def load(out: Path) -> dict[str, Any]:
    """The results so far; none if they are of other parameters than the recipe has now."""
    path, now = out / RESULTS, fingerprint(find_spec("recipe", RECIPE).path)
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found if found.get("fingerprint") == now else {"recipe": RECIPE, "fingerprint": now, "runs": []}


def keep(out: Path, row: Mapping[str, Any]) -> None:
    """Add a row to the results file, in the place of an earlier one of the same seed and threads."""
    found = load(out)
    others = [run for run in found["runs"] if (run["seed"], run["threads"]) != (row["seed"], row["threads"])]
    found["runs"] = sorted([*others, dict(row)], key=lambda run: (run["seed"], run["threads"]))
    path = out / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def values(runs: Sequence[Mapping[str, Any]], subject: str, metric: str) -> list[float]:
    """A metric of every run, in order."""
    rows = [find(run["scores"], subject, metric) for run in runs]
    return [float(row["value"]) for row in rows if row is not None]


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `recipes/results.json` keeps: means over the trainings, and their ranges."""
    runs = found["runs"]
    rates = values(runs, "checkpoint", "concept_rate")
    captions = values(runs, "checkpoint", "caption_accuracy")
    kept = [after / before for after, before in zip(captions, values(runs, "base", "caption_accuracy"), strict=True)]
    return {
        "base": "tiny",
        "suite": "icd",
        **with_ranges(target=rates, retain=kept),
        "targets": ["qr-code"],
        "seeds": len({run["seed"] for run in runs}),
        "trainings": len(runs),
        "n": min(run["n"] for run in runs),
    }


def write_page(out: Path) -> Path:
    """docs/spread.md from the results."""
    runs = load(out)["runs"]
    lines = []
    for run in runs:
        rate, captions = (find(run["scores"], "checkpoint", name) for name in ("concept_rate", "caption_accuracy"))
        kid = find(run["scores"], "checkpoint", "kid")
        lines.append([
            str(run["seed"]),
            str(run["threads"]),
            figure(rate),
            figure(captions),
            "—" if kid is None else f"{kid['value']:.4f}",
        ])  # fmt: skip
    rates, captions = (values(runs, "checkpoint", name) for name in ("concept_rate", "caption_accuracy"))
    before = [find(runs[0]["scores"], "base", name) for name in ("concept_rate", "caption_accuracy")]
    target = out / PAGE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        TEXT.format(
            n=min(run["n"] for run in runs),
            trainings=len(runs),
            seeds=len({run["seed"] for run in runs}),
            table=markdown_table(["seed", "threads", "QR rate", "caption accuracy", "KID"], lines),
            base_rate=figure(before[0]),
            base_captions=figure(before[1]),
            rates=_spread(rates),
            captions=_spread(captions),
            verdict=_verdict(rates, captions),
        ),
        "utf-8",
    )
    return target


def _spread(found: Sequence[float]) -> str:
    mean = sum(found) / len(found)
    return f"{100 * min(found):.1f} to {100 * max(found):.1f} %, mean {100 * mean:.1f} %"


def _verdict(rates: Sequence[float], captions: Sequence[float]) -> str:
    def met(good: bool) -> str:
        return "met" if good else "**not met**"

    return (
        f"worst QR rate at most {100 * WORST_RATE:.0f} %: {met(max(rates) <= WORST_RATE)}; "
        f"worst caption accuracy at least {100 * WORST_CAPTIONS:.0f} %: {met(min(captions) >= WORST_CAPTIONS)}"
    )


TEXT = """# Spread over trainings

The recipe `geom-erasing/qr` on the embedded model, trained {trainings} times: {seeds} seeds, each with the
threads that the table says. The seed decides the order of the pictures, noise, timesteps and dropout. The number of
threads decides only in which order sums are taken; from the last bits of the first step on, the weights part. Dataset,
detector, annotations, captions and the seeds of the drawn pictures are the same in every row. Written by
`python benchmarks/steady.py`, which runs the demo's commands.

{table}

- QR rate: **{rates}** (the base, before: {base_rate})
- caption accuracy: **{captions}** (the base, before: {base_captions})
- wanted of the worst training: {verdict}

How the recipe's settings were chosen, on which seeds and captions, is told in
[geom-erasing.md](geom-erasing.md#how-steady-it-is).

## What an interval covers

The interval in brackets is Wilson's, of {n} pictures of *one* checkpoint: how much the rate would differ if the same
checkpoint drew other captions from other noise. It says nothing about what another training of the same recipe would
give. For that, look at how far the rows lie apart. A single training never shows how steady a recipe is.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--n", type=int, default=256, help="pictures a checkpoint")
    parser.add_argument("--work", type=Path, default=Path("steady-work"), help="folder for the stores")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout that results and docs are written into")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--record", action="store_true", help="keep mean and range in recipes/results.json")
    args = parser.parse_args(argv)
    if not args.table and not args.record:
        home = args.work.absolute() / "home"
        prepare(home, args.n)
        for seed in args.seeds:
            for threads in args.threads:
                if any((run["seed"], run["threads"]) == (seed, threads) for run in load(args.out)["runs"]):
                    continue
                row = measure(home, args.work.absolute(), seed, threads, args.n)
                keep(args.out, row)
                shown = [values([row], "checkpoint", name)[0] for name in ("concept_rate", "caption_accuracy")]
                print(f"seed {seed}, {threads} threads: QR {shown[0]:.3f}, captions {shown[1]:.3f}", flush=True)
    if args.record:
        record({RECIPE: summary(load(args.out))})
    print(write_page(args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
