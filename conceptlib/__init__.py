"""conceptlib: the registry for concepts that a text-to-image model should not draw.

The verbs of the command line are functions here: `build`, `annotate`, `erase`, `generate`, `evaluate`, `publish`,
`load`, ... . They are imported on first use, so that `import conceptlib` stays cheap (no torch, no diffusers, no
datasets).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

if "torch" not in sys.modules:
    # OpenMP reads it once, when torch is loaded. By default threads that wait for each other spin, which takes the
    # cores from whoever they wait for where other jobs run as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_PUBLIC = {
    "ConceptlibError": "conceptlib.errors",
    "SpecError": "conceptlib.specs",
    "Store": "conceptlib.store.store",
    "Artifact": "conceptlib.store.artifact",
    "Detections": "conceptlib.geometry",
    "load_spec": "conceptlib.specs",
    "list_specs": "conceptlib.specs",
    "build": "conceptlib.concepts.build",
    "diff": "conceptlib.concepts.diff",
    "annotate": "conceptlib.detectors.annotate",
    "load_detector": "conceptlib.detectors.load",
    "train_detector": "conceptlib.detectors.train",
    "evaluate_detector": "conceptlib.detectors.evaluate",
    "load_pipeline": "conceptlib.models.loading",
    "generate": "conceptlib.models.generate",
    "erase": "conceptlib.erasers.erase",
    "load": "conceptlib.erasers.checkpoint",
    "export_checkpoint": "conceptlib.erasers.export",
    "evaluate": "conceptlib.evaluators.suite",
    "sweep": "conceptlib.sweeps.run",
    "publish": "conceptlib.hub.publish",
    "export_dataset": "conceptlib.formats",
    "import_annotations": "conceptlib.formats",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'conceptlib' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
