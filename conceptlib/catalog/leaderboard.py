"""Checkpoints side by side, ranked only among those whose scores can be compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from conceptlib.catalog.queries import Table, run
from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.progress import Progress

if TYPE_CHECKING:
    from conceptlib.store import Store

# One row a checkpoint and setting: its largest evaluation, the newest among equals. The smaller ones are counted. Names
# and bases are looked up for those alone that are listed.
_SQL = """
    WITH found AS (
        SELECT s.rowid AS score, s.setting, s.checkpoint_id, s.n, s.folder, a.seq, a.created
        FROM scores s JOIN artifacts a USING (folder)
        WHERE subject = 'checkpoint' AND metric = $metric AND checkpoint_id IS NOT NULL
            AND ($suite IS NULL OR suite = $suite) AND ($concept IS NULL OR list_contains(concepts, $concept))
    ), best AS (
        SELECT count(DISTINCT folder) AS evaluations,
            max_by(score, (coalesce(n, -1), seq IS NULL, seq, created, folder)) AS score
        FROM found GROUP BY setting, checkpoint_id
    ), ranked AS (
        SELECT s.*, evaluations, row_number() OVER (PARTITION BY {of} ORDER BY {value}, s.checkpoint_id) AS rank,
            count(*) OVER (PARTITION BY {of}) AS ranked
        FROM best JOIN scores s ON s.rowid = best.score
    ), listed AS (SELECT * FROM ranked WHERE rank <= $limit
    ), named AS (
        SELECT id, max_by(name, created) AS name, max_by(TRY_CAST(lock->>'$.recipe.seed' AS BIGINT), created) AS seed
        FROM artifacts WHERE kind = 'checkpoint' AND id IN (SELECT checkpoint_id FROM listed) GROUP BY id
    ), bases AS (
        SELECT folder, any_value(value) AS value FROM scores
        WHERE subject = 'base' AND metric = $metric AND folder IN (SELECT folder FROM listed) GROUP BY folder
    )
    SELECT setting AS "group", rank, named.name AS checkpoint, checkpoint_id, concepts, suite, b.value, low, high, n,
        bases.value AS base, steps, guidance_scale, b.seed, named.seed AS trained_seed, detector, detector_id,
        threshold, evaluation_id, evaluations, ranked
    FROM listed b LEFT JOIN named ON named.id = checkpoint_id LEFT JOIN bases USING (folder)
    ORDER BY {order} rank"""


_TOLD = """
    SELECT DISTINCT json_extract_string(info, '$.metrics') AS metrics
    FROM artifacts WHERE kind = 'evaluation' AND json_type(info, '$.metrics') = 'OBJECT'"""


def leaderboard(
    metric: str = "concept_rate",
    *,
    descending: bool | None = None,
    concept: str | None = None,
    suite: str | None = None,
    mixed: bool = False,
    limit: int | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Table:
    """The checkpoints by one metric, the best first, ranked among those whose scores can be compared.

    Scores can be compared that have the same suite and version of it, concepts, ways of drawing (steps, guidance,
    captions), and detector where one judges. Of several such evaluations of a checkpoint the largest counts, and of
    equally large ones the newest.

    Args:
        metric: as in ``scores.json``.
        descending: the largest value first; None: as the metric has it (``conceptlib.evaluators.known``), the
            smallest first where that is not known.
        concept, suite: only scores of these.
        mixed: rank all in one list, whether or not they can be compared.
        limit: only the best so many of each group (with ``mixed``, of all).
        progress: as for ``overview``.

    Returns:
        group (1, 2, ...: rows of equal group can be compared), rank (in the group; with ``mixed``, of all), checkpoint,
        checkpoint_id, concepts, suite, value, low, high, n, ``base``: the base model's value beside it, steps,
        guidance_scale, seed (of the pictures), trained_seed (of the checkpoint), detector, detector_id, threshold,
        evaluation_id, ``evaluations``: how many there are of this checkpoint and group, and ``ranked``: how many
        checkpoints the group has (with ``mixed``, how many there are in all).

    Raises:
        ConceptlibError: no evaluation has such a metric, concept or suite, with those there are; the catalog is locked.
    """
    if descending is None:
        descending = bool(better(metric, store=store, progress=progress))
    sql = _SQL.format(
        of="true" if mixed else "s.setting",
        value=f"s.value {'DESC' if descending else 'ASC'} NULLS LAST",
        order="" if mixed else "suite NULLS LAST, concepts, setting,",
    )
    asked = {"metric": metric, "concept": concept, "suite": suite, "limit": limit if limit is not None else 2**62}
    table = run(store, sql, asked, progress)
    if not table.rows:
        raise _nothing(store, metric, concept, suite)
    numbers: dict[str, int] = {}
    rows = tuple((numbers.setdefault(row[0], len(numbers) + 1), *row[1:]) for row in table.rows)
    return Table(table.columns, rows)


def better(metric: str, *, store: Store | None = None, progress: Progress | None = None) -> bool | None:
    """Whether more of a metric is better: as it says itself, else, for a plug-in's that is not here, as the evaluations
    say that it measured; None where nobody says, or they differ.
    """
    from conceptlib.evaluators.known import larger_is_better  # all metrics, of which the other commands know nothing

    known = larger_is_better(metric)
    if known is not None:
        return known
    told = set()
    for row in run(store, _TOLD, None, progress).dicts():
        metrics = json.loads(row["metrics"])
        own = metrics.get(metric.removesuffix("_change")) if isinstance(metrics, dict) else None
        if isinstance(own, dict) and isinstance(own.get("higher_is_better"), bool):
            told.add(own["higher_is_better"])
    return told.pop() if len(told) == 1 else None


def _nothing(store: Store | None, metric: str, concept: str | None, suite: str | None) -> ConceptlibError:
    """What was asked for and is not there, and what is."""
    concepts = "unnest(coalesce(concepts, [NULL])) AS concept"
    known = run(store, f"SELECT DISTINCT metric, suite, {concepts} FROM scores WHERE subject = 'checkpoint'").dicts()
    metrics = sorted({row["metric"] for row in known})
    if metric not in metrics:
        hint = f"metrics: {', '.join(metrics)}" if metrics else "score one: conceptlib evaluate CHECKPOINT"
        return ConceptlibError(f"no checkpoint has been scored by {metric!r}", hint=hint)
    for what, asked in (("suite", suite), ("concept", concept)):
        there = {str(row[what]) for row in known if row["metric"] == metric and row[what]}
        if asked is not None and asked not in there:
            hint = did_you_mean(asked, there, listing=f"{what}s")
            return ConceptlibError(f"no checkpoint has been scored by {metric!r} with the {what} {asked!r}", hint=hint)
    return ConceptlibError(
        f"no checkpoint has been scored by {metric!r} with the suite {suite!r} and the concept {concept!r}",
        hint="leave out one of them",
    )
