"""No weights at all: `erasure.json`, settings that the method's own module applies to the base at inference.

The module of such a method has `apply(pipe, config)`. It may set `pipe.guidance_rule` (`models.guidance`), or nothing
if the negative prompt is all there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.erasers.adapters._tokens import apply_tokens, save_tokens
from conceptlib.errors import ConceptlibError
from conceptlib.specs.registry import METHODS
from conceptlib.store.files import atomic_write

if TYPE_CHECKING:
    from conceptlib.erasers.base import Result
    from conceptlib.erasers.checkpoint import Checkpoint

WHOLE = False
CONFIG = "erasure.json"


def save(folder: Path, pipe: Any, result: Result, record: Checkpoint) -> None:
    """Write `result.config`."""
    atomic_write(folder / CONFIG, json.dumps(result.config, indent=2, sort_keys=True, allow_nan=False) + "\n")
    save_tokens(folder, pipe, result)


def apply(folder: Path, record: Checkpoint, pipe: Any) -> None:
    """Hand the configuration to the method's module.

    Raises:
        ConceptlibError: a file that cannot be read, a method that this version lacks or that applies nothing.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConceptlibError("the configuration cannot be read", where=str(path), hint=str(error)) from error
    if record.method not in METHODS or not hasattr(METHODS.get(record.method), "apply"):
        raise ConceptlibError(
            f"the method {record.method!r} cannot be applied at inference", where=str(path), hint="update conceptlib"
        )
    apply_tokens(folder, record, pipe)
    METHODS.get(record.method).apply(pipe, config)
