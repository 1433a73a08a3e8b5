"""What each part of Geom-Erasing does, on the embedded model: the paper's ablation, the negative prompt alone, and an
oracle.

    python benchmarks/ablation.py                        # all rows; what is done already is not done again
    python benchmarks/ablation.py --only geometry        # one row; the table gains a line
    python benchmarks/ablation.py --table                # write docs/ablation.md and its picture from what was measured

Every row is an artifact in the store ($CONCEPTLIB_HOME), so it can be stopped and run in pieces. The measured rows
are kept in `benchmarks/results/ablation.json`; `docs/ablation.md` and `docs/img/ablation.png` are written from them,
whatever they show.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.cli.output import Output
from conceptlib.concepts.build import build
from conceptlib.concepts.tables import AnnotationTable
from conceptlib.detectors.annotate import annotate
from conceptlib.detectors.train import train_detector
from conceptlib.erasers.erase import erase
from conceptlib.evaluators.figures import figure
from conceptlib.evaluators.framed import Series, erasure_grid
from conceptlib.evaluators.metrics.concept_rate import has_concept
from conceptlib.evaluators.suite import evaluate, scores
from conceptlib.reports.tables import markdown_table
from conceptlib.scores import find
from conceptlib.store import Artifact, Store

ROOT = Path(__file__).resolve().parent.parent
DETECTOR = "yolo-icd"


@dataclass(frozen=True)
class Row:
    """A line of the table: `recipe` is trained on `data`; without one, `subject` of the base is measured."""

    title: str
    recipe: str = ""
    subject: str = "checkpoint"
    data: str = "icd-qr"


ROWS = {
    "base": Row("base, nothing done", subject="base"),
    "negative": Row("base, negative prompt alone", subject="base+negative"),
    "plain": Row("plain fine-tune", "geom-erasing/qr-plain"),
    "name": Row("+ name", "geom-erasing/qr-name"),
    "geometry": Row("+ geometry", "geom-erasing/qr-geometry"),
    "reweighting": Row("+ reweighting (Geom-Erasing)", "geom-erasing/qr-reweighting"),
    "tokens": Row("model removal: location tokens alone", "geom-erasing/qr-model-removal"),
    "oracle": Row("oracle: plain fine-tune on unpolluted pictures", "geom-erasing/qr-plain", data="icd-qr-clean"),
    "clean": Row("clean pictures, no model", subject="clean"),
}
BUILD = {"icd-qr": [], "icd-qr-clean": ["name=icd-qr-clean", "rate=0"]}


@dataclass
class Bench:
    """The settings of a run, and where its results go. The overrides are for trying it out in miniature."""

    n: int = 512
    base: str = "tiny"
    build: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    erase: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    out: Path = ROOT
    store: Store = dataclasses.field(default_factory=Store)

    @property
    def results(self) -> Path:
        return self.out / "benchmarks" / "results" / "ablation.json"

    def measured(self) -> dict[str, dict[str, Any]]:
        """The rows so far, by name."""
        return json.loads(self.results.read_text("utf-8")) if self.results.is_file() else {}

    def measure(self, name: str, progress: Any) -> Artifact:
        """Make (or find) one row and remember its scores."""
        row = ROWS[name]
        data = build("icd-qr", overrides=[*BUILD["icd-qr"], *self.build], store=self.store, progress=progress)
        detector = train_detector(DETECTOR, data, overrides=self.train, store=self.store, progress=progress)
        checkpoint: Artifact | str = self.base
        if row.recipe:
            if row.data != "icd-qr":
                data = build("icd-qr", overrides=[*BUILD[row.data], *self.build], store=self.store, progress=progress)
            plain = row.recipe.endswith("-plain")  # needs no boxes
            annotations = None if plain else annotate(data, detector, store=self.store, progress=progress)
            checkpoint = erase(
                row.recipe,
                data=data,
                annotations=annotations,
                base=self.base,
                overrides=self.erase,
                store=self.store,
                progress=progress,
            )
        subjects = "checkpoint, checkpoint-no-negative" if row.recipe else row.subject
        evaluation = evaluate(
            checkpoint,
            "icd",
            overrides=[
                f"n={self.n}",
                *self.evaluate,
                f"subjects=[base, {subjects}]" if subjects != "base" else "subjects=[base]",
            ],
            detector=detector,
            store=self.store,
            progress=progress,
        )
        self.keep(name, evaluation, checkpoint)
        return evaluation

    def keep(self, name: str, evaluation: Artifact, checkpoint: Artifact | str) -> None:
        """Write the row into the results file; the other rows stay."""
        trained = isinstance(checkpoint, Artifact)
        found = self.measured()
        found[name] = {
            "title": ROWS[name].title,
            "subject": ROWS[name].subject,
            "evaluation": evaluation.ref,
            "series": {role: evaluation.parents[f"{role}:{ROWS[name].subject}"] for role in ("images", "annotations")},
            "checkpoint": checkpoint.ref if trained else None,
            "seconds": round(checkpoint.seconds, 1) if trained else None,
            "machine": f"{platform.machine()}, {evaluation.environment.get('device') or checkpoint_device(checkpoint)}",
            "scores": scores(evaluation),
        }
        self.results.parent.mkdir(parents=True, exist_ok=True)
        ordered = {key: found[key] for key in ROWS if key in found}
        self.results.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")

    def report(self) -> Path:
        """Write docs/ablation.md, and the picture where the rows' images are in this store."""
        found = self.measured()
        lines = []
        for row in found.values():
            rows, subject = row["scores"], row["subject"]
            alone = find(rows, "checkpoint-no-negative", "concept_rate") if row["checkpoint"] else None
            cells = [row["title"], figure(find(rows, subject, "concept_rate")), figure(alone)]
            cells += [figure(find(rows, subject, "caption_accuracy")), figure(find(rows, subject, "kid"))]
            lines.append([*cells, "—" if row["seconds"] is None else f"{row['seconds']:.0f}"])
        counts = " to ".join(str(n) for n in sorted({r["n"] for row in found.values() for r in row["scores"]}))
        header = ["", "QR rate", "without negative prompt", "caption accuracy", "KID", "training, s"]
        target = self.out / "docs" / "ablation.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(TEXT.format(n=counts, table=markdown_table(header, lines)), "utf-8")
        self.picture(found)
        return target

    def picture(self, found: dict[str, dict[str, Any]]) -> None:
        """docs/img/ablation.png: the same captions in every row of the table."""
        series = []
        for row in found.values():
            images, annotations = (self.store.get(row["series"][role]) for role in ("images", "annotations"))
            boxes = list(AnnotationTable(annotations).by_image().values())
            series.append(Series(row["title"], images, annotations, has_concept(boxes, ["qr-code"])))
        target = self.out / "docs" / "img" / "ablation.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        erasure_grid(series, ["qr-code"], ["QR code"], DETECTOR, examples=8).save(target, optimize=True)


def checkpoint_device(checkpoint: Artifact | str) -> str:
    return str(checkpoint.info.get("device", "cpu")) if isinstance(checkpoint, Artifact) else "cpu"


TEXT = """# Ablation

What each part of Geom-Erasing does on the embedded model, as measured by `python benchmarks/ablation.py`: {n} held-out
captions a row, the same captions and seeds in every row, found by the detector `yolo-icd` at its calibrated threshold.
Shares have Wilson 95 % intervals; KID is against clean pictures of the world, ± one standard deviation of its subsets;
see [evaluation.md](evaluation.md). Every row is one training, and an interval covers its pictures, not other trainings.
All trainings but model removal have 400 steps of 48 pictures and the rates of `geom-erasing/qr-reweighting`; the recipe
`geom-erasing/qr` has fewer steps, a larger alpha and a `concept_share`, and its own [spread](spread.md). Each
checkpoint is drawn with the negative prompt that belongs to it, and, in the second column, without any. "Clean
pictures" are renderings: what the detector and the classifier make of perfect ones.

{table}

![The same captions, drawn by every row of the table](img/ablation.png)

The rows' artifacts and all their scores are in `benchmarks/results/ablation.json`.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", action="append", choices=list(ROWS), metavar="NAME", help=f"one of {', '.join(ROWS)}; may repeat"
    )
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    parser.add_argument("--n", type=int, default=512, help="pictures a row")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout that results and docs are written into")
    for stage in ("build", "train", "erase", "evaluate"):
        parser.add_argument(
            f"--{stage}", action="append", default=[], metavar="KEY=VALUE", help="override, to try it out"
        )
    args = parser.parse_args(argv)
    overrides = {stage: tuple(getattr(args, stage)) for stage in ("build", "train", "erase", "evaluate")}
    bench = Bench(n=args.n, base=args.base, out=args.out, **overrides)
    with Output().progress() as progress:
        for name in [] if args.table else args.only or ROWS:
            print(f"{name}: {bench.measure(name, progress).ref}", file=sys.stderr)
    print(bench.report().read_text("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
