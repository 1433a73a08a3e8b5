"""Measure the detectors on photographs of 512 px: QR codes, watermarks and text, by size and opacity.

    python benchmarks/detectors.py --photos DIR                    # all; what is done already is not done again
    python benchmarks/detectors.py qr --photos DIR --clean DIR     # some; false alarms on other photographs
    python benchmarks/detectors.py --table                         # write docs/detectors-measured.md anew

Of the photographs in DIR a fifth is kept for testing. Both parts are cut up at random into squares (so that a few
photographs suffice), the built-in specs draw over them, and the trained detector never sees a square of a test
photograph. It is trained on pictures that carry each concept with probability `RATE`: what it learns from is marks.
Results are kept in `benchmarks/results/detectors.json`. Pictures of failures are written only of photographs that may
be shown, `--pictured DIR`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results/detectors.json")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
SIDE = 512
TEST_SHARE = 5
TEST_SQUARES, PICTURED_SQUARES, READ_SQUARES = 300, 48, 80
RATE = 0.6
LEAST_CODE = 48
COLUMNS = (
    "detector",
    "level",
    "mAP50",
    "mAP50-95",
    "recall",
    "precision",
    "words read",
    "recall by size",
    "recall by opacity",
    "on clean",
    "images/s",
)
ENSEMBLE = """kind: detector
name: zxing-and-yolo
adapter: ensemble
params:
  detectors: [zxing, "{trained}"]
"""

READERS = ("rapidocr", "easyocr")
BLOCKS = """kind: detector
name: rapidocr-blocks
description: RapidOCR, lines of a block put together as the truth has them
adapter: rapidocr
params: {confidence: 0.5, join: 0.6}
"""


@dataclass(frozen=True)
class Run:
    """What is measured on: folders of photographs, how many squares, where things go, overrides to try it out."""

    photos: Path
    clean: Path | None
    squares: int
    work: Path
    build: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    pictured: Path | None = None

    def folder(self, part: str) -> Path:
        """Squares of the photographs for `train` or `test`, or of those for `pictured`."""
        if part == "pictured" and self.pictured is not None:
            return squares(photographs(self.pictured), self.work / part, PICTURED_SQUARES, seed=2)
        paths = photographs(self.photos)
        if len(paths) < TEST_SHARE:
            raise SystemExit(f"{self.photos} holds {len(paths)} photographs; {TEST_SHARE} are the least")
        chosen = [path for index, path in enumerate(paths) if (index % TEST_SHARE == 0) == (part == "test")]
        if part == "train":
            return squares(chosen, self.work / part, self.squares, seed=0)
        return squares(chosen, self.work / part, TEST_SQUARES, seed=1)

    def dataset(self, name: str, part: str, *overrides: str) -> Any:
        """The dataset of a spec over the squares of one part."""
        from conceptlib.concepts.build import build

        share = "test_share=0.0" if part == "train" else "test_share=1.0"
        given = [f"source={self.folder(part)}", "missing_captions=keep", f"resolution={SIDE}", share]
        return build(name, overrides=[*given, *self.build, *overrides])

    def spotless(self) -> Any:
        """Clean photographs: those that were given, else the test squares."""
        from conceptlib.concepts.build import build

        folder = self.clean or self.folder("test")
        return build(
            "icd-qr-photos",
            overrides=[
                f"source={folder}",
                "missing_captions=keep",
                f"resolution={SIDE}",
                "rate=0.0",
                "quality=[90, 97]",
            ],
        )

    def trained(self) -> Any:
        """The detector trained on all three concepts."""
        from conceptlib.detectors.train import train_detector

        return train_detector("yolo-icd-512", self.dataset("icd", "train", f"rate={RATE}"), overrides=self.train)


def photographs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def squares(photos: Sequence[Path], folder: Path, count: int, seed: int) -> Path:
    """Cut `count` squares out of photographs, at least half as large as their shorter side, half of them mirrored."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        target = folder / f"{index:05d}.jpg"
        if target.exists():
            continue
        rng = np.random.default_rng([seed, index])
        with Image.open(photos[index % len(photos)]) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        side = float(rng.uniform(0.5, 1)) * min(image.size)
        left, top = (float(rng.uniform(0, length - side)) for length in image.size)
        square = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
        square = ImageOps.mirror(square) if rng.random() < 0.5 else square
        temporary = target.with_suffix(".part")
        square.save(temporary, "JPEG", quality=95)
        temporary.replace(target)
    return folder


def evaluated(detectors: Sequence[Any], data: Any, clean: Any) -> list[Any]:
    from conceptlib.detectors.evaluate import evaluate_detector

    return [evaluate_detector(one, data, clean=clean) for one in detectors]


def recall_from(evaluation: Any, data: Any, least: float) -> tuple[int, int]:
    """(found, all) of the truth's boxes whose side, the root of their area, is at least so many pixels."""
    from conceptlib.concepts.build import truth_of
    from conceptlib.concepts.tables import AnnotationTable
    from conceptlib.detectors.failures import FAILURES

    def large(box: Sequence[float]) -> bool:
        return float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]))) >= least

    known = AnnotationTable(truth_of(data)).by_image("test").values()
    count = sum(large(box) for item in known for box in item.boxes.tolist())
    rows = json.loads((evaluation.path / FAILURES).read_text())
    return count - sum(large(one["box"]) for row in rows for one in row["missed"]), count


def qr(run: Run) -> dict[str, Any]:
    """QR codes on 512 px pictures: recall of codes of at least 48 px, and false alarms on clean photographs."""
    clean = run.spotless()
    spec = run.work / "zxing-and-yolo.yaml"
    spec.write_text(ENSEMBLE.format(trained=run.trained().ref), "utf-8")
    rows, bars = [], []
    for name, ranges in (("as the spec draws them", ()), ("down to 5 % of the picture", ("qr.size=[0.05, 0.42]",))):
        data = run.dataset("icd-qr-photos", "test", "rate=0.9", *ranges)
        for evaluation in evaluated(["zxing", run.trained(), spec], data, clean):
            found, count = recall_from(evaluation, data, LEAST_CODE)
            rows.append(row_of(evaluation, f"codes {name}"))
            alarms = evaluation.info["clean-false-positive-rate"]
            shown = f"{found / max(count, 1):.3f} of {count}; alarms on {alarms:.1%} of clean photographs"
            passed = found >= 0.97 * count and alarms == 0 if evaluation.info["detector"] == "zxing" else None
            what = f"QR codes of {LEAST_CODE} px and more, {name}: {evaluation.info['detector']}"
            bars.append(
                {"name": what, "required": "recall ≥ 0.97, no false alarm", "measured": shown, "passed": passed}
            )
    return {"rows": rows, "bars": bars, "picture": picture(run, "qr", [run.trained()])}


def watermark(run: Run) -> dict[str, Any]:
    """Watermarks by the detector trained here."""
    return _one(run, "watermark", [run.trained()])


def text(run: Run) -> dict[str, Any]:
    """Text by the detector trained here, RapidOCR beside it."""
    spec = run.work / "rapidocr-blocks.yaml"
    spec.write_text(BLOCKS, "utf-8")
    return _one(run, "text", [run.trained(), spec])


def reading(run: Run) -> dict[str, Any]:
    """Readers of text as they are, line by line and word by word; nothing is trained."""
    data = run.dataset("icd-text-photos", "test", "rate=0.8", f"rows={READ_SQUARES}")
    made = evaluated(READERS, data, None)
    bars = [
        {
            "name": f"words read by {one.info['detector']}",
            "required": "—",
            "measured": f"{one.info['word-recall']:.1%}; lines found {one.info['recall']:.1%}",
            "passed": None,
        }
        for one in made
    ]
    return {"rows": [row_of(one, "text") for one in made], "bars": bars, "picture": ""}


def _one(run: Run, concept: str, detectors: Sequence[Any]) -> dict[str, Any]:
    made = evaluated(detectors, run.dataset(f"icd-{concept}-photos", "test", "rate=0.8"), run.spotless())
    cuda = _has_cuda()
    bars = [
        {
            "name": f"{concept}: {one.info['detector']}",
            "required": f"mAP50 ≥ {0.9 if cuda else 0.75}" if index == 0 else "—",
            "measured": f"mAP50 {one.info['mAP50']:.3f}",
            "passed": one.info["mAP50"] >= (0.9 if cuda else 0.75) if index == 0 else None,
        }
        for index, one in enumerate(made)
    ]
    minutes = run.trained().info["train_seconds"] / 60
    bars.append(
        {
            "name": "training of yolo-icd-512",
            "required": "≤ 60 min",
            "measured": f"{minutes:.0f} min",
            "passed": minutes <= 60,
        }
    )
    return {"rows": [row_of(one, concept) for one in made], "bars": bars, "picture": picture(run, concept, detectors)}


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def row_of(evaluation: Any, pictures: str) -> list[str]:
    from conceptlib.detectors.evaluate import table_row

    row = table_row(evaluation)
    shown = [f"{row[key]:.3f}" if isinstance(row[key], float) else str(row[key] or "—") for key in COLUMNS]
    return [pictures, *shown]


def picture(run: Run, part: str, detectors: Sequence[Any]) -> str:
    """Misses and false alarms on squares of the photographs that may be shown, in the work folder; the path, or ""."""
    from conceptlib.detectors.failures import save_sheet
    from conceptlib.store import Store

    if run.pictured is None:
        return ""
    path = run.work / f"failures-{part}.png"
    save_sheet(evaluated(detectors, run.dataset(f"icd-{part}-photos", "pictured", "rate=0.8"), None), Store(), path)
    return str(path)


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {"qr": qr, "watermark": watermark, "text": text, "reading": reading}

TEXT = """# Detectors, measured

On squares of 512 px of photographs that no detector was trained on, with what the built-in specs draw over them.
Written by `python benchmarks/detectors.py`.
"""


def write_table(out: Path) -> str:
    """docs/detectors-measured.md, and the pictures of failures beside it, from the results so far."""
    from conceptlib.reports.tables import markdown_table

    found: dict[str, Any] = json.loads((out / RESULTS).read_text("utf-8")) if (out / RESULTS).is_file() else {}
    lines = [TEXT]
    for part, result in found.items():
        lines.append(f"## {part}\n\nOn {result['machine']}, clean photographs: {result['clean']}.\n")
        if note := result.get("note"):  # added by hand to what was measured; gone with the next measurement
            lines.append(note + "\n")
        said = {True: "yes", False: "**no**", None: "—"}
        bars = [[bar["name"], bar["required"], bar["measured"], said[bar["passed"]]] for bar in result["bars"]]
        lines.append(markdown_table(["bar", "required", "measured", "passed"], bars) + "\n")
        lines.append(markdown_table(["pictures", *COLUMNS], result["rows"]) + "\n")
        image = out / "docs" / "img" / f"detectors-{part}.jpg"
        if Path(result["picture"]).is_file():
            image.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(result["picture"]) as sheet:
                sheet.convert("RGB").save(image, "JPEG", quality=80, optimize=True)
        if image.is_file():
            lines.append(f"![what was missed (blue) and what was not there (red)](img/{image.name})\n")
    target = out / "docs" / "detectors-measured.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines), "utf-8")
    return target.read_text("utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of {', '.join(PARTS)}; all by default")
    parser.add_argument("--photos", type=Path, help="photographs, five or more")
    parser.add_argument("--clean", type=Path, help="clean photographs (200 for the bar); by default the test squares")
    parser.add_argument("--squares", type=int, default=4000, help="squares to train on")
    parser.add_argument("--pictured", type=Path, help="photographs of which failures may be shown; by default none is")
    parser.add_argument("--work", type=Path, default=Path("detectors-measured"), help="where squares are kept")
    parser.add_argument("--out", type=Path, default=ROOT, help="the checkout that results and docs are written into")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the page")
    for stage in ("build", "train"):
        parser.add_argument(
            f"--{stage}", action="append", default=[], metavar="KEY=VALUE", help="override, to try it out"
        )
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if not args.table and args.photos is None:
        parser.error("--photos DIR is needed")
    for part in [] if args.table else args.parts or PARTS:
        args.work.mkdir(parents=True, exist_ok=True)
        overrides = tuple(args.build), tuple(args.train)
        run = Run(args.photos, args.clean, args.squares, args.work, *overrides, pictured=args.pictured)
        result = PARTS[part](run)
        path = args.out / RESULTS
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        machine = f"{os.cpu_count()} x {platform.machine()}{' with a GPU' if _has_cuda() else ''}"
        clean = "others, given" if args.clean else "squares of the test photographs"
        found[part] = {"machine": machine, "clean": clean, **result}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({key: found[key] for key in PARTS if key in found}, indent=1) + "\n", "utf-8")
    print(write_table(args.out))
    measured = json.loads((args.out / RESULTS).read_text("utf-8")) if (args.out / RESULTS).is_file() else {}
    return 1 if any(bar["passed"] is False for part in measured.values() for bar in part["bars"]) else 0


if __name__ == "__main__":
    sys.exit(main())
