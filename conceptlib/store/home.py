"""Where conceptlib keeps its things: ``$CONCEPTLIB_HOME``, else the platform's data folder."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "CONCEPTLIB_HOME"


def home() -> Path:
    """The absolute root folder of the user's store. It is not created here: looking must not write.

    An empty ``CONCEPTLIB_HOME`` counts as unset; ``~`` is expanded.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("conceptlib", appauthor=False)).absolute()
