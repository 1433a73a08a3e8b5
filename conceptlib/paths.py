"""Where conceptlib finds its own specs and the user's."""

from __future__ import annotations

from pathlib import Path

from conceptlib.store.home import home

__all__ = ["builtin", "home"]


def builtin() -> Path:
    """The folder that holds the built-in `datasets/`, `detectors/` and `recipes/`.

    In an installed wheel that is `conceptlib/_builtin`; in a checkout (editable install) it is the repository's root.
    """
    package = Path(__file__).resolve().parent
    packed = package / "_builtin"
    return packed if packed.is_dir() else package.parent
