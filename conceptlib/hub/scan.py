"""Nothing is published that holds a secret: text files, text columns of Parquet, and the headers of safetensors are
searched for what is shaped like a token, and for the secrets of this process's environment.

Files are streamed: memory holds a chunk, or a batch of rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptlib.errors import ConceptlibError
from conceptlib.hub.plan import PlannedFile
from conceptlib.progress import Progress
from conceptlib.redaction import SHAPES, environment_secrets

if TYPE_CHECKING:
    import pyarrow as pa

_ASSIGNED = r"\b[A-Z0-9_]*(?:TOKEN|SECRET|PASSWORD|API_?KEY|ACCESS_KEY)[A-Z0-9_]*=[^\s\x00'\"<>{}$*.]{8,}"
"""A line of an environment: a picture's caption that was one was no caption."""
_CHUNK, _OVERLAP = 4 << 20, 4096
_BATCH = 8192
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".onnx"}


def refuse_secrets_in(files: Iterable[PlannedFile], token: str | None = None, progress: Progress | None = None) -> None:
    """Search every file that is about to be published.

    Args:
        token: the one that would be used, whatever it looks like.
        progress: called with ("look for secrets", files done, files).

    Raises:
        ConceptlibError: naming the first place that holds a secret, never the secret.
    """
    known = [*([token] if token else []), *environment_secrets()]
    pattern = "|".join([*map(re.escape, known), SHAPES, _ASSIGNED])
    compiled = re.compile(pattern.encode())
    listed = list(files)
    for done, file in enumerate(listed, 1):
        place = _in_file(file, pattern, compiled)
        if place is not None:
            raise ConceptlibError(
                "a file that would be published holds an access token or another secret; nothing was sent",
                where=f"{file.path}{place}",
                hint="revoke it where it came from (https://huggingface.co/settings/tokens), take it out of the "
                "source, and make the artifact again",
            )
        if progress is not None:
            progress("look for secrets", done, len(listed))


def _in_file(file: PlannedFile, pattern: str, compiled: re.Pattern[bytes]) -> str | None:
    """Where a file holds a secret: "" for somewhere in it; None if it holds none."""
    suffix = Path(file.path).suffix.lower()
    if suffix in _PICTURES:
        return None
    if suffix == ".parquet":
        return _in_parquet(file, pattern, compiled)
    parts = _header(file) if suffix == ".safetensors" else _chunks(file)
    return "" if any(compiled.search(part) for part in parts) else None


def _chunks(file: PlannedFile) -> Iterator[bytes]:
    """A file in pieces that overlap, so that no secret is cut in two."""
    if file.data is not None:
        yield file.data
        return
    assert file.source is not None
    with file.source.open("rb") as stream:
        tail = b""
        while part := stream.read(_CHUNK):
            yield tail + part
            tail = part[-_OVERLAP:]


def _header(file: PlannedFile) -> Iterator[bytes]:
    """What a safetensors file says of itself; its tensors are numbers."""
    first = next(_chunks(file), b"")
    yield first[8 : 8 + int.from_bytes(first[:8], "little")]


def _in_parquet(file: PlannedFile, pattern: str, compiled: re.Pattern[bytes]) -> str | None:
    """The column and the row of the first secret in a table's text."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    source = pa.BufferReader(file.data) if file.data is not None else str(file.source)
    try:
        with pq.ParquetFile(source) as table:
            schema = table.schema_arrow
            notes = {**(table.metadata.metadata or {}), **(schema.metadata or {})}
            named = json.dumps([field.name for field in schema]).encode()
            if any(compiled.search(part) for pair in notes.items() for part in pair) or compiled.search(named):
                return ", in its header"
            paths = _text_paths(table)
            start = 0
            for batch in table.iter_batches(_BATCH, columns=paths) if paths else ():
                for column, values in zip(batch.schema.names, batch.columns, strict=True):
                    for texts in _texts(values):
                        if pc.any(pc.match_substring_regex(texts, pattern)).as_py():
                            return f", column {column}, in the {len(batch)} rows from row {start} on"
                start += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ConceptlibError(
            "this table cannot be read, so nobody knows what would be published", where=file.path, hint=str(error)
        ) from error
    return None


def _text_paths(table: Any) -> list[str]:
    """The leaf columns of a Parquet file that hold text."""
    columns = (table.schema.column(index) for index in range(len(table.schema)))
    return [column.path for column in columns if str(column.logical_type) in {"String", "JSON", "Enum"}]


def _texts(values: pa.Array) -> Iterator[pa.Array]:
    """The text inside a column, however deep."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield values
    elif pa.types.is_string_view(kind):
        yield values.cast(pa.large_string())
    elif pa.types.is_dictionary(kind):
        yield from _texts(values.dictionary)
    elif pa.types.is_struct(kind):
        for inner in values.flatten():
            yield from _texts(inner)
    elif pa.types.is_map(kind):
        yield from _texts(values.keys)
        yield from _texts(values.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _texts(values.flatten())
