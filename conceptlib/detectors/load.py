"""Finding and loading a detector: by the name of its spec, a spec's path, or a trained artifact."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from conceptlib.detectors.base import Detector, needs_training, weights_folder
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.specs import ADAPTERS, DetectorSpec, load_spec
from conceptlib.store import Artifact, Store


def load_detector(
    ref: str | Path | Artifact | Detector, *, store: Store | None = None, device: str | None = None
) -> Detector:
    """Load a detector.

    Args:
        ref: the name of a spec (`zxing`; of one that is trained, `yolo-icd`: its newest artifact), the path of a
            spec, a detector artifact or its `name@id`, id or folder; a loaded detector is returned as it is.
        store: where artifacts are looked for.
        device: cpu, cuda, cuda:1, mps; None: the best there is.

    Raises:
        NotFound: neither a spec nor an artifact of that name; or one that was not trained yet, with the command that
            trains it.
        ConceptlibError: the spec is invalid, a library is missing, or the weights are damaged.
    """
    if isinstance(ref, Artifact):
        return _from_artifact(ref, device)
    if not isinstance(ref, (str, os.PathLike)):
        return ref
    store = store or Store()
    text = os.fspath(ref)
    try:
        spec = load_spec("detector", text)
    except NotFound as unknown:
        try:
            return _from_artifact(store.get(text, kind="detector"), device)
        except NotFound:
            raise unknown from None
    adapter = ADAPTERS.get(spec.adapter)
    if not needs_training(adapter, spec.params):
        return cast(Detector, adapter.load(spec, weights=None, device=device))
    return _from_artifact(store.get(spec.name, kind="detector"), device)


def _from_artifact(artifact: Artifact, device: str | None) -> Detector:
    if artifact.kind != "detector":
        raise ConceptlibError(f"{artifact.ref} is of kind {artifact.kind}, not a detector", where=artifact.path)
    spec = spec_of(artifact.lock.get("spec"), artifact.path)
    return open_weights(spec, artifact.path, artifact.id, device)


def open_weights(spec: DetectorSpec, path: Path, artifact: str, device: str | None) -> Detector:
    """The detector whose trained weights lie in a detector artifact's folder, or in one that is still being made."""
    detector = cast(Detector, ADAPTERS.get(spec.adapter).load(spec, weights=weights_folder(path), device=device))
    detector.artifact = artifact
    return detector


def spec_of(lock: Any, where: Path) -> DetectorSpec:
    """The spec inside a lock: validated like a file, since the artifact may come from anywhere."""
    from pydantic import ValidationError

    try:
        data = dict(lock)
        params = ADAPTERS.params(data["adapter"]).model_validate(data.pop("params"))
        return DetectorSpec.model_validate(data).model_copy(update={"params": params})
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise ConceptlibError(
            f"the detector's lock holds no valid spec: {error}",
            where=where,
            hint="it was made by another version of conceptlib: train it again with `conceptlib detector train`",
        ) from error
