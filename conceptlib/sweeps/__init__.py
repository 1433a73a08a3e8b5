"""Sweeps: recipes x targets x seeds, each erased and evaluated, in one table.

    result = sweep("methods")         # recipes/sweeps/methods.yaml; what is in the store already is not made again
    write(result, "docs/sweeps", Store())   # methods.md, methods.json, methods.csv and the plots

`cells` says what there is to do, `run` does it, `table` averages, `report` writes it down, `record` puts it beside the
recipes.
"""

from __future__ import annotations

from conceptlib.sweeps.cells import Cell, cells
from conceptlib.sweeps.run import Run, Sweep, sweep

__all__ = ["Cell", "Run", "Sweep", "cells", "sweep"]
