"""A model from which something was erased, as what changed of its base."""

from __future__ import annotations

from conceptlib.store.kinds import Kind, parent

KIND = Kind(
    "checkpoint",
    order=50,
    precedence=30,
    made_by="conceptlib erase {name} --data DATASET --annotations A --base tiny",
    view="checkpoints",
    columns={
        "method": "lock->>'$.recipe.method'",
        "concepts": "from_json(lock->'$.recipe.concepts', '[\"VARCHAR\"]')",
        "seed": "TRY_CAST(lock->>'$.recipe.seed' AS BIGINT)",
        "base": "lock->>'$.base.ref'",
        "adapter": "info->>'$.adapter'",
        "negative_prompt": "info->>'$.negative_prompt'",
        "dataset_id": parent("dataset"),
        "annotations_id": parent("annotations"),
    },
    publisher="conceptlib.hub.kinds.checkpoint",
)
