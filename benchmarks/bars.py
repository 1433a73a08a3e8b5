"""Measure every bar of the embedded job: the model `tiny`, its detectors, the erasure, and the demo.

    python benchmarks/bars.py                  # all; what is done already is not done again
    python benchmarks/bars.py model erasure    # some
    python benchmarks/bars.py --table          # write docs/bars.md from what was measured

Times are of this machine, and are measured only by what runs for the first time: use an empty CONCEPTLIB_HOME for
them. Results are kept in `benchmarks/results/bars.json`; `docs/bars.md` is written from them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results/bars.json")
MB = 1_000_000


@dataclass(frozen=True)
class Run:
    """Generated images, and overrides of each stage for trying the script out in miniature."""

    n: int
    build: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    erase: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bar:
    """One bar: what was required, what was measured, and whether that is enough (None: measured for the record)."""

    name: str
    required: str
    measured: str
    passed: bool | None


def at_least(name: str, value: float, bar: float, unit: str = "%") -> Bar:
    return _bar(name, value, bar, "≥", unit, value >= bar)


def at_most(name: str, value: float, bar: float, unit: str = "%") -> Bar:
    return _bar(name, value, bar, "≤", unit, value <= bar)


def _bar(name: str, value: float, bar: float, sign: str, unit: str, passed: bool) -> Bar:
    scale = 100 if unit in ("%", "points") else 1
    return Bar(name, f"{sign} {scale * bar:g} {unit}", f"{scale * value:.4g} {unit}", bool(passed))


def model(run: Run) -> list[Bar]:
    """Part 4: what `tiny` draws, and how large and fast it is."""
    from conceptlib.worlds import tiny
    from conceptlib.worlds.tiny.quality import check, load_pipeline

    report, _ = check(load_pipeline(), n=run.n)
    size = sum(path.stat().st_size for path in tiny.path().rglob("*") if path.is_file())
    names = ("object", "colour", "background")
    return [
        at_most("size in the package", size / MB, 15, "MB"),
        *(
            at_least(f"classifier reads the {name} of fresh renderings", report.classifier[name], 0.99)
            for name in names
        ),
        *(at_least(f"generated images show the right {name}", report.accuracy[name], 0.90) for name in names),
        at_most("QR rate, generated minus training data", abs(report.qr_rate - report.qr_rate_data), 0.10, "points"),
        at_least("QR rate of generated images (the classifier's eye)", report.qr_rate, 0.30),
        at_most("64 images, 20 DDIM steps with guidance", report.seconds, 15, "s"),
    ]


def detector(run: Run) -> list[Bar]:
    """Part 6: the trained detector, and zxing beside it, against the exact geometry of the test split."""
    from conceptlib.concepts.build import build
    from conceptlib.detectors.evaluate import evaluate_detector
    from conceptlib.detectors.train import train_detector

    data = build("icd-qr", overrides=run.build)
    trained = train_detector("yolo-icd", data, overrides=run.train)
    bars = [at_most("training of yolo-icd (with calibration and scoring)", trained.seconds, 90, "s")]
    for name in (trained, "zxing"):
        info = evaluate_detector(name, data).info
        shown = ", ".join(
            f"{key} {info[key]:.3f}" for key in ("mAP50", "mAP50-95", "image-recall", "false-positive-rate")
        )
        bars.append(Bar(f"{info['detector']} on {info['images']} test images", "—", shown, None))
    return bars


def erasure(run: Run) -> list[Bar]:
    """Part 9: what Geom-Erasing does to `tiny`."""
    from conceptlib.concepts.build import build
    from conceptlib.detectors.annotate import annotate
    from conceptlib.detectors.train import train_detector
    from conceptlib.erasers.erase import erase
    from conceptlib.evaluators.suite import evaluate, scores
    from conceptlib.scores import find

    data = build("icd-qr", overrides=run.build)
    found = train_detector("yolo-icd", data, overrides=run.train)
    checkpoint = erase("geom-erasing/qr", data=data, annotations=annotate(data, found), overrides=run.erase)
    rows = scores(evaluate(checkpoint, "icd", detector=found, overrides=[f"n={run.n}", *run.evaluate]))

    def value(subject: str, metric: str) -> float:
        row = find(rows, subject, metric)
        assert row is not None  # the suite has it
        return float(row["value"])

    bars = [
        at_least("images", run.n, 512, "images"),
        at_least("QR rate before", value("base", "concept_rate"), 0.30),
        at_most("QR rate after", value("checkpoint", "concept_rate"), 0.05),
    ]
    for metric in ("caption_accuracy", "accuracy_object", "accuracy_colour", "accuracy_background"):
        lost = value("base", metric) - value("checkpoint", metric)
        bars.append(at_most(f"{metric.replace('_', ' ')} lost", lost, 0.03, "points"))
    return bars


def demo(run: Run) -> list[Bar]:
    """The first impression: `conceptlib demo`, in a process of its own, then again."""
    from conceptlib.store import Store

    folder = Store().root / "bars-demo"
    command = [
        sys.executable,
        "-m",
        "conceptlib.cli.main",
        "demo",
        "--json",
        "--home",
        str(folder / "home"),
        "--out",
        str(folder),
    ]
    fresh = not (folder / "home").exists()
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    clock = time.perf_counter()
    first = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    seconds, again = time.perf_counter() - clock, time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    again = time.perf_counter() - again
    bars = [at_most("the demo again, with everything there", again, 30, "s")]
    if fresh:
        peak = (first["peak_memory_bytes"] or 0) / 1e9
        bars = [at_most("the whole demo", seconds / 60, 10, "min"), at_most("its memory", peak, 3, "GB"), *bars]
    return bars


def cli(run: Run) -> list[Bar]:
    """Part 1: the command line answers at once."""
    command = [sys.executable, "-m", "conceptlib.cli.main", "--help"]
    times = []
    for _ in range(5):
        clock = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - clock)
    return [at_most("conceptlib --help (best of 5)", min(times), 0.3, "s")]


PARTS: dict[str, Callable[[Run], list[Bar]]] = {
    "cli": cli,
    "model": model,
    "detector": detector,
    "erasure": erasure,
    "demo": demo,
}


def write_table(out: Path) -> str:
    """docs/bars.md from the results so far."""
    from conceptlib.reports.tables import markdown_table

    found: dict[str, Any] = json.loads((out / RESULTS).read_text("utf-8")) if (out / RESULTS).is_file() else {}
    text = [TEXT]
    for part, result in found.items():
        lines = [
            [b["name"], b["required"], b["measured"], {True: "yes", False: "**no**", None: "—"}[b["passed"]]]
            for b in result["bars"]
        ]
        note = f". {result['note']}" if "note" in result else ""
        text.append(f"## {part}\n\n`python benchmarks/bars.py {part}`, on {result['machine']}{note}\n")
        text.append(markdown_table(["bar", "required", "measured", "passed"], lines) + "\n")
    target = out / "docs" / "bars.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(text), "utf-8")
    return target.read_text("utf-8")


TEXT = """# Bars

What the embedded job has to reach, and what it reached: measured by `python benchmarks/bars.py`, which wrote this page.
Erasure and demo are one training each. How far trainings lie apart is told in [spread.md](spread.md).
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of {', '.join(PARTS)}; all by default")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    parser.add_argument("--n", type=int, default=512, help="generated images")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout that results and docs are written into")
    for stage in ("build", "train", "erase", "evaluate"):
        parser.add_argument(
            f"--{stage}", action="append", default=[], metavar="KEY=VALUE", help="override, to try it out"
        )
    args = parser.parse_args(argv)
    run = Run(args.n, *(tuple(getattr(args, stage)) for stage in ("build", "train", "erase", "evaluate")))
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for part in [] if args.table else args.parts or PARTS:
        bars = PARTS[part](run)
        path = args.out / RESULTS
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        found[part] = {"machine": f"{os.cpu_count()} x {platform.machine()}", "bars": [vars(bar) for bar in bars]}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({key: found[key] for key in PARTS if key in found}, indent=1) + "\n", "utf-8")
    print(write_table(args.out))
    failed = [
        bar
        for part in json.loads((args.out / RESULTS).read_text("utf-8")).values()
        for bar in part["bars"]
        if bar["passed"] is False
    ]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
