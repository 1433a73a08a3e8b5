"""Where a foreign checkpoint is: a path on this machine, or a file or model on the Hub."""

from __future__ import annotations

from pathlib import Path

from conceptlib import hubfiles
from conceptlib.errors import ConceptlibError
from conceptlib.hub import reading
from conceptlib.huberrors import Absent

_MODEL = ["model_index.json", "*/*.json", "*/*.safetensors", "*/*.txt"]


def fetch(source: str | Path) -> Path:
    """The file or folder that `source` names, downloaded if it is on the Hub.

    Args:
        source: a path; `org/name[@revision]`, a diffusers model; or `org/name/path/to/file[@revision]`. A name of ours
            (`conceptlib.hub.reading.is_ours`) is on the Hub only as `hf:org/name`.

    Raises:
        ConceptlibError: neither a path here nor something on the Hub, or the Hub is out of reach.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path.resolve()
    text = reading.without_scheme(str(source))
    name, _, revision = text.partition("@")
    parts = name.split("/")
    ours = text == str(source) and reading.is_ours(name)
    if len(parts) < 2 or not all(parts) or name.startswith((".", "~")) or ours:
        raise ConceptlibError(
            f"there is no file {str(source)!r}",
            where="source",
            hint="a path, org/name[@revision], or org/name/path/to/file[@revision]; hf: before it says that it is on "
            "the Hub",
        )
    return _download("/".join(parts[:2]), "/".join(parts[2:]), revision or None)


def _download(repo: str, file: str, revision: str | None) -> Path:
    try:
        if file:
            return hubfiles.file(repo, file, revision).path
        here = hubfiles.file(repo, "model_index.json", revision)
        return hubfiles.snapshot(repo, _MODEL, here.commit).folder
    except Absent as error:
        if error.missing == "file" and not file:
            raise error.about(
                "this repository is no diffusers model", "say which file: org/name/path/to/file"
            ) from None
        raise
