"""What a spec may say: one pydantic model a kind of spec.

`params` is checked separately against the `Params` of the registered module that the spec names, so no builder,
detector, method or model family is known here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SerializeAsAny, model_validator

from conceptlib.specs.neighbours import NeighbourSpec
from conceptlib.specs.params import WHOLE, Params
from conceptlib.specs.registry import ADAPTERS, BUILDERS, FAMILIES, JUDGES, METHODS, METRICS, PROMPTS, Registry
from conceptlib.specs.suites import Part, Picture, Sampler, as_before, expand, options_of
from conceptlib.specs.yaml_io import Document, Place


def _portable(name: str) -> str:
    """A name is a folder's and a file's, on every system."""
    for part in name.split("/"):
        if part.partition(".")[0] in RESERVED or part.endswith("."):
            raise ValueError(f"{name!r} is no name that every system can give to a file")
    return name


RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
"""What Windows keeps for devices, whatever follows a dot."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,95}$"), AfterValidator(_portable)]
RecipeName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,47}(/[a-z0-9][a-z0-9._-]{0,47})?$"),
    AfterValidator(_portable),
]
Override = Annotated[str, Field(pattern=r"^[^=\s]+=.*$")]
Line = Annotated[str, Field(pattern=r"^\S+(\s+[^=\s]+=.*)?$", max_length=400)]


def _has_words(text: str) -> str:
    if not any(
        character.isprintable() and not character.isspace() for character in text
    ):  # zero-width ones are nothing
        raise ValueError("is empty: give it words")
    return text.strip()


Phrase = Annotated[str, Field(max_length=500), AfterValidator(_has_words)]


def phrase_name(phrase: str) -> str:
    """The name of a concept that was given by its phrase alone: `Van Gogh` is `van-gogh`. What has no Latin letters or
    digits is named by a hash.
    """
    ascii_text = unicodedata.normalize("NFKD", phrase).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:64].strip("-")
    if not name or len(phrase) > 64:
        name = f"{name[:48] or 'phrase'}-{hashlib.sha256(phrase.encode()).hexdigest()[:8]}"
    return name


class Spec(BaseModel):
    """The fields that every spec has. `params` is an instance of the registered module's `Params`, with every default
    filled in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    registry: ClassVar[tuple[str, Registry] | None] = None
    """The field that names a registered module, and the registry that it is looked up in."""
    parts: ClassVar[tuple[tuple[str, str, Registry], ...]] = ()
    """Fields that hold registered modules: the field, the key in it that names the module, and the registry. A field
    whose key is not in it maps labels to modules (`kid: {subsets: 50}`)."""
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of fields that say the same thing in two ways. An override of one takes the place of a file's other."""

    kind: str
    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    params: SerializeAsAny[Params] = Params()

    _source: Path = PrivateAttr(default=Path())

    @property
    def source(self) -> Path:
        """The file that this spec was read from."""
        return self._source

    @property
    def entry(self) -> str:
        """The name in the registry (builder, adapter, method, suite, family); empty for a concept."""
        return str(getattr(self, self.registry[0])) if self.registry else ""

    @classmethod
    def prepare(cls, document: Document) -> None:
        """Change what was read before overrides are applied; nothing for most kinds."""

    @classmethod
    def place_of(cls, parts: Place, data: Mapping[str, Any]) -> Place:
        """Which value an override's key means: a field of the spec, else one of `params`."""
        return parts if parts[0] in cls.model_fields else ("params", *parts)

    def checked(self) -> Iterator[tuple[Place, str]]:
        """What is wrong with the spec as a whole, once each field is right: (place, message)."""
        return iter(())

    def resolved(self, *, whole: bool = False) -> dict[str, Any]:
        """A plain dict with every default filled in, ready for a lock. The description is left out: it decides no
        content.

        Args:
            whole: to be shown: also the parameters that locks leave out at their defaults (`Params.later`).
        """
        return self.model_dump(mode="json", exclude={"description"}, context=WHOLE if whole else None)


def portable(resolved: dict[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """A resolved spec without the places of the user's files: their content is in the lock beside it, and their paths
    are nobody's business.

    Args:
        paths: names of the parameters that may be paths; of those that exist only the last part is kept.
    """
    params = dict(resolved["params"])
    for name in paths:
        value = params.get(name)
        if isinstance(value, str) and value and Path(value).expanduser().exists():
            params[name] = Path(value).expanduser().resolve().name
    return resolved | {"params": params}


class DatasetSpec(Spec):
    """A dataset that a builder makes; concepts are those that its images contain."""

    registry: ClassVar[tuple[str, Registry] | None] = ("builder", BUILDERS)
    kind: Literal["dataset"]
    builder: str
    concepts: tuple[Name, ...] = ()


class ConceptSpec(Spec):
    """Something that a model should not draw.

    type: `implicit` (never in the caption: QR codes, watermarks, stray text), `explicit` (objects, styles, people) or
    `unsafe`.
    phrases: how people write it; the first is the one used in prompts. detectors: names of the detector specs that
    see it.
    """

    kind: Literal["concept"]
    type: Literal["implicit", "explicit", "unsafe"]
    phrases: Annotated[tuple[Phrase, ...], Field(min_length=1)]
    detectors: tuple[Name, ...] = ()

    @property
    def phrase(self) -> str:
        """The canonical name that prompts use."""
        return self.phrases[0]


class DetectorSpec(Spec):
    """A detector: an adapter and its parameters."""

    registry: ClassVar[tuple[str, Registry] | None] = ("adapter", ADAPTERS)
    kind: Literal["detector"]
    adapter: str


class RecipeSpec(Spec):
    """An erasure: a method, the concepts to erase, and its parameters. Its name is `method/variant`.

    concepts: names of concept specs. targets: phrases to erase instead of them, in the user's own words, for which no
    concept spec is needed: `targets='["Van Gogh"]'`. Of the two one is given; a lock has both, where `concepts` are the
    names of the `targets`. neighbours: what should survive, by hand or found.
    """

    registry: ClassVar[tuple[str, Registry] | None] = ("method", METHODS)
    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("concepts", "targets"),)
    kind: Literal["recipe"]
    name: RecipeName
    method: str
    concepts: tuple[Name, ...] = ()
    targets: tuple[Phrase, ...] = ()
    neighbours: NeighbourSpec = NeighbourSpec()

    @model_validator(mode="after")
    def _something_to_erase(self) -> RecipeSpec:
        if not (self.concepts or self.targets):
            raise ValueError("there is nothing to erase: name concepts, or give phrases as targets")
        names = [phrase_name(target) for target in self.targets]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"the target {self.targets[index]!r} is listed twice")
        if self.concepts and names and sorted(self.concepts) != sorted(names):
            raise ValueError(
                f"what is to be erased? concepts name {', '.join(self.concepts)}, targets name "
                f"{', '.join(self.targets)}: give one of the two"
            )
        return self


Subject = Literal["base", "base+negative", "checkpoint", "checkpoint-no-negative", "clean"]


class SuiteSpec(Spec):
    """A suite of measurements, over one runner (`conceptlib.evaluators.run`).

    prompts: where the captions come from (`source`, and its parameters). subjects: whose images: of the model before
    (`base`, `base+negative`) and after (`checkpoint`, `checkpoint-no-negative`), or `clean` renderings. sampler: how
    they are drawn. judges: what says what is in an image. metrics: what is computed. measure: which of the metrics;
    null for all. picture: the grid. options: short names for the command line, `n: prompts.n`.
    """

    parts: ClassVar[tuple[tuple[str, str, Registry], ...]] = (
        ("prompts", "source", PROMPTS),
        ("judges", "judge", JUDGES),
        ("metrics", "metric", METRICS),
    )
    kind: Literal["suite"]
    concepts: tuple[Name, ...] = ()
    prompts: Any
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)] = ("base", "checkpoint")
    sampler: Sampler = Sampler()
    judges: dict[str, Any] = Field(default_factory=dict)
    metrics: Annotated[dict[str, Any], Field(min_length=1)]
    measure: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    picture: Picture = Picture()
    options: dict[str, str] = Field(default_factory=dict)

    @property
    def entry(self) -> str:
        """The prompt source."""
        return str(self.prompts.module)

    def measured(self) -> dict[str, Part]:
        """The metrics that are measured, by label."""
        chosen = self.metrics if self.measure is None else self.measure
        return {label: self.metrics[label] for label in dict.fromkeys(chosen)}

    @classmethod
    def prepare(cls, document: Document) -> None:
        expand(document)

    @classmethod
    def place_of(cls, parts: Place, data: Mapping[str, Any]) -> Place:
        """`n` and `params.n` are short names; a path reaches inside (`metrics.kid.subsets`)."""
        short = parts[1:] if parts[0] == "params" and len(parts) > 1 else parts
        options = options_of(data)
        if len(short) == 1 and str(short[0]) in options:
            return options[str(short[0])]
        return parts if parts[0] in cls.model_fields else ("params", *parts)

    def checked(self) -> Iterator[tuple[Place, str]]:
        """Metrics that are not there, those that no suite can measure, and what a part says of the others."""
        for label in self.measure or ():
            if label not in self.metrics:
                yield ("measure",), f"there is no metric {label!r} in this suite: {', '.join(self.metrics)}"
        for label, part in self.metrics.items():
            if not hasattr(METRICS.get(part.module), "compute"):
                yield ("metrics", label), "a suite cannot measure this; `conceptlib detectors eval` does"
        yield from self._written_twice()
        check = getattr(PROMPTS.get(self.prompts.module), "check", None)
        for field, message in check(self.prompts.params, self) if check else ():
            yield ("prompts", field), message

    def _written_twice(self) -> Iterator[tuple[Place, str]]:
        """Measured metrics that write scores of one name: a row is found by its subject and metric, so the second would
        hide behind the first.
        """
        writer: dict[str, str] = {}
        for label in self.metrics if self.measure is None else [one for one in self.measure if one in self.metrics]:
            module = METRICS.get(self.metrics[label].module)
            names = [metric.name for metric in (module.METRIC, *getattr(module, "ALSO", ()))]
            if (name := next((name for name in names if name in writer), None)) and writer[name] != label:
                yield ("metrics", label), f"{writer[name]!r} writes {name!r} too: give each a suite of its own"
            writer |= {name: label for name in names if name not in writer}

    def resolved(self, *, whole: bool = False) -> dict[str, Any]:
        """A plain dict with every default filled in, ready for a lock; of a suite that could be said so before suites
        were data, as it was written then.
        """
        said: dict[str, Any] = {"kind": "suite", "name": self.name, "seed": self.seed, "concepts": list(self.concepts)}
        said |= {"prompts": self.prompts.said("source"), "subjects": list(self.subjects)}
        said |= {"sampler": self.sampler.model_dump(mode="json"), "picture": self.picture.model_dump(mode="json")}
        said["judges"] = {label: part.said("judge", label) for label, part in self.judges.items()}
        said["metrics"] = {label: part.said("metric", label) for label, part in self.metrics.items()}
        said |= {"measure": list(self.measure)} if self.measure is not None else {}
        options = options_of({**said, "options": self.options})
        if not whole and (before := as_before(said, self.name, options)) is not None:
            return {key: said[key] for key in ("kind", "name", "seed", "concepts")} | before
        return said


class ModelSpec(Spec):
    """A model that a family's recipe trains."""

    registry: ClassVar[tuple[str, Registry] | None] = ("family", FAMILIES)
    kind: Literal["model"]
    family: str


class SweepSpec(Spec):
    """Every recipe on every target from every seed: what is to be compared.

    recipes: as behind `conceptlib erase`, a recipe and its overrides in one string; `{target}` and `{domain}` (the
    label column that the target is a word of) are filled in. targets: what is erased, one at a time. labels: a dataset
    whose label columns the targets are words of; null: the worlds' own. column: one of them, all of whose words are the
    targets, instead of `targets`. seeds: how many, counted from `seed`. evaluate: overrides of the suite. data,
    annotations: as behind `conceptlib erase`, for the recipes that are trained on a dataset.
    """

    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("targets", "column"),)
    kind: Literal["sweep"]
    recipes: Annotated[tuple[Line, ...], Field(min_length=1)]
    targets: tuple[Phrase, ...] = ()
    labels: Annotated[str, Field(min_length=1)] | None = None
    column: Annotated[str, Field(min_length=1)] | None = None
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    base: Annotated[str, Field(min_length=1)] = "tiny"
    suite: Annotated[str, Field(min_length=1, max_length=400)] = "erasure"
    data: str | None = None
    annotations: str | None = None
    evaluate: tuple[Override, ...] = ()

    @model_validator(mode="after")
    def _some_target(self) -> SweepSpec:
        if not (self.targets or self.column):
            raise ValueError("there is nothing to erase: name targets, or the label column that has them")
        if self.column and not self.labels:
            raise ValueError("a column of which dataset? say labels: DATASET")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> SweepSpec:
        for what, entries in (("recipe", self.recipes), ("target", self.targets)):
            words = [" ".join(entry.split()) for entry in entries]
            if twice := next((word for index, word in enumerate(words) if word in words[:index]), None):
                raise ValueError(f"the {what} {twice!r} is listed twice: it would be averaged with itself")
        return self


SCHEMAS: dict[str, type[Spec]] = {
    "dataset": DatasetSpec,
    "concept": ConceptSpec,
    "detector": DetectorSpec,
    "recipe": RecipeSpec,
    "suite": SuiteSpec,
    "model": ModelSpec,
    "sweep": SweepSpec,
}
