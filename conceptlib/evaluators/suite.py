"""Run a suite of measurements on a checkpoint (or on a base by itself) and keep the result as an `evaluation` artifact.

    evaluation = evaluate("geom-erasing/qr", "icd", overrides=["n=128"])
    scores(evaluation)          # rows of scores.json
    evaluation.path / "grid.png"

Asked again, with the same checkpoint, spec, detector and networks, it returns the artifact that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib import scores as rows_of
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.evaluators.job import Job
from conceptlib.models.bases import artifact_name
from conceptlib.progress import Progress
from conceptlib.scores import GRID, SCORES
from conceptlib.specs import ConceptSpec, SuiteSpec, load_concepts, load_spec
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_path

if TYPE_CHECKING:
    from conceptlib.erasers.checkpoint import Checkpoint

__all__ = ["GRID", "SCORES", "evaluate", "fitting_suite", "scores"]


def evaluate(
    checkpoint: str | Path | Artifact,
    suite: str | Path | None = None,
    *,
    store: Store | None = None,
    overrides: Sequence[str] = (),
    detector: str | Artifact | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Measure a model by a suite.

    Args:
        checkpoint: a checkpoint: an artifact, a reference to one, the folder or Hub id of a published one; or a base
            (`tiny`, a diffusers folder, a Hub id) to measure that by itself.
        suite: name or path of a suite spec; by default the one that fits the model (`fitting_suite`).
        store: where artifacts are; the user's by default.
        overrides: `key=value` for the spec. `concepts=` names what to look for instead of what was erased.
        detector: a detector artifact, or a reference to one, in place of the suite's own.
        device, dtype: where images are generated; chosen if None.
        progress: called with (stage, done, total).

    Returns:
        An artifact of kind `evaluation`, named `<checkpoint>/<suite>`: `scores.json` (rows of `{"subject", "metric",
        "value", "low", "high", "n", "interval", ...}`), `grid.png` if the suite draws one, and `info["summary"]`:
        metric values by subject.

    Raises:
        SpecError: the suite's spec is wrong, with every problem.
        ConceptlibError: no such checkpoint, detector or base; nothing to measure.
    """
    from conceptlib.erasers.find import find

    store = store or Store()
    given = {override.partition("=")[0].strip() for override in overrides}
    if detector is not None and given & {"detector", "params.detector"}:
        raise UsageError(
            f"two detectors are named: {getattr(detector, 'ref', detector)}, and one by detector=", hint="name one"
        )
    if suite is not None:  # its mistakes are told before a model is looked for
        load_spec("suite", suite, list(overrides))
    folder = find(checkpoint, store)  # a mistyped name is told before torch is imported
    record = _record(folder) if folder else None
    spec: SuiteSpec = load_spec("suite", suite or fitting_suite(record), list(overrides))
    if detector is not None and not any(part.module == "detector" for part in spec.judges.values()):
        raise UsageError(f"the suite {spec.name} asks no detector", where="detector", hint="--suite icd does")
    artifact = store.get(folder, kind="checkpoint") if folder and (folder / "manifest.json").is_file() else None
    source = artifact or str(checkpoint)
    base = "@".join(filter(None, (record.base["ref"], record.base["revision"]))) if record else str(checkpoint)
    named = load_concepts(spec.concepts) if "concepts" in given else []
    job = Job(
        spec=spec,
        store=store,
        source=source,
        erased=record is not None,
        checkpoint=artifact,
        base=base,
        concepts=tuple(spec.concepts) if named else (record.concepts if record else ()) or tuple(spec.concepts),
        targets=tuple(concept.phrase for concept in named) or (record.phrases if record else ()),
        detector=detector,
        device=device,
        dtype=dtype,
        progress=progress or (lambda stage, done, total: None),
    )
    from conceptlib.evaluators.run import Run, versions

    run = Run(job)
    name = f"{artifact.name if artifact else artifact_name(str(checkpoint))}/{spec.name}"
    lock: dict[str, Any] = {"suite": spec.resolved(), "concepts": list(job.concepts), "measured_with": run.lock}
    with store.draft("evaluation", name, lock=lock | versions(spec), parents=run.parents) as draft:
        if draft.done:
            return draft.done
        measured = run.measure()
        rows_of.write(draft.path, measured.scores)
        if measured.picture is not None:
            with atomic_path(draft.path / GRID) as temporary:
                measured.picture.save(temporary, "PNG", optimize=True)
        info = {"suite": spec.name, "summary": rows_of.summary(measured.scores), **measured.info}
        # The picture depends on Pillow's and FreeType's versions; the scores are what the evaluation is.
        return draft.commit(info=info, volatile=(GRID,))


def fitting_suite(record: Checkpoint | None) -> str:
    """The name of the suite that measures what a checkpoint erased: `icd` where a detector looks for something that
    captions do not name (implicit concepts; a base by itself too), else `erasure`.
    """
    if record is None:
        return "icd"
    types = {concept.type for name in record.concepts for concept in _registered(name)}
    return "icd" if "implicit" in types else "erasure"


def _record(folder: Path) -> Checkpoint:
    from conceptlib.erasers.checkpoint import Checkpoint

    return Checkpoint.read(folder)


def _registered(name: str) -> list[ConceptSpec]:
    try:
        return load_concepts([name])
    except ConceptlibError:  # a phrase of the user's own
        return []


def scores(evaluation: Artifact) -> list[dict[str, Any]]:
    """The rows of an evaluation's `scores.json`.

    Raises:
        ConceptlibError: there is no readable `scores.json`.
    """
    return rows_of.read(evaluation.path)
