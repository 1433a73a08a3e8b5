"""Types of options that click lacks."""

from __future__ import annotations

import math
from typing import Any

import click

SEED = click.IntRange(0, 2**63 - 1)
"""What random generators take."""


class FiniteRange(click.FloatRange):
    """A number in a range that is neither NaN nor infinite: click compares, and every comparison with NaN is false."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
