"""Sweeps: recipes x targets x seeds, each erased and evaluated, in one table.

    result = sweep("tiny")            # recipes/sweeps/tiny.yaml; what is in the store already is not made again
    write(result, "docs/sweeps")      # tiny.md, tiny.json, tiny.csv and the plots

`cells` says what there is to do, `run` does it, `table` averages, `report` writes it down, `record` puts it beside the
recipes.
"""

from __future__ import annotations

from conceptlib.sweeps.cells import Cell, cells
from conceptlib.sweeps.run import Run, Sweep, sweep

__all__ = ["Cell", "Run", "Sweep", "cells", "sweep"]
