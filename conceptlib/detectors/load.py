"""Finding and loading a detector: by the name of its spec, a spec's path, a file of weights, or a trained artifact."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, cast

from conceptlib.detectors.base import Detector, needs_training, weights_folder
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.specs import ADAPTERS, DetectorSpec, SpecError, load_spec
from conceptlib.store import Artifact, Store


def load_detector(
    ref: str | Path | Artifact | Detector,
    *,
    store: Store | None = None,
    device: str | None = None,
    trust: bool = False,
    _within: tuple[str, ...] = (),
) -> Detector:
    """Load a detector.

    Args:
        ref: the name of a spec (`zxing`; of one that is trained, `yolo-icd`: its newest artifact), the path of a
            spec, a file of weights that an adapter opens (`best.onnx`, `best.pt`), a detector artifact or its
            `name@id`, id or folder; a loaded detector is returned as it is.
        store: where artifacts are looked for.
        device: cpu, cuda, cuda:1, mps; None: the best there is.
        trust: weights that are pickles, whose makers the user trusts, may be opened.

    Raises:
        NotFound: neither a spec nor an artifact nor a file of that name; or one that was not trained yet, with the
            command that trains it.
        ConceptlibError: the spec is invalid, a library is missing, the weights are damaged or may not be opened.
    """
    if isinstance(ref, Artifact):
        return _from_artifact(ref, device)
    if not isinstance(ref, (str, os.PathLike)):
        return ref
    store = store or Store()
    text = os.fspath(ref)
    if spec := _spec_of_file(Path(text).expanduser(), trust):
        return cast(Detector, ADAPTERS.get(spec.adapter).load(spec, weights=None, device=device))
    try:
        spec = _load_spec(text, trust)
    except NotFound as unknown:
        try:
            return _from_artifact(store.get(text, kind="detector"), device)
        except NotFound:
            raise unknown from None
    adapter = ADAPTERS.get(spec.adapter)
    if needs_training(adapter, spec.params):
        return _from_artifact(store.get(spec.name, kind="detector"), device)
    options: dict[str, Any] = {}
    if hasattr(adapter, "members"):
        if spec.name in _within:
            raise ConceptlibError(
                f"the detector {spec.name!r} is made of itself: {' → '.join([*_within, spec.name])}", where=spec.source
            )
        inside = (*_within, spec.name)
        options["members"] = [
            load_detector(name, store=store, device=device, trust=trust, _within=inside)
            for name in adapter.members(spec.params)
        ]
    return cast(Detector, adapter.load(spec, weights=None, device=device, **options))


def _load_spec(ref: str, trust: bool) -> DetectorSpec:
    if trust:
        try:
            return cast(DetectorSpec, load_spec("detector", ref, overrides=["trust=true"]))
        except SpecError:
            pass  # its adapter opens no pickles; or it is wrong in another way, which is said below
    return cast(DetectorSpec, load_spec("detector", ref))


def _spec_of_file(path: Path, trust: bool) -> DetectorSpec | None:
    """The spec that stands for a file of weights; None where `path` is no such file's name."""
    if not path.suffix:
        return None
    for name, adapter in ADAPTERS.modules():
        if path.suffix.lower() in getattr(adapter, "FILES", ()):
            called = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).lstrip("._-")[:96] or "weights"
            spec = DetectorSpec(kind="detector", name=called, adapter=name)
            return spec.model_copy(update={"params": adapter.of_file(path, trust)})
    return None


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
            hint="it was made by another version of conceptlib: train it again with `conceptlib detectors train`",
        ) from error
