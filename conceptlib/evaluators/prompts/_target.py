"""Which target prompts are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptlib.errors import ConceptlibError

if TYPE_CHECKING:
    from conceptlib.evaluators.job import Job


def target_of(asked: str | None, job: Job) -> str:
    """The target that was asked for, else the checkpoint's only one.

    Raises:
        ConceptlibError: none was asked for, and the checkpoint has none or several.
    """
    if asked is None and len(job.targets) != 1:
        listed = f": {', '.join(job.targets)}" if job.targets else ""
        raise ConceptlibError(
            f"this model has {len(job.targets) or 'no'} targets{listed}",
            where="target",
            hint=f"say which one to measure: target={job.targets[0] if job.targets else 'NAME'}",
        )
    return asked or job.targets[0]
