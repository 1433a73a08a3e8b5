"""What the numbers of any evaluation mean: unit, better direction, kind of interval, by the name in `scores.json`.

>>> meaning("concept_rate.qr-code").unit, meaning("kid").higher_is_better
('share', False)
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from conceptlib.evaluators.base import Metric
from conceptlib.specs.registry import METRICS

_CHANGE = "_change"


def meaning(name: str, told: Mapping[str, Any] | None = None) -> Metric | None:
    """The metric that a score's name belongs to; None for one that nobody here knows.

    Args:
        name: as in `scores.json`; `X_change` is the difference of two X.
        told: what the evaluation's `info["metrics"]` says, for the metric of somebody else's plug-in.
    """
    own = dict((told or {}).get(name.removesuffix(_CHANGE), {})) if told else {}
    table, base = _table(tuple(METRICS)), name.removesuffix(_CHANGE)
    if name in table:
        return table[name]
    found = table.get(base) or _matched(table, base)  # before `X_*`, which `X_colour_change` is one of too
    if found is not None:
        return found if base == name else found.changed()
    if not own:
        return None
    try:
        metric = Metric(base, **own)
    except TypeError:
        return None
    return metric if base == name else metric.changed()


def larger_is_better(name: str) -> bool | None:
    """Whether more of a score is better; None where nobody says so.

    >>> larger_is_better("concept_rate.qr-code"), larger_is_better("accuracy_colour"), larger_is_better("bleu")
    (False, True, None)
    """
    found = meaning(name)
    return found.higher_is_better if found else None


def of_module(name: str) -> tuple[Metric, ...]:
    """What a registered metric reports: its own first. Raises NotFound."""
    module = METRICS.get(name)
    return (module.METRIC, *getattr(module, "ALSO", ()))


def _matched(table: Mapping[str, Metric], name: str) -> Metric | None:
    return next((m for key, m in table.items() if key.endswith("*") and fnmatchcase(name, key)), None)


@lru_cache(maxsize=8)
def _table(names: tuple[str, ...]) -> dict[str, Metric]:
    modules = [module for _, module in METRICS.modules()]
    return {metric.name: metric for one in modules for metric in (one.METRIC, *getattr(one, "ALSO", ()))}
