"""Tokens never reach a manifest: what is published once cannot be taken back."""

from __future__ import annotations

import re
from typing import Any

from conceptlib.errors import ConceptlibError

SHAPES = (
    r"\b(?:hf|api_org|hf_oauth)_[A-Za-z0-9]{16,}"  # Hugging Face, of users and organisations
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}"  # GitHub
    r"|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"  # GitLab
    r"|\bsk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bAIza[A-Za-z0-9_-]{35}"  # Google
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\b(?:npm_|pypi-)[A-Za-z0-9_-]{36,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"  # JSON Web Tokens
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s@]+@"  # user and password in an address
)
"""What secrets look like, in the syntax that Python's `re` and RE2 share."""

_SHAPES = re.compile(SHAPES)


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
