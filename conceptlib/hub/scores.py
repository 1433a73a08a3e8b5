"""Evaluations in a checkpoint's (or a detector's) card: `model-index` for the Hub, a table and the grid for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conceptlib import scores as rows_of
from conceptlib.evaluators.figures import arrow, figure, intervals_note
from conceptlib.evaluators.known import meaning
from conceptlib.hub import cards
from conceptlib.hub.plan import PlannedFile, artifact_files
from conceptlib.scores import GRID, SCORES
from conceptlib.store import Artifact, Store

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the artifact that is published. task: the Hub's id of what the model does."""

    artifact: Artifact
    task: str

    @property
    def suite(self) -> str:
        """The suite's name, which is also the folder of its files."""
        return str(self.artifact.info.get("suite") or self.artifact.name.rpartition("/")[2])

    @property
    def grid_path(self) -> str:
        """Where the picture is in the publication, "" if there is none."""
        return f"evaluation/{self.suite}/{GRID}" if any(entry.path == GRID for entry in self.artifact.files) else ""

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `scores.json`. Raises ConceptlibError: they cannot be read."""
        return rows_of.read(self.artifact.path)

    def files(self) -> list[PlannedFile]:
        """The scores and the picture."""
        return artifact_files(self.artifact, lambda path: path in (SCORES, GRID), into=f"evaluation/{self.suite}")

    def results(self) -> list[EvalResult]:
        """What the Hub lists as this model's results; the comparisons stay in the table."""
        from huggingface_hub import EvalResult

        found = []
        for row in self.rows():
            # A suite measures the base and others beside the checkpoint: those are not results of this model.
            own = _measured_kind(self.artifact) != "checkpoint" or str(row["subject"]).startswith("checkpoint")
            if not own or not isinstance(row["value"], int | float):
                continue
            details = {name: row[name] for name in ("low", "high", "n", "interval") if row.get(name) is not None}
            found.append(
                EvalResult(
                    task_type=self.task,
                    dataset_type=f"conceptlib-{self.suite}",
                    dataset_name=f"conceptlib suite {self.suite}",
                    metric_type=str(row["metric"]),
                    metric_name=str(row["metric"])
                    if row["subject"] == "checkpoint"
                    else f"{row['metric']} ({row['subject']})",
                    metric_value=row["value"],
                    metric_args=details or None,
                )
            )
        return found

    def section(self) -> str:
        """A table: a line a metric, a column a subject."""
        rows = self.rows()
        subjects = list(dict.fromkeys(row["subject"] for row in rows))
        told = self.artifact.info.get("metrics")
        cells = {(row["metric"], row["subject"]): figure(row, told) for row in rows}
        lines = [
            [f"{metric} {arrow(meaning(metric, told))}".rstrip(), *(cells.get((metric, one), "-") for one in subjects)]
            for metric in dict.fromkeys(row["metric"] for row in rows)
        ]
        note = intervals_note(rows)
        better = "↑ higher is better, ↓ lower is better"
        head = f"## Scores ({self.suite})\n\n" + ". ".join(filter(None, [note.capitalize(), better])) + ".\n\n"
        return head + cards.table(["metric", *subjects], lines)


def of(artifact: Artifact, store: Store, task: str = "text-to-image") -> list[Evaluation]:
    """The newest evaluation of every name that was made of `artifact`, by name."""
    found = store.list(kind="evaluation", parent=artifact.id)
    newest = {one.name: one for one in found if _measured_kind(one) == artifact.kind}
    return [Evaluation(newest[name], task) for name in sorted(newest)]


def _measured_kind(evaluation: Artifact) -> str:
    """What an evaluation is of: a suite's parents also name the detector that counted, which was not measured."""
    roles = evaluation.parents
    if "checkpoint" in roles:
        return "checkpoint"
    return "" if any(role.startswith("images:") for role in roles) else "detector"
