"""COCO results: `results_<split>.json`, a list of image_id, category_id, bbox and score for pycocotools' `loadRes`.

Image and category ids are those of the `coco` export of the same dataset. No pictures.
"""

from __future__ import annotations

from pathlib import Path

from conceptlib.formats._job import Job, short, xywh
from conceptlib.formats.coco import JsonList

ANNOTATIONS = "named"


def write(job: Job, folder: Path) -> list[str]:
    """Write a list a split."""
    notes = []
    for split in job.splits:
        with (folder / f"results_{split}.json").open("x", encoding="utf-8") as file:
            file.write("[")
            results = JsonList(file)
            for sample in job.samples(split):
                found = sample.found
                for box, label, score in zip(xywh(found), found.labels, short(found.scores), strict=True):
                    ids = {"image_id": sample.number, "category_id": job.category(label) + 1}
                    results.add(ids | {"bbox": box, "score": score})
            file.write("\n]\n")
        if not results.count:
            notes.append(f"nothing was found in split {split}; pycocotools cannot load an empty list")
    listed = job.dataset.info.get("concepts") or ()
    if others := [name for name in job.categories if name not in listed]:
        notes.append(
            f"the dataset does not list {', '.join(others)}: give this export and that of the ground truth the same "
            "--categories, so that their ids agree"
        )
    return notes
