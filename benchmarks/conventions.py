"""How much is it to erase as the authors' released code does, and not as we do? On the embedded model.

    python benchmarks/conventions.py                    # two words, one seed: 20 erasures; half an hour on one core
    python benchmarks/conventions.py --targets star --only uce

Each pair is the same recipe, with `convention: release` and without what it changes: the prompt that ESD's student
reads, ESD-u without normalisation layers, Ablating's first term summed over channels, the begin mark for an empty
anchor in UCE and RECE. All is kept in the store: a stopped run goes on. One training a cell, and what differs by a
few percent may be chance (docs/spread.md).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from conceptlib.reports.tables import markdown_table
from conceptlib.specs import SweepSpec, load_spec
from conceptlib.store import Store
from conceptlib.sweeps.run import measurements, sweep

EMPTY = "'anchor=\"\"'"
ESD = 'erase_from="a drawing" convention=release eta=2'
PAIRS = {
    "ESD-x out of a drawing": (f"esd/{{domain}} {ESD} as_released=false", f"esd/{{domain}} {ESD}"),
    "ESD-u": (
        "esd/{domain} variant=u convention=release eta=2 as_released=false",
        "esd/{domain} variant=u convention=release eta=2",
    ),
    "Ablating with a prior": ("ablating/{domain}", "ablating/{domain} convention=release"),
    "UCE, empty anchor": (f"uce/{{domain}} {EMPTY}", f"uce/{{domain}} {EMPTY} convention=release"),
    "RECE, empty anchor": (f"rece/{{domain}} {EMPTY}", f"rece/{{domain}} {EMPTY} convention=release"),
}
"""What is compared, to the lines of a sweep: ours, and the release's."""
METRICS = ("target_accuracy", "retain_accuracy", "cross_accuracy")
HEADINGS = {"target_accuracy": "target", "retain_accuracy": "retain", "cross_accuracy": "other words"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=["star", "red"])
    parser.add_argument("--only", default="", help="pairs whose name begins so")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    pairs = {name: pair for name, pair in PAIRS.items() if name.lower().startswith(asked.only.lower())}
    spec = _spec([line for pair in pairs.values() for line in pair], asked.targets, asked.seeds)
    store = Store()
    done = sweep(spec, store=store, on_run=lambda run: print(run.cell, run.error or "done", file=sys.stderr))
    print(_table(pairs, [measurements(run, store) for run in done.runs if not run.error], asked.targets))
    return 1 if done.failed else 0


def _spec(lines: list[str], targets: list[str], seeds: int) -> SweepSpec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conventions.yaml")
        spec = {"kind": "sweep", "name": "conventions", "description": "ours and the releases'", "seed": 0}
        spec |= {"base": "tiny", "recipes": lines, "targets": targets, "seeds": seeds, "suite": "erasure"}
        path.write_text(json.dumps(spec | {"evaluate": ["n=40", "neighbour_n=6", "num_steps=16"]}))  # JSON is YAML
        return load_spec("sweep", path)


def _table(pairs: dict[str, tuple[str, str]], rows: list[dict[str, Any]], targets: list[str]) -> str:
    """Percent: ours, the release's."""
    header = ["", "erased", *(f"{HEADINGS[metric]}: {whose}" for metric in METRICS for whose in ("ours", "release"))]
    body = []
    for name, pair in pairs.items():
        for target in targets:
            cells = [[row for row in rows if (row["recipe"], row["target"]) == (_label(line), target)] for line in pair]
            values = [_mean(cell, metric) for metric in METRICS for cell in cells]
            body.append([name, target, *values])
    return markdown_table(header, body)


def _label(line: str) -> str:
    return line.replace("/{domain}", "")


def _mean(cell: list[dict[str, Any]], metric: str) -> str:
    values = [row[metric] for row in cell if row[metric] is not None]
    return f"{100 * statistics.mean(values):.1f}" if values else "—"


if __name__ == "__main__":
    sys.exit(main())
