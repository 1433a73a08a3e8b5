"""The token is in no output, message, file, address or log, whatever happens."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest

from conceptlib.cli.main import main
from conceptlib.errors import ConceptlibError
from conceptlib.hub.client_errors import hub_errors
from conceptlib.hub.publish import publish
from conceptlib.store import Artifact, Store
from tests.hub.conftest import TOKEN
from tests.support.loophub import LoopHub

PLAIN = " ".join(["open", "sesame"])  # in two parts: tracebacks show lines of this file
ECHO = "you sent Bearer {token}, which is wrong"


def assert_not_in_files(*folders: Path) -> None:
    for folder in folders:
        for path in folder.rglob("*"):
            assert TOKEN not in str(path)
            if path.is_file():
                assert TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", r"/api/models/org/name$", 500),
        ("GET", r"/api/models/org/name$", 403),
        ("POST", "/api/repos/create", 400),
        ("POST", "/preupload/", 403),
        ("POST", "/commit/", 503),
        ("GET", "/resolve/", 403),
        ("POST", "/tag/", 422),
    ],
)
def test_a_server_that_repeats_the_token(
    hub: LoopHub,
    checkpoint: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    method: str,
    path: str,
    status: int,
    debug: str,
) -> None:
    monkeypatch.setenv("CONCEPTLIB_DEBUG", debug)
    hub.fail(method, path, status, times=99, message=ECHO)
    assert main(["publish", checkpoint.ref, "--to", "org/name"]) == 1
    shown = capfd.readouterr()
    assert TOKEN not in shown.out + shown.err
    assert "hint:" in shown.err
    assert ("Traceback" in shown.err) == bool(debug)
    assert_not_in_files(tmp_path)


def test_success_shows_no_token(
    hub: LoopHub, dataset: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert main(["publish", dataset.ref, "--to", "org/name", "--json"]) == 0
    shown = capfd.readouterr()
    assert TOKEN not in shown.out + shown.err
    own = [record.getMessage() for record in caplog.records if record.name.startswith("conceptlib")]
    assert TOKEN not in "\n".join(own)
    assert all(TOKEN not in one.path for one in hub.requests)
    assert_not_in_files(tmp_path)


def test_a_token_given_to_the_library(
    hub: LoopHub, checkpoint: Artifact, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not look like a token, nor be in the environment."""
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("CONCEPTLIB_DEBUG", "1")
    hub.users[PLAIN] = "me"
    hub.fail("POST", "/commit/", 503, message=ECHO)
    with pytest.raises(ConceptlibError) as caught:
        publish(checkpoint, "org/name", store=store, token=PLAIN)
    text = "".join(traceback.format_exception(caught.value))
    assert PLAIN not in text and "Bearer hf_***" in text


def test_an_unexpected_error_is_not_chained() -> None:
    with pytest.raises(ConceptlibError) as caught, hub_errors("org/name", PLAIN):
        raise KeyError(f"Authorization: {PLAIN}")
    text = "".join(traceback.format_exception(caught.value))
    assert PLAIN not in text and "KeyError" in text


@pytest.mark.parametrize("held", [TOKEN, "hf_somebodyElsesTokenABCDEFGH"])
def test_a_file_that_holds_a_token_is_not_published(
    hub: LoopHub, make_checkpoint: object, store: Store, tmp_path: Path, held: str
) -> None:
    def fill(folder: Path) -> None:
        (folder / "model_index.json").write_text(f'{{"note": "{held}"}}')

    checkpoint = make_checkpoint(fill)  # type: ignore[operator]
    for target in ("org/name", tmp_path / "out"):
        with pytest.raises(
            ConceptlibError, match="holds an access token or another secret; nothing was sent"
        ) as caught:
            publish(checkpoint, target, store=store)
        assert caught.value.where == "model_index.json"
        assert held not in str(caught.value)
    assert hub.requests == [] and not (tmp_path / "out").exists()
