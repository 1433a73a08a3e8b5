"""Where conceptlib keeps its things, and finds its own specs and the user's."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "CONCEPTLIB_HOME"


def home() -> Path:
    """The absolute root folder of the user's store: ``$CONCEPTLIB_HOME``, else the platform's data folder. It is not
    created here: looking must not write.

    An empty ``CONCEPTLIB_HOME`` counts as unset; ``~`` is expanded.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("conceptlib", appauthor=False)).absolute()


def builtin() -> Path:
    """The folder that holds the built-in `datasets/`, `detectors/` and `recipes/`.

    In an installed wheel that is `conceptlib/_builtin`; in a checkout (editable install) it is the repository's root.
    """
    package = Path(__file__).resolve().parent
    packed = package / "_builtin"
    return packed if packed.is_dir() else package.parent
