"""Specs: what a user wants, as data. YAML files, discovered from disk, overridden by `key=value`, validated as a whole.

See docs/architecture.md for the kinds and where they live.
"""

from conceptlib.specs.discover import KINDS, SpecFile, find, find_all
from conceptlib.specs.errors import Problem, SpecError
from conceptlib.specs.files import Report, copy_spec, list_specs, read_spec_text, specs_about, to_yaml, validate_specs
from conceptlib.specs.load import check_spec, load_concepts, load_spec
from conceptlib.specs.params import FloatRange, Fraction, IntRange, Params, PositiveFloat, PositiveInt, within
from conceptlib.specs.registry import (
    ADAPTERS,
    BUILDERS,
    FAMILIES,
    FORMATS,
    JUDGES,
    METHODS,
    METRICS,
    PROMPTS,
    Registry,
)
from conceptlib.specs.schema import (
    ConceptSpec,
    DatasetSpec,
    DetectorSpec,
    ModelSpec,
    RecipeSpec,
    Spec,
    SuiteSpec,
    SweepSpec,
    portable,
)

__all__ = [
    "ADAPTERS",
    "BUILDERS",
    "FAMILIES",
    "FORMATS",
    "JUDGES",
    "KINDS",
    "METHODS",
    "METRICS",
    "PROMPTS",
    "ConceptSpec",
    "DatasetSpec",
    "DetectorSpec",
    "FloatRange",
    "Fraction",
    "IntRange",
    "ModelSpec",
    "Params",
    "PositiveFloat",
    "PositiveInt",
    "Problem",
    "RecipeSpec",
    "Registry",
    "Report",
    "Spec",
    "SpecError",
    "SpecFile",
    "SuiteSpec",
    "SweepSpec",
    "check_spec",
    "copy_spec",
    "find",
    "find_all",
    "list_specs",
    "load_concepts",
    "load_spec",
    "portable",
    "read_spec_text",
    "specs_about",
    "to_yaml",
    "validate_specs",
    "within",
]
