"""Run a suite of measurements on a checkpoint (or on a base by itself) and keep the result as an `evaluation` artifact.

    evaluation = evaluate("geom-erasing/qr", "icd", overrides=["n=128"])
    scores(evaluation)          # rows of scores.json
    evaluation.path / "grid.png"

Asked again, with the same checkpoint, spec, detector and networks, it returns the artifact that is there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.evaluators.job import Job, Progress
from conceptlib.specs import SUITES, SuiteSpec, load_spec
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_path, atomic_write

SCORES, GRID = "scores.json", "grid.png"


def evaluate(
    checkpoint: str | Path | Artifact,
    suite: str | Path = "icd",
    *,
    store: Store | None = None,
    overrides: Sequence[str] = (),
    detector: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Measure a model by a suite.

    Args:
        checkpoint: a checkpoint artifact or a reference to one; or a base (`tiny`, a diffusers folder, a Hub id) to
            measure that by itself.
        suite: name or path of a suite spec.
        store: where artifacts are; the user's by default.
        overrides: `key=value` for the spec.
        detector: a detector reference in place of the suite's own.
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
    store = store or Store()
    spec: SuiteSpec = load_spec("suite", suite, list(overrides))
    artifact, base = _subject(checkpoint, store)
    job = Job(
        spec=spec,
        store=store,
        checkpoint=artifact,
        base=base,
        concepts=_concepts(artifact, spec),
        detector=detector,
        device=device,
        dtype=dtype,
        progress=progress or (lambda stage, done, total: None),
    )
    plan = SUITES.get(spec.suite).plan(job)
    name = f"{artifact.name if artifact else _plain(base)}/{spec.name}"
    lock = {"suite": spec.resolved(), "concepts": list(job.concepts), "measured_with": dict(plan.lock)}
    with store.draft("evaluation", name, lock=lock, parents=dict(plan.parents)) as draft:
        if draft.done:
            return draft.done
        measured = plan.measure()
        atomic_write(draft.path / SCORES, json.dumps(measured.scores, indent=2) + "\n")
        if measured.picture is not None:
            with atomic_path(draft.path / GRID) as temporary:
                measured.picture.save(temporary, "PNG", optimize=True)
        summary: dict[str, dict[str, float]] = {}
        for row in measured.scores:
            summary.setdefault(row["subject"], {})[row["metric"]] = row["value"]
        # The picture depends on Pillow's and FreeType's versions; the scores are what the evaluation is.
        return draft.commit(info={"suite": spec.name, "summary": summary, **measured.info}, volatile=(GRID,))


def scores(evaluation: Artifact) -> list[dict[str, Any]]:
    """The rows of an evaluation's `scores.json`.

    Raises:
        ConceptlibError: there is no readable `scores.json`.
    """
    path = evaluation.path / SCORES
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConceptlibError(
            "the scores cannot be read", where=str(path), hint=f"conceptlib verify {evaluation.id}"
        ) from error
    return [dict(row) for row in rows]


def _subject(ref: str | Path | Artifact, store: Store) -> tuple[Artifact | None, str]:
    """The checkpoint and its base; or None and a base that was named itself."""
    try:
        artifact = store.get(ref, kind="checkpoint")
    except NotFound:
        if (
            str(ref) != "tiny"
            and not Path(str(ref), "model_index.json").is_file()
            and not _may_be_on_the_hub(str(ref), store)
        ):
            raise
        return None, str(ref)
    path = artifact.path / "checkpoint.json"
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base"]
        return artifact, f"{base['ref']}@{base['revision']}" if base.get("revision") else str(base["ref"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConceptlibError(
            "this checkpoint does not say what its base is", where=str(path), hint=f"conceptlib verify {artifact.id}"
        ) from error


def _may_be_on_the_hub(ref: str, store: Store) -> bool:
    """`org/name` that is no recipe's name: a recipe that has not been run must not be looked for on the Hub."""
    from conceptlib.specs import list_specs

    return (
        ref.count("/") == 1
        and not ref.startswith((".", "/", "~"))
        and ref not in {spec["name"] for spec in list_specs("recipe")}
    )


def _concepts(artifact: Artifact | None, spec: SuiteSpec) -> tuple[str, ...]:
    """The checkpoint's concepts; for a base those of the suite."""
    found: tuple[str, ...] = ()
    if artifact is not None:
        found = tuple(json.loads((artifact.path / "checkpoint.json").read_text(encoding="utf-8")).get("concepts", ()))
    found = found or tuple(spec.concepts)
    if not found:
        raise ConceptlibError(
            "there is no concept to look for", where=str(spec.source), hint="name it: concepts=[qr-code]"
        )
    return found


def _plain(base: str) -> str:
    """A base's name as an artifact's name."""
    return Path(base).name if Path(base).is_dir() else base.partition("@")[0]
