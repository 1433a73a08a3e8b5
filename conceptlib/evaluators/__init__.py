"""Measure what an erased model draws: suites are data, `run` is the one runner, `suite` the way in.

    from conceptlib.evaluators import evaluate
    evaluation = evaluate("tiny-qr", "icd")
    evaluation.info["summary"]

One file a metric, a judge, a source of prompts; `base` is their contract, `known` what the numbers mean, `figures` how
they are written. The arithmetic of a metric takes arrays and gives an interval of `conceptlib.stats`; it knows nothing
of artifacts.
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
