"""Pieces of cards: the YAML header, Markdown tables, the lock, the lineage.

Everything here depends on artifacts only, never on the clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from conceptlib.errors import ConceptlibError
from conceptlib.hub.privacy import without_local_paths
from conceptlib.specs import load_spec
from conceptlib.store import Artifact, Store

if TYPE_CHECKING:
    from huggingface_hub import CardData

    from conceptlib.specs.schema import ConceptSpec

# The Hub's own size categories: upper bound and id.
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)


@dataclasses.dataclass(frozen=True)
class Lineage:
    """An ancestor: its role, its id, and the artifact if this store (still) has it."""

    role: str
    id: str
    artifact: Artifact | None


def render(data: CardData, sections: Sequence[str]) -> str:
    """README.md: the header and the sections, a blank line between them."""
    return (
        f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(section.strip("\n") for section in sections if section) + "\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def fenced(text: str, language: str) -> str:
    """A code block."""
    return f"```{language}\n{text.strip()}\n```"


def lock_section(artifact: Artifact) -> str:
    """How the artifact can be made again: every setting, without paths of this machine."""
    text = yaml.safe_dump(without_local_paths(artifact.lock), sort_keys=False, allow_unicode=True, width=110)
    version = artifact.environment.get("packages", {}).get("conceptlib")
    made = f"Made with conceptlib {version}" if version else "Made with conceptlib"
    return (
        f"## How it was made\n\n{made}. Every setting that decided the content (also in "
        f"`manifest.json`):\n\n{fenced(text, 'yaml')}"
    )


def ancestors(artifact: Artifact, store: Store) -> list[Lineage]:
    """Parents, their parents, and so on, nearest first, each id once."""
    found: dict[str, Lineage] = {}
    queue = [artifact]
    by_id = {one.id: one for one in store.list()} if artifact.parents else {}
    while queue:
        for role, parent_id in queue.pop(0).parents.items():
            if parent_id not in found:
                parent = by_id.get(parent_id)
                found[parent_id] = Lineage(role, parent_id, parent)
                if parent is not None:
                    queue.append(parent)
    return list(found.values())


def lineage_section(artifact: Artifact, lineage: Sequence[Lineage]) -> str:
    """A table of the artifact and what it was made from."""
    rows = [["this", f"{artifact.kind} {artifact.name}", f"`{artifact.id}`"]]
    rows += [
        [one.role, f"{one.artifact.kind} {one.artifact.name}" if one.artifact else "-", f"`{one.id}`"]
        for one in lineage
    ]
    return "## Lineage\n\nAn id is a hash of the content.\n\n" + table(["role", "artifact", "id"], rows)


def concept_specs(names: Sequence[str]) -> list[ConceptSpec]:
    """The concepts that still have a spec here."""
    found = []
    for name in names:
        try:
            found.append(load_spec("concept", name))
        except ConceptlibError:
            continue  # the user's spec may be gone since: then the card has the bare name
    return found


def phrases(names: Sequence[str]) -> str:
    """Concepts as people call them: "QR code", "QR code and watermark"."""
    known = {spec.name: spec.phrase for spec in concept_specs(names)}
    words = [known.get(name, name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def is_unsafe(names: Sequence[str]) -> bool:
    """Whether one of the concepts is of the unsafe type."""
    return any(spec.type == "unsafe" for spec in concept_specs(names))


def concept_tags(names: Sequence[str], *, unsafe: bool | None = None) -> list[str]:
    """Tags for the concepts; what is unsafe is marked as such (None: if one of the concepts is)."""
    unsafe = is_unsafe(names) if unsafe is None else unsafe
    return [*names, *(["not-for-all-audiences"] if unsafe else [])]


def size_category(rows: int) -> str:
    """The Hub's size category for a number of rows."""
    return next((name for bound, name in _SIZES if rows < bound), "100M<n<1B")


def find_concepts(lock: dict[str, Any]) -> tuple[str, ...]:
    """The concepts that a lock names, wherever the spec stands in it."""
    for value in (lock, *(item for item in lock.values() if isinstance(item, dict))):
        names = value.get("concepts")
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def license_note(license: str | None) -> tuple[str, ...]:
    """A remark for the user when nobody said what the licence is."""
    return () if license else ("the licence is not known, so the card says `unknown`: name it with --license",)
