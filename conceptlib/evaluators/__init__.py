"""Measure what an erased model draws: one file a metric, `stats` for their intervals, `suite` to run them together.

    from conceptlib.evaluators import evaluate
    evaluation = evaluate("tiny-qr", "icd")
    evaluation.info["summary"]

A metric takes arrays or detections and returns one of the intervals of `conceptlib.evaluators.stats`; it knows
nothing of artifacts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptlib.evaluators.suite import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from conceptlib.evaluators.suite import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
