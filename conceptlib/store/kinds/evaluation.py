"""What was measured of a checkpoint or a detector."""

from __future__ import annotations

from conceptlib.store.kinds import Kind, parent

KIND = Kind(
    "evaluation",
    order=60,
    precedence=60,
    made_by="conceptlib evaluate CHECKPOINT",
    view="evaluations",
    columns={
        "suite": "info->>'$.suite'",
        "checkpoint_id": parent("checkpoint"),
        "detector_id": parent("detector"),
    },
    travels="evaluations with their checkpoint",
)
