"""What secrets look like, and how they are kept out of whatever leaves the process: manifests (`refuse_secrets`),
messages and output (`redact`), publications (`conceptlib.hub.scan`). One table of shapes for all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from conceptlib.errors import ConceptlibError

_TABLE: tuple[tuple[str, str], ...] = (
    (r"\b(?:hf|api_org|hf_oauth)_[A-Za-z0-9]{16,}", "hf_***"),  # Hugging Face, of users and organisations
    (r"\bgh[pousr]_[A-Za-z0-9]{20,}", "gh_***"),  # GitHub
    (r"\bgithub_pat_[A-Za-z0-9_]{20,}", "github_pat_***"),
    (r"\bglpat-[A-Za-z0-9_-]{20,}", "glpat-***"),  # GitLab
    (r"\bsk-[A-Za-z0-9_-]{20,}", "sk-***"),  # OpenAI, Anthropic
    (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", "AKIA***"),  # AWS
    (r"\bAIza[A-Za-z0-9_-]{35}", "AIza***"),  # Google
    (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", "xox-***"),  # Slack
    (r"\bnpm_[A-Za-z0-9_-]{36,}", "npm_***"),
    (r"\bpypi-[A-Za-z0-9_-]{36,}", "pypi-***"),
    (r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", "eyJ***"),  # JSON Web Tokens
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----", "-----A PRIVATE KEY-----"),
    (r"://[^/\s:@]+:[^/\s@]+@", "://***@"),  # user and password in an address
)
"""Shape and what is shown for it. The shapes keep to the syntax that Python's `re` and RE2 share."""

SHAPES = "|".join(shape for shape, _ in _TABLE)
"""One pattern of all shapes."""

_SHAPES = re.compile(SHAPES)
_EACH = [(re.compile(shape), shown) for shape, shown in _TABLE]
# A token that is cut short is still one where it stands as an address's user.
_AS_USER = re.compile(r"\bhf_[A-Za-z0-9_-]{4,}(?=@)")
_HUB_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN")
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PWD$|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL|WEBHOOK", re.IGNORECASE
)
_SHORTEST = 8


def redact(text: str, token: str | None = None) -> str:
    """`text` without secrets: the token given, that of the environment's variables for the Hub (`HF_TOKEN`), and
    whatever has the shape of one. Other variables are left alone: their values may be everyday words.
    """
    for value in (token, *(os.environ.get(name, "").strip() for name in _HUB_VARIABLES)):
        if value and (value == token or len(value) >= 4):
            text = text.replace(value, "hf_***")
    if _SHAPES.search(text):
        for shape, shown in _EACH:
            text = shape.sub(shown, text)
    return _AS_USER.sub("hf_***", text)


def environment_secrets(environment: Mapping[str, str] | None = None) -> list[str]:
    """The values of the environment's variables that are called a token, a password or a key, the longest first.

    What may be an everyday word (all of it letters of one kind, or shorter than eight), a path or a switch is none.
    """
    found = set()
    for name, value in (os.environ if environment is None else environment).items():
        value = value.strip()
        kinds = sum(bool(re.search(kind, value)) for kind in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z\d]"))
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST and kinds > 1 and not _is_place(value):
            found.add(value)
    return sorted(found, key=lambda value: (-len(value), value))


def _is_place(value: str) -> bool:
    return (value.startswith(("/", "~", "./", "../", "http://", "https://")) and "@" not in value) or os.path.exists(
        value
    )


def find_secret(value: Any, where: str) -> str:
    """The place inside plain JSON ``value`` (``lock.params.token``) of something shaped like a token, or "" if there
    is none.
    """
    if isinstance(value, str):
        return where if _SHAPES.search(value) else ""
    if isinstance(value, dict):
        for name, item in value.items():
            found = find_secret(name, f"{where} (a key)") or find_secret(item, f"{where}.{name}")
            if found:
                return found
    if isinstance(value, list):
        for index, item in enumerate(value):
            if found := find_secret(item, f"{where}[{index}]"):
                return found
    return ""


def refuse_secrets(value: Any, where: str) -> None:
    """Raise ``ConceptlibError`` naming the place, never the token, when plain JSON ``value`` holds something shaped
    like one.
    """
    if found := find_secret(value, where):
        raise ConceptlibError(
            "this looks like an access token, and manifests are published",
            where=found,
            hint="take it out of the spec; give it in the HF_TOKEN environment variable or with `hf auth login`",
        )
