"""Fetching from the Hub: every caller meets every fault, and says which it is and what to do next."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from conceptlib import huberrors, hubfiles
from conceptlib.concepts.captioner import Captioner
from conceptlib.concepts.prompts import files as prompt_files
from conceptlib.concepts.sources import HubSource
from conceptlib.detectors.adapters import classifier
from conceptlib.erasers.find import find
from conceptlib.erasers.foreign.fetch import fetch
from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.evaluators.features import pretrained_folder
from conceptlib.models.loading import base_lock
from conceptlib.store import Store
from tests.hub.conftest import TOKEN
from tests.support.loophub import LoopHub, Repo
from tests.support.loophub.state import File

FILES = {
    "checkpoint.json": b"{}",
    "model_index.json": b"{}",
    "config.json": b'{"model_type": "blip"}',
    "preprocessor_config.json": b"{}",
    "model.safetensors": b"\0" * 64,
    "weights.safetensors": b"\0" * 32,
    "prompts.csv": b"prompt\nx\n",
}


def named(repo: str, revision: str | None) -> str:
    return f"{repo}@{revision}" if revision else repo


def classifier_of(repo: str, revision: str | None) -> Any:
    """A specification has to name a commit; what the Hub says of another revision is the same."""
    params = classifier.Params(
        library="timm", model=repo, revision="0" * 40, sha256="0" * 64, concepts={"a": "qr-code"}
    )
    return classifier._folder(params.model_copy(update={"revision": revision}))


# What a command does first with a name of the Hub; the type of repository.
CALLERS: dict[str, tuple[Callable[[str, str | None], Any], str]] = {
    "base": (lambda repo, revision: base_lock(named(repo, revision)), "model"),
    "checkpoint": (lambda repo, revision: find(named(repo, revision), Store()), "model"),
    "import of a file": (lambda repo, revision: fetch(named(f"{repo}/weights.safetensors", revision)), "model"),
    "import of a model": (lambda repo, revision: fetch(named(repo, revision)), "model"),
    "features and CLIP": (lambda repo, revision: pretrained_folder(named(repo, revision)), "model"),
    "classifier": (classifier_of, "model"),
    "captioner": (lambda repo, revision: Captioner(named(repo, revision)), "model"),
    "prompts": (lambda repo, revision: prompt_files._from_hub(named(repo, revision)), "dataset"),
    "pictures": (lambda repo, revision: HubSource(named(repo, revision)), "dataset"),
}
FETCHING = [name for name in CALLERS if name != "pictures"]  # which streams its files, by the library `datasets`


@pytest.fixture(autouse=True)
def calm(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits; the seconds that would have been."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr(hubfiles, "_told", set())
    return waited


@pytest.fixture
def repo(hub: LoopHub) -> Repo:
    """`other/thing`, somebody else's, as a model and as a dataset."""
    for kind in ("model", "dataset"):
        made = Repo("other/thing", kind, False)
        made.commit("main", {path: File.regular(data) for path, data in FILES.items()}, "all")
        hub.repos[kind, "other/thing"] = made
    return hub.model("other/thing")


def both(hub: LoopHub) -> tuple[Repo, Repo]:
    return hub.model("other/thing"), hub.dataset("other/thing")


def log_out(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")


def hide(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in both(hub):
        one.private = True
    log_out(hub, monkeypatch)


def gate(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in both(hub):
        one.gated = "manual"  # type: ignore[assignment]


def gate_unknown(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    gate(hub, monkeypatch)
    log_out(hub, monkeypatch)


def expire(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN + "old")


def unplug(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )


def go_offline(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()


def slow_down(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail("*", "other/thing", 429, times=99, headers={"Retry-After": "3600"})


def break_down(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail("*", "other/thing", 503, times=99, message="Bearer {token}")


def forbid(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.fail("*", "other/thing", 403, times=99, message="your Bearer {token} may not")


def damage(hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in both(hub):
        wrong = {path: replace(file, damaged=b"?" * file.size) for path, file in one.files.items()}
        one.commit("main", wrong, "broken storage")


# fault: what makes it, the exception, words of the message, words of the hint
FAULTS: dict[str, tuple[Callable[..., None], type[ConceptlibError], str, str]] = {
    "private": (hide, huberrors.NotLoggedIn, "you are not logged in", "hf auth login"),
    "expired": (expire, huberrors.BadToken, "refused your access token", "hf auth login"),
    "unplugged": (unplug, huberrors.OutOfReach, "cannot be reached", "network"),
    "offline": (go_offline, huberrors.Offline, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"),
    "slow down": (slow_down, huberrors.RateLimited, "asks to slow down", "wait 3600 s"),
    "broken": (break_down, huberrors.ServerProblem, "HTTP 503", "again"),
    "forbidden": (forbid, huberrors.Refused, "may not do this", "rights"),
}
OF_FILES = {
    "gated": (gate, huberrors.Gated, "is gated", "accept its terms"),
    "gated, not logged in": (gate_unknown, huberrors.Gated, "is gated", "hf auth login"),
    "damaged": (damage, huberrors.Damaged, "arrived damaged", "again"),
}
ROWS = [(caller, fault) for caller in CALLERS for fault in FAULTS] + [(c, f) for c in FETCHING for f in OF_FILES]


@pytest.mark.parametrize(("caller", "fault"), ROWS)
def test_every_caller_tells_every_fault(
    hub: LoopHub, repo: Repo, home: Path, monkeypatch: pytest.MonkeyPatch, caller: str, fault: str
) -> None:
    make, kind, what, hint = (FAULTS | OF_FILES)[fault]
    make(hub, monkeypatch)
    with pytest.raises(kind) as caught:
        CALLERS[caller][0]("other/thing", None)
    error = caught.value
    assert type(error) is kind
    assert what in error.what and hint in error.hint, error
    assert "other/thing" in error.where + error.what
    assert TOKEN not in str(error) and "no checkpoint" not in error.what


@pytest.mark.parametrize("caller", CALLERS)
def test_every_caller_tells_what_the_hub_does_not_have(hub: LoopHub, repo: Repo, home: Path, caller: str) -> None:
    call, _ = CALLERS[caller]
    for name, revision, missing in (("other/nothing", None, "repository"), ("other/thing", "gone", "revision")):
        with pytest.raises(NotFound) as caught:
            call(name, revision)
        error = caught.value
        assert isinstance(error, huberrors.Absent) and error.missing == missing, error
        assert error.hint and name in error.where + error.what


@pytest.mark.parametrize("caller", CALLERS)
def test_one_bad_answer_is_asked_for_again(
    hub: LoopHub, repo: Repo, home: Path, caller: str, calm: list[float]
) -> None:
    hub.fail("GET", "/api/.*other/thing", 503)
    hub.fail("GET", "/api/.*other/thing", 429, headers={"Retry-After": "7"})
    _reach(caller)
    assert calm[:2] == [0.5, 7.0]


def _reach(caller: str) -> None:
    """Call it; what it says of the content of these files is not what is tested here."""
    try:
        CALLERS[caller][0]("other/thing", None)
    except ConceptlibError as error:
        assert not isinstance(error, huberrors.HubError), error


@pytest.mark.parametrize("caller", FETCHING)
def test_what_was_fetched_serves_without_the_hub(
    hub: LoopHub, repo: Repo, home: Path, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    _reach(caller)
    for fault in ("unplugged", "offline"):
        FAULTS[fault][0](hub, monkeypatch)
        _reach(caller)
    monkeypatch.undo()


@pytest.mark.parametrize("caller", ["base", "checkpoint", "features and CLIP"])
def test_a_damaged_file_is_fetched_anew(
    hub: LoopHub, repo: Repo, home: Path, monkeypatch: pytest.MonkeyPatch, caller: str
) -> None:
    good = dict(repo.files)
    damage(hub, monkeypatch)
    for _ in range(2):  # the second time as well: nothing wrong stays in the cache
        with pytest.raises(huberrors.Damaged):
            CALLERS[caller][0]("other/thing", None)
    repo.commit("main", good, "mended")
    _reach(caller)


def test_a_listing_names_one_commit(hub: LoopHub, repo: Repo) -> None:
    head = repo.resolve("main").oid
    found = hubfiles.listing("other/thing")
    assert (found.commit, found.files) == (head, frozenset(FILES))
    repo.put("new.txt", b"new")
    assert hubfiles.listing("other/thing", head).files == frozenset(FILES)
    assert hubfiles.file("other/thing", "config.json", head).commit == head
    assert hubfiles.snapshot("other/thing", ["*.txt"]).commit == repo.resolve("main").oid
    with pytest.raises(huberrors.Absent, match="no such file") as caught:
        hubfiles.file("other/thing", "gone.txt")
    assert caught.value.missing == "file"


def test_a_snapshot_holds_what_matches(hub: LoopHub, repo: Repo) -> None:
    found = hubfiles.snapshot("other/thing", ["*.safetensors", "config.json"])
    names = sorted(path.name for path in found.folder.iterdir())
    assert names == ["config.json", "model.safetensors", "weights.safetensors"]
    assert found.commit == repo.resolve("main").oid


def test_bytes_are_told(hub: LoopHub, repo: Repo) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    hubfiles.file("other/thing", "weights.safetensors", progress=progress)
    assert told[-1] == ("fetch other/thing, bytes", 32, 32)
    told.clear()
    from conceptlib.progress import showing

    with showing(progress):
        hubfiles.snapshot("other/thing", ["model.*", "config.json"])
    assert told[-1] == ("fetch other/thing, bytes", 86, 86)
    told.clear()
    with showing(progress):
        hubfiles.snapshot("other/thing", ["model.*", "config.json"])
    assert told == []  # it is all there


def test_the_hub_may_say_when_by_its_own_header(hub: LoopHub, repo: Repo) -> None:
    hub.fail("GET", "/api/", 429, headers={"RateLimit": '"api";r=0;t=120', "RateLimit-Policy": '"api";q=500;w=300'})
    with pytest.raises(huberrors.RateLimited, match="slow down") as caught:
        hubfiles.listing("other/thing")
    assert caught.value.retry_after == 120


def test_fresh_bytes_pass_the_cache_by(hub: LoopHub, repo: Repo, tmp_path: Path) -> None:
    before = hubfiles.file("other/thing", "config.json")
    path = hubfiles.fresh("other/thing", "config.json", before.commit, into=tmp_path / "in")
    assert path.read_bytes() == FILES["config.json"] and json.loads(path.read_text())
    assert path.is_relative_to(tmp_path / "in")


def test_nobody_else_fetches() -> None:
    """Whoever calls the client's own functions tells its errors in another way, or not at all."""
    package = Path(hubfiles.__file__).parent
    functions = {"hf_hub_download", "snapshot_download", "try_to_load_from_cache", "hf_hub_url", "get_hf_file_metadata"}
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            names |= {node.attr} if isinstance(node, ast.Attribute) else set()
            if names & functions:
                found.add(path.name)
    assert found == {"hubfiles.py"}
