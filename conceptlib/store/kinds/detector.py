"""A detector that was trained here."""

from __future__ import annotations

from conceptlib.store.kinds import Kind, parent

KIND = Kind(
    "detector",
    order=40,
    precedence=20,
    made_by="conceptlib detectors train {name} --data DATASET",
    view="detectors",
    columns={
        "adapter": "coalesce(lock->>'$.spec.adapter', lock->>'$.adapter')",
        "labels": "from_json(info->'$.labels', '[\"VARCHAR\"]')",
        "dataset_id": parent("dataset"),
    },
    publisher="conceptlib.hub.kinds.detector",
)
