"""Which way a metric is better. Beside the metrics, so that who ranks by one need not know it."""

from __future__ import annotations

# What each metric of the suites says of an erasure; `accuracy.fish` and `concept_rate.text` are read by their first
# part, `kid_change` by what changes.
_SMALLER = {"concept_rate", "kid", "target_accuracy", "target_clip_score", "false-positive-rate"}
_LARGER = {
    *(
        "caption_accuracy",
        "retain_accuracy",
        "cross_accuracy",
        "target_cross_accuracy",
        "retain_clip_score",
        "accuracy",
    ),
    *("mAP50", "mAP50-95", "AP50", "recall", "word-recall", "recall-opacity", "precision", "image-recall"),
}


def larger_is_better(metric: str) -> bool | None:
    """Whether more of `metric` is better; None for one that nobody has said it of.

    >>> larger_is_better("concept_rate.qr-code"), larger_is_better("accuracy_colour"), larger_is_better("bleu")
    (False, True, None)
    """
    name = metric.removesuffix("_change").partition(".")[0].partition("/")[0].removeprefix("clean-")
    if name in _SMALLER:
        return False
    return True if name in _LARGER or name.startswith("accuracy_") else None
