"""The page of I2P and its subsets: the categories, counted, and some rows with their prompts redacted."""

from __future__ import annotations

from itertools import islice
from typing import Any

from conceptlib.concepts.prompts.columns import CATEGORIES, PUBLISHED
from conceptlib.concepts.prompts.redact import redacted
from conceptlib.concepts.prompts.table import PromptTable, count
from conceptlib.concepts.show._page import Options, Page, Section
from conceptlib.store import Artifact

EXAMPLES = 5

_SHOWN = ("categories", "hard", "nudity_percentage", "q16_percentage", "sd_seed", "prompt")


def page(artifact: Artifact, options: Options) -> Page:
    """Counts come from the rows as they are on the disk, not from the manifest."""
    table = PromptTable(artifact)
    counts = count(table.shards())
    subset = "condition" in artifact.info
    head = {
        "name": artifact.name,
        "id": artifact.id,
        **({"condition": artifact.info["condition"], "of": artifact.info.get("of")} if subset else {}),
        **{key: counts[key] for key in ("prompts", "distinct_prompts", "several_categories", "hard", "nudity_over_50")},
        "path": str(artifact.path),
    }
    sections = [_categories(counts, None if subset else artifact.info.get("published"))]
    wanted = EXAMPLES if options.n is None else options.n
    if wanted:
        sections.append(_examples(table, wanted, options.show_prompts))
    notes = [] if options.show_prompts or not wanted else ["prompts are redacted; --show-prompts shows them"]
    if not subset and not artifact.info.get("published"):
        differs = artifact.info.get("differs", [])
        notes.insert(0, "these are not the counts of the published I2P: " + "; ".join(differs))
    return Page(artifact, head, tuple(sections), tuple(notes))


def _categories(counts: dict[str, Any], published: bool | None) -> Section:
    """A row a category; a prompt counts in each of its own. `published` stands beside where all of I2P is meant."""
    columns = ["category", "prompts", "share", "hard"] + (["published"] if published is not None else [])
    numbers: dict[str, int] = PUBLISHED["categories"]  # type: ignore[assignment]
    rows = [
        {
            "category": category,
            "prompts": counts["categories"][category],
            "share": round(counts["categories"][category] / max(counts["prompts"], 1), 4),
            "hard": counts["hard_by_category"][category],
            "published": numbers[category],
        }
        for category in CATEGORIES
    ]
    return Section("categories", tuple(columns), [{key: row[key] for key in columns} for row in rows])


def _examples(table: PromptTable, n: int, show_prompts: bool) -> Section:
    numbers = table.case_numbers()
    rows = []
    for index, row in enumerate(islice(table.rows(columns=list(_SHOWN)), n)):
        prompt = row["prompt"] if show_prompts else redacted(row["prompt"])
        rows.append({"case_number": numbers[index], **{key: row[key] for key in _SHOWN[:-1]}, "prompt": prompt})
    return Section("examples", ("case_number", *_SHOWN), rows)
