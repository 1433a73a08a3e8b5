"""Where concepts are in the images of a dataset."""

from __future__ import annotations

from conceptlib.store.kinds import Kind, parent

KIND = Kind(
    "annotations",
    order=30,
    precedence=40,
    made_by="conceptlib annotate DATASET --detector {name}",
    view="annotation_sets",
    columns={
        "dataset_id": parent("dataset"),
        "detector_id": parent("detector"),
        "detector": "lock->'$.detector'",
        "boxes": "info->'$.boxes'",
        "images_with": "info->'$.images_with'",
    },
    travels="annotations travel with their dataset",
)
