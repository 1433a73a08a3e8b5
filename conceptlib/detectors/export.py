"""Writing a trained detector as one file that needs less to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptlib.detectors.base import weights_folder
from conceptlib.detectors.load import spec_of
from conceptlib.errors import ConceptlibError
from conceptlib.specs import ADAPTERS
from conceptlib.store import Artifact, Store


def export_detector(detector: str | Path | Artifact, path: str | Path, *, store: Store | None = None) -> dict[str, Any]:
    """Write a trained detector's network, with its class names and threshold, as one file (ONNX).

    Args:
        detector: an artifact of kind `detector`, or its name (the newest), `name@id`, id or folder.
        path: the file, replaced if it is there.

    Returns:
        `detector` (its ref), `path`, `labels`, `imgsz`, `threshold`.

    Raises:
        NotFound: no such trained detector. ConceptlibError: its adapter writes no such files, this is not one, or a
            library is missing.
    """
    target = Path(path)
    artifact = detector if isinstance(detector, Artifact) else (store or Store()).get(detector, kind="detector")
    spec = spec_of(artifact.lock.get("spec"), artifact.path)
    adapter = ADAPTERS.get(spec.adapter)
    if not hasattr(adapter, "export"):
        raise ConceptlibError(f"detectors of the adapter {spec.adapter!r} are not exported", where=artifact.path)
    if target.suffix.lower() != adapter.EXPORTED:
        raise ConceptlibError(f"it is written as {adapter.EXPORTED}, not as {target.name!r}", where="--out")
    about = adapter.export(spec, weights_folder(artifact.path), target)
    return {"detector": artifact.ref, "path": target} | about
