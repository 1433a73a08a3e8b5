"""What each kind of overlay costs on one core, and a contact sheet of every kind over the embedded world.

python benchmarks/overlays.py                 # benchmarks/results/overlays.json, docs/img/{watermarks,texts}.jpg
python benchmarks/overlays.py --fonts system --out /tmp/sheets
"""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from conceptlib.concepts.drawing.fonts import Font, find_fonts
from conceptlib.concepts.overlays import qr, text, watermark
from conceptlib.worlds.tiny import world

ROOT = Path(__file__).parent.parent
SIDE = 512
MODULES = {"watermark": watermark, "text": text}


def milliseconds(concept: str, kind: str, image: Image.Image, fonts: tuple[Font, ...], n: int) -> dict[str, float]:
    """Processor time of one overlay, and of one and the JPEG, on a 512-pixel picture: means of `n` draws."""
    if concept == "qr-code":
        draw, params = qr.draw_qr, qr.QrParams()
    else:
        module = MODULES[concept]
        draw = getattr(module, f"draw_{concept}")
        params = getattr(module, f"{concept.capitalize()}Params")(kinds=(kind,), fonts=fonts)
    taken, encoding = 0.0, 0.0
    for seed in range(-3, n):
        start = time.process_time()
        out, _ = draw(image, np.random.default_rng(seed + 10), params)
        middle = time.process_time()
        out.save(io.BytesIO(), "JPEG", quality=90, subsampling=0)
        if seed >= 0:
            taken, encoding = taken + middle - start, encoding + time.process_time() - middle
    return {"overlay_ms": round(1000 * taken / n, 2), "with_jpeg_ms": round(1000 * (taken + encoding) / n, 2)}


def sheet(concept: str, fonts: tuple[Font, ...], columns: int = 5, side: int = 200) -> Image.Image:
    """A row for every kind, pictures of the world beneath."""
    module = MODULES[concept]
    out = Image.new("RGB", (columns * side, len(module.KINDS) * side))
    for y, kind in enumerate(module.KINDS):
        params = getattr(module, f"{concept.capitalize()}Params")(kinds=(kind,), fonts=fonts)
        for x in range(columns):
            base = world.row(3, y * columns + x).image(2 * side)
            drawn, _ = getattr(module, f"draw_{concept}")(base, np.random.default_rng([y, x, 1]), params)
            out.paste(drawn.resize((side, side), Image.Resampling.LANCZOS), (x * side, y * side))
    return out


@click.command()
@click.option("--fonts", default="default", show_default=True, help="default, system or a folder.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Where everything goes; else the repository."
)
@click.option("--n", default=60, show_default=True, help="Draws a kind.")
def main(fonts: str, out: Path | None, n: int) -> None:
    """Measure and draw."""
    found = find_fonts(fonts).fonts
    image = world.row(0, 3).image(SIDE)
    kinds = [("qr-code", "qr-code"), *((c, kind) for c, module in MODULES.items() for kind in module.KINDS)]
    costs = {f"{c}/{kind}" if c != kind else c: milliseconds(c, kind, image, found, n) for c, kind in kinds}
    for name, cost in costs.items():
        click.echo(f"{name:24} {cost['overlay_ms']:6.2f} ms   {1000 / cost['with_jpeg_ms']:6.0f} images/s with JPEG")
    results, pictures = (out, out) if out else (ROOT / "benchmarks" / "results", ROOT / "docs" / "img")
    results.mkdir(parents=True, exist_ok=True)
    record = {"side": SIDE, "draws": n, "fonts": fonts, "kinds": costs}
    (results / "overlays.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for concept, name in (("watermark", "watermarks.jpg"), ("text", "texts.jpg")):
        sheet(concept, found).save(pictures / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()
