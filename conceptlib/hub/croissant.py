"""`croissant.json`: a published dataset in Croissant 1.0 (MLCommons), the vocabulary of dataset search engines.

The Hub makes such a description by itself, of its own copy of the Parquet files. This one is of the publication's own
files, beside which it lies, so that a folder and a mirror have it too:

    mlcroissant.Dataset("croissant.json").records("default")
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import pyarrow as pa

from conceptlib.hub.plan import PlannedFile
from conceptlib.store import Artifact

NAME = "croissant.json"

_TERMS = {
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "equivalentProperty": "cr:equivalentProperty",
}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **_TERMS,
}
_BOXES = ("bbox", "boxes")


class Described(Protocol):
    """A configuration: its name, the folder of its files, its splits and columns."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> str: ...
    @property
    def split_names(self) -> list[str]: ...
    @property
    def schema(self) -> pa.Schema: ...


def croissant(
    artifact: Artifact, what: str, license: str | None, target: str, configs: Iterable[Described]
) -> PlannedFile:
    """The file.

    what: a sentence about the dataset. license: a licence id of the Hub, None for unknown. target: how examples call
    the publication: `ORG/NAME`, or a path.
    """
    configs = list(configs)
    here = target.startswith((".", "/", "~"))
    url = f"urn:conceptlib:dataset:{artifact.id}" if here else f"https://huggingface.co/datasets/{target}"
    data: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": artifact.name.replace("/", "-"),
        "description": what,
        "identifier": artifact.id,
        "version": "1.0.0",
        "datePublished": artifact.created[:10],
        "creator": {"@type": "sc:Organization", "name": "conceptlib"},
        "citeAs": f"{artifact.name}, a dataset built with conceptlib, version {artifact.id}",
        "url": url,
        "license": license or "unknown",
        "distribution": [_files(config) for config in configs],
        "recordSet": [_records(config) for config in configs],
    }
    return PlannedFile.from_bytes(NAME, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def _files(config: Described) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config.name}-files",
        "name": f"{config.name}-files",
        "description": f"Parquet files of the configuration {config.name}",
        "encodingFormat": "application/x-parquet",
        "includes": f"{config.folder}/*.parquet",
    }


def _records(config: Described) -> dict[str, Any]:
    splits = "|".join(config.split_names)
    split = _field(config, "split", "sc:Text", "", None)
    split["source"] = {
        "fileSet": {"@id": f"{config.name}-files"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": f"^({splits})-\\d+-of-\\d+\\.parquet$"},
    }
    fields = [field for column in config.schema for field in _column(config, column)]
    about = f"a row for every picture; splits: {', '.join(config.split_names)}"
    head = {"@type": "cr:RecordSet", "@id": config.name, "name": config.name, "description": about}
    return head | {"field": [split, *fields]}


def _column(config: Described, column: pa.Field) -> Iterator[dict[str, Any]]:
    """The field of a column; none for lists of lists of structures, for which the vocabulary has no word."""
    if column.name == "image":
        yield _field(config, column.name, "sc:ImageObject", column.name, "bytes")
    elif pa.types.is_struct(column.type):
        parts = [
            _field(config, f"{column.name}/{part.name}", _type(part), column.name, part.name, repeated=True)
            for part in column.type
        ]
        whole = {"@type": "cr:Field", "@id": f"{config.name}/{column.name}", "name": column.name, "subField": parts}
        yield whole | {"dataType": "sc:StructuredValue"}
    elif not _nested(column.type):
        repeated = pa.types.is_list(column.type)
        yield _field(config, column.name, _type(column), column.name, None, repeated=repeated)


def _nested(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_struct(kind))


def _type(column: pa.Field) -> str:
    kind = column.type
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _field(
    config: Described, name: str, kind: str, column: str, part: str | None, *, repeated: bool = False
) -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": f"{config.name}-files"}, "extract": {"column": column}}
    if part is not None:
        source["transform"] = {"jsonPath": part}
    field = {"@type": "cr:Field", "@id": f"{config.name}/{name}", "name": name, "dataType": kind, "source": source}
    return field | ({"repeated": True} if repeated else {})
