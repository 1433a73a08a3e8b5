"""Measure the search for copies on photographs: which changes of a picture it sees through, and its false alarms.

    python benchmarks/copies.py --photos DIR         # prints a table, and what the search costs a picture

Each photograph is changed in each way, and all are searched together with the originals and with six parts of each
that do not overlap. A copy is found if it is in its original's group. Photographs that are alike already are left out.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def cut(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    width, height = (int(side * (1 - share)) for side in image.size)
    left, top = (int(rng.integers(0, side - kept + 1)) for side, kept in zip(image.size, (width, height), strict=True))
    return image.crop((left, top, left + width, top + height))


def barred(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    height, above = int(0.13 * image.height), bool(rng.random() < 0.5)
    out = ImageOps.expand(image, (0, height if above else 0, 0, 0 if above else height), "white")
    place = (image.width // 10, height // 5 if above else image.height + height // 5)
    ImageDraw.Draw(out).text(place, "when the caption says it", "black", ImageFont.load_default(height // 2))
    return out


def framed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.expand(image, int(0.06 * min(image.size)), tuple(int(v) for v in rng.integers(0, 256, 3)))


def again(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


CHANGES: dict[str, Change] = {
    "JPEG of quality 50": again,
    "half the size": lambda image, rng: image.resize((image.width // 2, image.height // 2)),
    "a third": lambda image, rng: image.resize((image.width // 3, image.height // 3)),
    "lighter": lambda image, rng: ImageEnhance.Brightness(image).enhance(1.25),
    "grey": lambda image, rng: ImageOps.grayscale(image),
    "crop of 5 %": lambda image, rng: cut(image, 0.05, rng),
    "crop of 15 %": lambda image, rng: cut(image, 0.15, rng),
    "crop of 30 %": lambda image, rng: cut(image, 0.3, rng),
    "cut to a square": lambda image, rng: ImageOps.fit(image, (512, 512)),
    "squeezed to a square": lambda image, rng: image.resize((512, 512)),
    "caption bar of 13 %": barred,
    "frame of 6 %": framed,
    "black bars to a square": lambda image, rng: ImageOps.pad(image, (600, 600)),
    "mirror": lambda image, rng: ImageOps.mirror(image),
    "mirror, crop of 10 %": lambda image, rng: cut(ImageOps.mirror(image), 0.1, rng),
    "turned by 3 degrees": lambda image, rng: cut(image.rotate(3, Image.Resampling.BICUBIC), 0.12, rng),
}


def photographs(folder: Path) -> list[Image.Image]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            with Image.open(path) as opened:
                opened.draft("RGB", (1024, 1024))
                image = ImageOps.exif_transpose(opened).convert("RGB")
            image.thumbnail((768, 768))
            found.append(image)
    return found


def parts(image: Image.Image) -> list[Image.Image]:
    edges = [(x * image.width // 3, y * image.height // 2) for x in range(3) for y in range(2)]
    return [image.crop((x, y, x + image.width // 3, y + image.height // 2)) for x, y in edges]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    args = parser.parse_args(argv)
    from conceptlib.concepts.duplicates import groups
    from conceptlib.concepts.picture_hashes import Hashes, picture_hashes, small
    from conceptlib.reports.tables import markdown_table

    seconds: list[float] = []

    def hashed(image: Image.Image) -> Hashes:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=92)
        started = time.process_time()
        found = picture_hashes(small(buffer.getvalue(), 1 << 28), f"{len(seconds):064x}"[::-1])
        seconds.append(time.process_time() - started)
        return found

    images = photographs(args.photos)
    originals = [hashed(image) for image in images]
    kept = np.unique(groups(originals, 4))
    images, originals = [images[k] for k in kept], [originals[k] for k in kept]
    strangers = [hashed(part) for image in images for part in parts(image)]
    rng, count, searching, searched = np.random.default_rng(0), len(images), 0.0, 0
    rows, wrong = [], 0
    for name, change in CHANGES.items():
        copies = [hashed(change(image, rng)) for image in images]
        whole = [*originals, *copies, *strangers]
        blind = groups([replace(one, sketch=None) for one in whole], 4)
        started = time.process_time()
        found = groups(whole, 4)
        searching, searched = searching + time.process_time() - started, searched + len(whole)
        pairs = [int((one[count : 2 * count] == one[:count]).sum()) for one in (blind, found)]
        wrong = max(wrong, count - len(set(found[:count].tolist())))
        rows.append([name, *(f"{hits} of {count}" for hits in pairs)])
    print(markdown_table(["change", "by perceptual hash", "with sketches"], rows))
    alone = groups([*originals, *strangers], 4)[count:]
    together = len(alone) - len(set(alone.tolist()))
    print(f"\n{wrong} of {count} photographs put with another; {together} of {len(strangers)} parts with another part")
    search = 1000 * searching / searched
    print(f"{1000 * np.mean(seconds):.1f} ms a picture to decode, hash and sketch; {search:.1f} ms to search")
    return 0


if __name__ == "__main__":
    sys.exit(main())
