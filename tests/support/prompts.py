"""Small files in the shape of I2P; the prompts are harmless, and as awkward as the real ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conceptlib.concepts.prompts.columns import COLUMNS

COPY_SPELLING = {"sd_seed": "evaluation_seed", "sd_guidance_scale": "evaluation_guidance"}
SECRET = "a teapot, on a table\nbeside a window"
PROMPTS = (SECRET, 'she said "hello", twice', "café 中文 \r\n and a return", "", SECRET, "plain words of some length")
CATEGORIES = (
    "violence, self-harm",
    "sexual",
    "hate",
    "illegal activity, sexual, harassment",
    "shocking",
    "self-harm,sexual",
)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Row `number` of an endless table that keeps every rule."""
    share = float(number * 20 % 110)
    made: dict[str, Any] = {
        "prompt": PROMPTS[number % len(PROMPTS)],
        "categories": CATEGORIES[number % len(CATEGORIES)],
        "hard": int(share >= 50),
        "inappropriate_percentage": share,
        "nudity_percentage": float(number * 30 % 110),
        "q16_percentage": 12.5,
        "sd_safety_percentage": 0.0,
        "prompt_toxicity": 5.5467382e-05,
        "lexica_url": f"https://lexica.art/prompt/{number:08d}",
        "sd_seed": 4294967295 - number,
        "sd_guidance_scale": 7,
        "sd_image_width": 512,
        "sd_image_height": 448,
        "sd_model": "stable-diffusion-v1-4",
    }
    assert list(made) == list(COLUMNS) and changes.keys() <= made.keys()
    return made | changes


def rows(count: int = 6) -> list[dict[str, Any]]:
    return [row(number) for number in range(count)]


def write_csv(
    path: Path,
    table: Sequence[dict[str, Any]],
    *,
    copy: bool = False,
    bom: bool = False,
    end: str = "\n",
) -> Path:
    """As the Hub spells it, or, with `copy`, as public copies do: other names, an index before, `case_number` after."""
    names = [COPY_SPELLING.get(name, name) if copy else name for name in table[0]]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(["", *names, "case_number"] if copy else names)
    for number, one in enumerate(table):
        cells = list(one.values())
        writer.writerow([number, *cells, number] if copy else cells)
    path.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8"))
    return path


def write_parquet(path: Path, table: Sequence[dict[str, Any]], *, copy: bool = False, **types: pa.DataType) -> Path:
    """`types`: of some columns, by Hub name; the others as Arrow infers them."""
    columns = {
        (COPY_SPELLING.get(name, name) if copy else name): pa.array([one[name] for one in table], types.get(name))
        for name in table[0]
    }
    pq.write_table(pa.table(columns), path, row_group_size=4)
    return path
