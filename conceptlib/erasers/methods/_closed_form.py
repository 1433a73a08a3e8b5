"""What the closed forms share: from phrases to pairs of embeddings, and from an edit to a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from conceptlib.erasers.base import Adapter, Job, Result
from conceptlib.errors import ConceptlibError

if TYPE_CHECKING:
    import torch

    from conceptlib.erasers.closed_form import Edit
    from conceptlib.models.family import Model

PART: Final = "attn2-kv"


def moves(job: Job) -> dict[str, str]:
    """What each phrase shall be read as: the concepts' phrases as the anchor, unless `redirect` says otherwise."""
    erased = {phrase: job.params.anchor for concept in job.concepts for phrase in concept.phrases}
    return erased | dict(job.params.redirect)


def refuse_unmoved(job: Job, wanted: Mapping[str, str]) -> None:
    """Refuse a phrase that shall be read as itself, in other letters or as another name of the same concept.

    Raises:
        ConceptlibError: naming the phrase and what it shall be read as.
    """
    import torch

    texts = list(dict.fromkeys([*wanted, *wanted.values()]))
    rows = torch.cat([ids.cpu() for ids in job.model.token_ids(texts)], dim=1).tolist()
    ids = dict(zip(texts, map(tuple, rows), strict=True))
    own = {phrase: concept.phrases for concept in job.concepts for phrase in concept.phrases}
    for phrase, target in wanted.items():
        if any(ids[target] == ids.get(name) for name in (phrase, *own.get(phrase, ()))):
            raise ConceptlibError(
                f"{phrase!r} is to be read as {target!r}, which means the same to the text encoder: nothing would "
                "change",
                where="redirect" if phrase in job.params.redirect else "anchor",
                hint="name something else that it shall mean, or nothing: anchor=''",
            )


def held(job: Job) -> list[str]:
    """What must not move: `preserve`, then the neighbours, each once, and nothing that is moved."""
    wanted = [*job.params.preserve, *(neighbour.phrase for neighbour in job.neighbours)]
    return [phrase for phrase in dict.fromkeys(wanted) if phrase not in moves(job)]


def pairs(
    model: Model, wanted: Mapping[str, str], templates: Sequence[str], positions: str, *, begin: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of phrases and of what they shall be read as, row by row: two tensors (n, D).

    Args:
        wanted: phrase to target.
        templates: prompts with a `{}`; each phrase is put into each of them.
        positions: `last`: the phrase's last token, n = phrases × templates. `tail`: that and every position behind it,
            as far as both prompts reach. `all`: all 77 positions, one by one.
        begin: an empty target is the begin mark, not the end mark.
    """
    import torch

    from conceptlib.models.words import subjects

    sources, targets = [], []
    for template in templates:
        whole = positions != "last"
        before = subjects(model, list(wanted), template, whole=whole)
        after = subjects(model, list(wanted.values()), template, whole=whole)
        for source, target, phrase in zip(before, after, wanted.values(), strict=True):
            i, j = (0, 0) if positions == "all" else (source.last, target.last)
            if begin and not phrase.strip():
                j = 0
            count = 1 if positions == "last" else len(source.states) - max(i, j)
            sources.append(source.states[i : i + count])
            targets.append(target.states[j : j + count])
    empty = torch.empty(0, model.width)
    return torch.cat([empty, *(rows.cpu() for rows in sources)]), torch.cat([empty, *(rows.cpu() for rows in targets)])


def finish(model: Model, edit: Edit, adapter: Adapter, convention: str, info: Mapping[str, Any]) -> Result:
    """Edit every key and value matrix in place; the result holds the tensors, or the factors as a LoRA."""
    from conceptlib.models.prediction import wide

    small = edit.compact()
    changed, factors = {}, {}
    for name, weight in model.select(PART).items():
        weight.data = wide(weight.data)  # a file in half precision: what is edited must not be rounded
        if adapter == "lora":
            factors[f"{model.DENOISER}.{name.removesuffix('.weight')}"] = small.lora(weight)
        changed[f"{model.DENOISER}.{name}"], weight.data = weight.data, small.apply(weight)
    return Result(
        adapter=adapter,
        convention=convention,
        changed=changed,
        factors=factors,
        info={"rank": small.rank, "matrices": len(changed), **info},
    )
