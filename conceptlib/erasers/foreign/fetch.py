"""Where a foreign checkpoint is: a path on this machine, or a file or model on the Hub."""

from __future__ import annotations

from pathlib import Path

from conceptlib.errors import ConceptlibError
from conceptlib.hub import reading

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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    where = f"{repo}/{file}".rstrip("/")
    try:
        here = reading.fetched(repo, file or "model_index.json", revision)
        return here.path if file else Path(snapshot_download(repo, revision=here.commit, allow_patterns=_MODEL))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        raise ConceptlibError(
            "there is no such file here, and the Hub is out of reach", where=where, hint="check the path"
        ) from error
    except EntryNotFoundError as error:
        hint = "check the path" if file else "say which file: org/name/path/to/file"
        raise ConceptlibError(
            "the Hub has no such file" if file else "this repository is no diffusers model", where=where, hint=hint
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise ConceptlibError(
            "the Hub does not give it",
            where=where,
            hint="check the spelling; a private or gated one needs `hf auth login`",
        ) from error
