"""How many pictures a second `build` and `annotate` work through, against plain loops over the same libraries.

    python benchmarks/throughput.py --photos DIR            # all parts; pictures of the embedded world without --photos
    python benchmarks/throughput.py build annotate          # some parts; docs/throughput.md keeps the others' results

Rates are of processor time, own and children's, unless a column says otherwise: a shared machine's wall time says
little. What a build costs whatever its size (checking, hashing, committing) is left out: a rate is that of the rows
between a small build and a larger one. Medians of repeats; a build and the loop it is compared with take turns.
"""

from __future__ import annotations

import io
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont, ImageOps

from conceptlib.concepts.build import build
from conceptlib.concepts.tables import ImageTable
from conceptlib.detectors.adapters.nudenet import network_file
from conceptlib.detectors.annotate import annotate
from conceptlib.detectors.load import load_detector
from conceptlib.reports.tables import markdown_table
from conceptlib.store import Store
from conceptlib.worlds.tiny import world

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path("benchmarks/results/throughput.json")
SIDE, QUALITY, FEW = 512, 92, 24
RATIO = 1.5
"""What a build of photographs may take, of the time of a loop that draws nothing."""
BARS = {"decoded": 120, "decoded, no search for copies": 120, "files": 60}
OFF = "duplicates=off"


def pictures(photos: Path | None, count: int, long_side: int) -> list[Image.Image]:
    """`count` pictures whose longer side is `long_side`: cuts of the photographs, or scenes of the world."""
    rng = np.random.default_rng(0)
    files = sorted(path for path in photos.iterdir() if path.suffix in (".png", ".jpg")) if photos else []
    out = []
    for k in range(count):
        image = Image.open(files[k % len(files)]).convert("RGB") if files else world.row(0, k).image(long_side)
        share = rng.uniform(0.8, 1.0)
        cut = (round(image.width * share), round(image.height * share))
        x, y = (int(rng.integers(0, a - b + 1)) for a, b in zip(image.size, cut, strict=True))
        scale = long_side / max(cut)
        size = (round(cut[0] * scale), round(cut[1] * scale))
        out.append(image.resize(size, Image.Resampling.LANCZOS, (x, y, x + cut[0], y + cut[1])))
    return out


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def used() -> float:
    """Processor seconds of this process and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Processor and wall seconds."""
    cpu, wall = used(), time.perf_counter()
    work()
    return used() - cpu, time.perf_counter() - wall


def built(
    concept: str, source: Any, rows: int, workers: int = 1, store: Store | None = None, more: tuple[str, ...] = ()
) -> Any:
    """The photographs' spec of a concept with one overlay on every picture, in a store of its own."""
    overrides = ["rate=1", "count=[1,1]", f"quality=[{QUALITY},{QUALITY}]", f"rows={rows}", *more]
    given: dict[str, Any] = {"source": source[:rows]} if isinstance(source, list) else {}
    if not given:
        overrides += [f"source={source}", "missing_captions=keep"]
    with tempfile.TemporaryDirectory() as home:
        return build(
            f"icd-{concept}-photos", overrides=overrides, store=store or Store(Path(home)), workers=workers, **given
        )


def plain(concept: str, source: list[Any], folder: Path) -> None:
    """The same by hand: decode, fit, draw one thing, encode, write Parquet a hundred rows at a time."""
    import segno

    schema = pa.schema([("image", pa.binary()), ("caption", pa.string())])
    with pq.ParquetWriter(folder / "plain.parquet", schema) as writer:
        rows: list[dict[str, Any]] = []
        for number, (given, caption) in enumerate(source):
            image = given if isinstance(given, Image.Image) else Image.open(given).convert("RGB")
            image = ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
            if concept == "qr":
                symbol = np.array([list(line) for line in segno.make_qr(f"row {number}", version=5).matrix], np.uint8)
                image.paste(Image.fromarray(255 - 255 * symbol).resize((148, 148), Image.Resampling.NEAREST), (20, 20))
            else:
                lines = "SAMPLE" if concept == "watermark" else "Open today\nuntil six"
                ImageDraw.Draw(image).text((30, 60), lines, fill="white", font=ImageFont.load_default(40))
            rows.append({"image": jpeg(image), "caption": caption})
            if len(rows) == 100 or number == len(source) - 1:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows = []


def builds(photos: Path | None, rows: int, repeats: int) -> dict[str, Any]:
    """One worker: rows a second of each concept's builds from decoded pictures and from JPEG files, and of the loop."""
    out: dict[str, Any] = {}
    squares = [(ImageOps.fit(image, (SIDE, SIDE)), "a picture") for image in pictures(photos, rows, 768)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "jpegs"
        folder.mkdir()
        for k, image in enumerate(pictures(photos, rows, 768)):
            (folder / f"{k:05d}.jpg").write_bytes(jpeg(image))
        files = [(path, "a picture") for path in sorted(folder.iterdir())]
        for concept in ("qr", "watermark", "text"):
            for name, source, loop in zip(BARS, (squares, squares, folder), (squares, squares, files), strict=True):
                more = (OFF,) if "no search" in name else ()
                built(concept, source, FEW, more=more)  # imports, fonts
                found: list[tuple[float, float]] = []
                for seed in range(1, repeats + 1):
                    drawn = (*more, f"seed={seed}")  # else its letters would be kept from the last time
                    base = timed(lambda c=concept, s=source, m=drawn: built(c, s, FEW, more=m))[0]
                    ours = timed(lambda c=concept, s=source, m=drawn: built(c, s, rows, more=m))[0] - base
                    ours /= rows - FEW
                    theirs = timed(lambda c=concept, s=loop: plain(c, s, Path(temporary)))[0] / rows
                    found.append((1 / ours, theirs / ours))
                rate, ratio = (statistics.median(column) for column in zip(*found, strict=True))
                out[f"{concept} from {name}"] = {"rows_s": rate, "bar": BARS[name], "of_loop": ratio}
    return out


def undrawn(files: list[Path], count: int) -> None:
    """The least that a build does: decode (a large JPEG small straight away), fit, encode."""
    for path in files[:count]:
        image = Image.open(path)
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        jpeg(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS))


def photographs(photos: Path | None, rows: int, repeats: int) -> dict[str, Any]:
    """One worker, JPEG files of photographs' sizes: processor time a row of a build of QR codes, drawing and the search
    for copies included, against a loop that only decodes, fits and encodes.
    """
    out = {}
    for side in (1024, 2048, 4096):
        with tempfile.TemporaryDirectory() as temporary:
            for k, image in enumerate(pictures(photos, rows, side)):
                (Path(temporary) / f"{k:05d}.jpg").write_bytes(jpeg(image))
            files = sorted(Path(temporary).iterdir())
            built("qr", temporary, FEW)
            found = []
            for _ in range(repeats):
                base, whole = (timed(lambda c=count: built("qr", temporary, c))[0] for count in (FEW, rows))
                ours = 1000 * (whole - base) / (rows - FEW)
                theirs = 1000 * timed(lambda known=files: undrawn(known, rows))[0] / rows
                found.append((ours, theirs, ours / theirs))
            ours, theirs, ratio = (statistics.median(column) for column in zip(*found, strict=True))
            out[f"{side}"] = {"build_ms": ours, "loop_ms": theirs, "ratio": ratio}
    return out


def workers(photos: Path | None, rows: int, repeats: int) -> dict[str, Any]:
    """Processor and wall time a row of QR codes with one worker and with two, from decoded pictures and JPEG files."""
    shown = pictures(photos, rows, 768)
    squares = [(ImageOps.fit(image, (SIDE, SIDE)), "a picture") for image in shown]
    out = {}
    with tempfile.TemporaryDirectory() as temporary:
        for k, image in enumerate(shown):
            (Path(temporary) / f"{k:05d}.jpg").write_bytes(jpeg(image))
        for name, source in (("decoded", squares), ("files", temporary)):
            found: dict[int, list[list[float]]] = {1: [], 2: []}
            for _ in range(repeats):
                for count, costs in found.items():
                    few = timed(lambda c=count, s=source: built("qr", s, FEW, c))
                    many = timed(lambda c=count, s=source: built("qr", s, rows, c))
                    costs.append([1000 * (b - a) / (rows - FEW) for a, b in zip(few, many, strict=True)])
            for count, costs in found.items():
                cpu, wall = (statistics.median(column) for column in zip(*costs, strict=True))
                out[f"{name}, {count}"] = {"cpu_ms": cpu, "wall_ms": wall}
    return out


def resident() -> int:
    """Bytes of memory of this process and its children, pages they share counted in each."""
    family = ["ps", "-o", "rss=", "-p", str(os.getpid()), "--ppid", str(os.getpid())]
    return 1024 * sum(int(line) for line in subprocess.run(family, capture_output=True, text=True).stdout.split())


def memory(rows: int) -> dict[str, Any]:
    """Memory of a build of the world's 64-pixel pictures by two workers, while it goes on."""
    seen: list[tuple[int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        if done % max(1, rows // 20) == 0:
            seen.append((done, resident()))

    with tempfile.TemporaryDirectory() as home:
        build("icd-qr", overrides=[f"rows={rows}"], store=Store(Path(home)), workers=2, progress=progress)
    return {"rows": rows, "megabytes": [[done, round(size / 1e6)] for done, size in seen]}


def annotations(photos: Path | None, rows: int, repeats: int) -> dict[str, Any]:
    """Annotating against the bare detector on the same pictures, decoded, in memory."""
    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home))
        squares = [(ImageOps.fit(image, (SIDE, SIDE)), "a picture") for image in pictures(photos, rows, 768)]
        data = built("qr", squares, rows, store=store)
        return {
            "zxing": against("zxing", data, store, ("train", "test"), repeats),
            "yolov8n at 320 px, ONNX": against(str(network_file()), data, store, ("train", "test"), repeats),
            "rapidocr": against("rapidocr", data, store, ("test", None), 1),
        }


def against(
    name: str, data: Any, store: Store, splits: tuple[str, str | None], repeats: int, batch: int = 32
) -> dict[str, Any]:
    """Milliseconds a picture of the first split, the second's taken off where there is one (what an artifact costs
    whatever its size), and the bare detector's speed as a share of it; processor and wall time.
    """
    detector, table = load_detector(name, store=store), ImageTable(data)
    seen = {s: [np.asarray(table.decode(row)) for row in table.rows(s)] for s in splits if s}

    def whole(split: str) -> None:
        store.rm(annotate(data, detector, store=store, split=split, batch_size=batch).id)

    def bare(split: str) -> None:
        for start in range(0, len(seen[split]), batch):
            detector.detect(seen[split][start : start + batch])

    count = len(seen[splits[0]]) - (len(seen[splits[1]]) if splits[1] else 0)
    detector.detect(seen["test"][:1])
    found = []
    for _ in range(repeats):
        costs = {}
        for what in (whole, bare):
            first = timed(lambda w=what: w(splits[0]))
            second = timed(lambda w=what: w(splits[1])) if splits[1] else (0.0, 0.0)
            costs[what] = [1000 * (a - b) / count for a, b in zip(first, second, strict=True)]
        found.append([*costs[bare], *costs[whole]])
    columns = [statistics.median(column) for column in zip(*found, strict=True)]
    keys = ("bare_cpu_ms", "bare_wall_ms", "annotate_cpu_ms", "annotate_wall_ms")
    return {"pictures": count, **dict(zip(keys, columns, strict=True))}


TEXT = """# Throughput

`python benchmarks/throughput.py` wrote this page, from `benchmarks/results/throughput.json`. Pictures of 512 px, JPEG
quality {quality}, one overlay on every picture, duplicates looked for: what `build icd-*-photos` does. Rates are of
**processor time** of one core. A core that other work shares does less in a second of it: each part says how busy the
machine was. Ratios compare what took turns in one run.
"""


def circumstances(part: dict[str, Any]) -> str:
    """Where and on what a part was measured."""
    load = "not recorded" if part["load"] is None else f"{part['load']:.1f}"
    taken = f"{part['machine']}, repeats: {part['repeats']}, load average {load}"
    return f"{taken}; {part['rows']} rows of {part['pictures']}.\n"


def page(found: dict[str, Any]) -> str:
    """docs/throughput.md."""
    text = [TEXT.format(quality=QUALITY)]
    if part := found.get("build"):
        lines = [
            [name, f"{r['rows_s']:.0f}", f"{r['bar']}", "yes" if r["rows_s"] >= r["bar"] else "**no**",
             f"{100 * r['of_loop']:.0f} %"]
            for name, r in part["result"].items()
        ]  # fmt: skip
        text += [
            "## Build, one worker\n",
            circumstances(part),
            LOOP,
            markdown_table(["build", "rows/s", "bar", "passed", "of the loop"], lines),
        ]
    if part := found.get("photographs"):
        lines = [
            [f"{side} px", f"{r['build_ms']:.1f}", f"{r['loop_ms']:.1f}", f"{r['ratio']:.2f}",
             "yes" if r["ratio"] <= RATIO else "**no**"]
            for side, r in part["result"].items()
        ]  # fmt: skip
        head = ["longer side", "build, ms a row", "loop, ms a row", "ratio", f"at most {RATIO}"]
        text += ["\n## Photographs\n", circumstances(part), PHOTOGRAPHS, markdown_table(head, lines)]
    if part := found.get("workers"):
        lines = [[*n.split(", "), f"{r['cpu_ms']:.1f}", f"{r['wall_ms']:.1f}"] for n, r in part["result"].items()]
        text += ["\n## Workers\n", circumstances(part), WORKERS]
        text += [markdown_table(["from", "workers", "processor ms a row, all processes", "wall ms a row"], lines)]
    if part := found.get("memory"):
        lines = [[f"{done}", f"{size}"] for done, size in part["result"]["megabytes"]]
        text += [
            "\n## Memory\n",
            f"{part['result']['rows']} pictures of 64 px, two workers; of all three processes.\n",
        ]
        text += [markdown_table(["rows done", "MB"], lines)]
    if part := found.get("annotate"):
        keys = ("bare_cpu_ms", "annotate_cpu_ms", "bare_wall_ms", "annotate_wall_ms")
        lines = [
            [name, f"{r['pictures']}", *(f"{r[k]:.1f}" for k in keys),
             f"{100 * r['bare_cpu_ms'] / r['annotate_cpu_ms']:.1f} %",
             f"{100 * r['bare_wall_ms'] / r['annotate_wall_ms']:.1f} %"]
            for name, r in part["result"].items()
        ]  # fmt: skip
        head = ["detector", "pictures", "bare, CPU ms", "annotate, CPU ms", "bare, wall ms", "annotate, wall ms"]
        text += [
            "\n## Annotate\n",
            circumstances(part),
            ANNOTATE,
            markdown_table([*head, "of bare, CPU", "of bare, wall"], lines),
        ]
    return "\n".join(text).rstrip() + "\n"


LOOP = """The loop decodes, fits, draws one thing by the simplest calls (segno and `paste`, or `ImageDraw.text`),
encodes and writes Parquet. It looks for no copies, keeps no geometry and draws the same thing every time. JPEG files
have 768 px on the longer side.
"""
PHOTOGRAPHS = """A build of QR codes from JPEG files, drawing and the search for copies included, against a loop that
decodes (large files small straight away), fits and encodes, and does nothing else. A picture is decoded twice, the
first time small, since all are compared before one is drawn: to keep the first decoding in a file until then was tried,
and cost as much as it saved.
"""
WORKERS = """QR codes, from decoded pictures of 512 px and from JPEG files of 768 px. Decoded pictures are spooled and
compared by one process, before the others begin.
"""
ANNOTATE = """Milliseconds a picture; the bar is 90 % of the bare detector. The next batch is read and decoded in a
thread, so wall time needs a second core that is free; processor time holds decoding whatever is done.
"""

PARTS: dict[str, Callable[[Path | None, int, int], dict[str, Any]]] = {
    "build": builds,
    "photographs": photographs,
    "workers": workers,
    "memory": lambda photos, rows, repeats: memory(20 * rows),
    "annotate": annotations,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of photographs."
)
@click.option("--rows", default=120, show_default=True, help="Rows of a build; the part memory takes 20 times as many.")
@click.option("--repeats", default=3, show_default=True)
@click.option(
    "--out", default=ROOT, type=click.Path(file_okay=False, path_type=Path), help="Where results and page go."
)
def main(parts: tuple[str, ...], photos: Path | None, rows: int, repeats: int, out: Path) -> None:
    """Measure, and write the page."""
    for part in parts or PARTS:
        result = PARTS[part](photos, rows, repeats)
        target = out / RESULTS
        found = json.loads(target.read_text("utf-8")) if target.is_file() else {}
        machine = f"{os.cpu_count()} x {platform.machine()}"
        about = {"machine": machine, "pictures": "photographs" if photos else "world", "rows": rows, "repeats": repeats}
        about["load"] = os.getloadavg()[1]
        found[part] = {**about, "result": result}
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({k: found[k] for k in PARTS if k in found}, indent=1) + "\n", "utf-8")
        (out / "docs").mkdir(exist_ok=True)
        (out / "docs" / "throughput.md").write_text(page(found), "utf-8")
        click.echo(json.dumps({part: result}))


if __name__ == "__main__":
    main()
