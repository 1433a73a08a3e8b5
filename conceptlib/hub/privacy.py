"""What must not leave the machine: paths of this machine's folders. (Secrets: `conceptlib.redaction`.)"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LOCAL_PATH = re.compile(r"(?:/|~[/\\]?|[A-Za-z]:[\\/]|\\\\|file:|\.{1,2}[/\\])\S.*", re.DOTALL)


def without_local_paths(value: Any) -> Any:
    """Plain JSON with every path of this machine cut down to `local:<last part>`.

    The user's home inside longer text becomes `~`.
    """
    if isinstance(value, dict):
        return {name: without_local_paths(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_local_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    if _LOCAL_PATH.fullmatch(value) and "\n" not in value:
        return "local:" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    home = str(Path.home())
    return value.replace(home, "~") if home != "/" else value
