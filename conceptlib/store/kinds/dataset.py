"""Rows: images with captions, or prompts."""

from __future__ import annotations

from conceptlib.store.kinds import Kind

KIND = Kind(
    "dataset",
    order=10,
    precedence=10,
    made_by="conceptlib build {name}",
    view="datasets",
    columns={
        "builder": "lock->>'$.spec.builder'",
        "seed": "TRY_CAST(lock->>'$.spec.seed' AS BIGINT)",
        "concepts": "from_json(info->'$.concepts', '[\"VARCHAR\"]')",
        "images": "TRY_CAST(info->>'$.written' AS BIGINT)",
        "rejected": "TRY_CAST(info->>'$.rejected' AS BIGINT)",
        "polluted_share": "TRY_CAST(info->>'$.polluted_share' AS DOUBLE)",
    },
    publisher="conceptlib.hub.kinds.dataset",
)
