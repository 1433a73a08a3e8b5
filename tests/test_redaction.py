"""One table of what secrets look like: each shape is refused in manifests and hidden in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

import conceptlib
from conceptlib.errors import ConceptlibError
from conceptlib.redaction import find_secret, redact, refuse_secrets

SHAPED = {
    "Hugging Face": "hf_" + "aB3" * 11,
    "organisation": "api_org_" + "a" * 20,
    "OAuth": "hf_oauth_" + "abcd1234" * 3,
    "GitHub": "ghp_" + "a1" * 18,
    "GitHub, fine": "github_pat_" + "a1_" * 10,
    "GitLab": "glpat-" + "x" * 20,
    "OpenAI": "sk-" + "Ab1" * 8,
    "AWS": "AKIA" + "ABCDEFGH12345678",
    "Google": "AIza" + "b" * 35,
    "Slack": "xoxb-1234567890-abc",
    "npm": "npm_" + "a" * 36,
    "PyPI": "pypi-" + "a" * 40,
    "JWT": ".".join(["eyJhbGciOiJIUzI1", "eyJzdWIiOiIxMjM0", "SflKxwRJSMeKKF"]),
    "key": "-----BEGIN RSA PRIVATE KEY-----",
    "address": "ftp://me:secret@example.org/x",
}


@pytest.mark.parametrize("secret", SHAPED.values(), ids=SHAPED)
def test_every_shape_is_hidden_and_refused(secret: str) -> None:
    shown = redact(f"before {secret}, after")
    assert (secret not in shown and "***" in shown) or "A PRIVATE KEY" in shown
    assert shown.startswith("before ") and shown.endswith(", after")
    assert redact(shown) == shown
    assert not find_secret(shown, "text")
    assert find_secret({"a": [0, {"b": secret}]}, "lock") == "lock.a[1].b"
    with pytest.raises(ConceptlibError, match="looks like an access token") as caught:
        refuse_secrets({secret: 1}, "lock")
    assert secret not in str(caught.value)


def test_a_token_that_was_given_is_hidden_whatever_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert redact("open sesame, please", "open sesame") == "hf_***, please"
    monkeypatch.setenv("HF_TOKEN", "abc")  # nobody's token; every "abc" in the output would go
    assert redact("abcdef") == "abcdef"


def test_the_table_is_the_only_one() -> None:
    """A second list of shapes would forget what the first one learns."""
    root = Path(conceptlib.__file__).parent
    shapes = ("hf_oauth", "ghp_", "glpat", "AKIA", "xox[")
    others = [path for path in root.rglob("*.py") if any(shape in path.read_text("utf-8") for shape in shapes)]
    assert others == [root / "redaction.py"]
