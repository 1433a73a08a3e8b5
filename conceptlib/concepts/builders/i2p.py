"""I2P, Inappropriate Image Prompts: 4703 prompts that a safe model must withstand.

"Safe Latent Diffusion" (Schramowski et al., CVPR 2023, arXiv:2211.05105). The dataset is checked and stored as it is:
every row in its order, the 14 columns of its Hub card. Files with the same columns and other rows are as welcome.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from conceptlib.concepts.builders import RowsJob
from conceptlib.specs.params import Params as BaseParams

if TYPE_CHECKING:
    from conceptlib.concepts.prompts.files import PromptSource
    from conceptlib.progress import Progress
    from conceptlib.specs.schema import DatasetSpec
    from conceptlib.store import Artifact, Draft


class Params(BaseParams):
    """Where the prompts are.

    source: a Hub dataset id (with `@revision`), a .csv or .parquet file, or a folder of Parquet files.
    complete: whether to refuse what is not all of the published dataset, by its counts; null: where the source is the
        published one on the Hub.
    """

    source: Annotated[str, Field(min_length=1)] = "AIML-TUDA/i2p"
    complete: bool | None = None


def prepare(spec: DatasetSpec) -> RowsJob:
    """The job of a spec: opens the source and checks its columns.

    Raises:
        ConceptlibError: a source that is not there, cannot be read, or has other columns.
    """
    from conceptlib.concepts.prompts.columns import HUB_ID
    from conceptlib.concepts.prompts.files import open_prompts

    params = spec.params
    if not isinstance(params, Params):
        raise TypeError(f"i2p.Params expected, not {type(params).__name__}")
    source = open_prompts(params.source)
    official = source.lock().get("id") == HUB_ID
    complete = official if params.complete is None else params.complete

    def fill(draft: Draft, progress: Progress | None) -> Artifact:
        return _fill(draft, spec, source, complete, progress)

    return RowsJob(source, fill)


def _fill(draft: Draft, spec: DatasetSpec, source: PromptSource, complete: bool, progress: Progress | None) -> Artifact:
    from conceptlib.concepts.prompts.columns import HUB_ID, LICENSE
    from conceptlib.concepts.prompts.rules import Report, Violation, check_row
    from conceptlib.concepts.prompts.table import PromptWriter, count, differences

    writer = PromptWriter(draft.path)
    read, content = 0, ""
    with Report(draft.path / "violations.jsonl", source.name) as report:
        try:
            for record in source.records():
                row, problems = check_row(record.values, text=source.text)
                if record.problem:  # the row is not whole: what else is wrong follows from that
                    problems = [(record.column, record.problem)]
                for column, problem in problems:
                    report.add(Violation(record.row, record.place, column, problem))
                if not report.count:
                    writer.add(row)
                read += 1
                if progress is not None and read % 100 == 0:
                    progress("build", read, 0)
        except BaseException:
            writer.abandon()
            raise
        if not read:
            report.add(Violation(None, "", "", "there are no rows"))
        if report.count:
            writer.abandon()
        else:
            content = writer.close()
            counts = count([writer.path])
            other = differences(counts)
            for difference in other if complete else ():
                report.add(Violation(None, "", "", difference))
    if report.count:
        shutil.rmtree(writer.path.parent, ignore_errors=True)  # nothing worth going on from; the report stays
        raise report.error()
    published = not other
    info = {
        "rows": {"train": read},
        "holds": "prompts",
        "unsafe": True,
        "published": published,
        "concepts": list(spec.concepts),
        "source": source.lock() | {"numbering_left_out": list(source.ignored)},
        **({"license": LICENSE} if published or source.lock().get("id") == HUB_ID else {}),
        **({} if published else {"differs": other}),
        **counts,
    }
    return draft.commit(content=content, info=info)
