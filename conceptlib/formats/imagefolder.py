"""Image folder of the Hub: `<split>/` with the pictures and a `metadata.jsonl`; `datasets.load_dataset(folder)`.

A line is `file_name`, `text` (the caption), the row's columns, and `objects`: `bbox` `[x, y, width, height]` in pixels,
`category`, `score`. `datasets` infers the columns' types from each split's values and refuses splits that differ: where
one has values and another has none, the export says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conceptlib.formats._job import Job, objects

ANNOTATIONS = "optional"


def write(job: Job, folder: Path) -> list[str]:
    """Write pictures and lines as they come."""
    seen: dict[str, set[str]] = {}
    for split in job.splits:
        (folder / split).mkdir()
        known = seen.setdefault(split, set())
        with (folder / split / "metadata.jsonl").open("x", encoding="utf-8") as file:
            for sample in job.samples(split):
                job.save_picture(sample, folder / split)
                line: dict[str, Any] = {"file_name": sample.file_name, "text": sample.row["caption"], **sample.about()}
                known.update(key for key, value in line.items() if value is not None)
                if job.annotations is not None:
                    line["objects"] = objects(sample.found)
                    known.update(["objects"] if len(sample.found) else ())
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    uneven = sorted({key for some in seen.values() for key in some if not all(key in known for known in seen.values())})
    if not uneven:
        return []
    return [
        f"only some splits have a value of {', '.join(uneven)}, so `datasets` does not load them together: "
        f'load_dataset("imagefolder", data_dir="{job.splits[0]}"), or export as parquet'
    ]
