"""What can go wrong between this machine and the Hub, told apart: each an exception of its own with its next step.

`translated` turns whatever the Hub's client raised into one of them. No message ever repeats a token.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.redaction import redact


class HubError(ConceptlibError):
    """Something between this machine and the Hub. status: of its answer, 0 where none came. said: in its words."""

    status = 0
    said = ""

    def about(self, what: str = "", hint: str = "") -> Self:
        """The same error, said of something (`what: ...`), with one more way out."""
        if what:
            self.what = f"{what}: {self.what}"
            self.args = (self.what,)
        self.hint = "; ".join(filter(None, (self.hint, hint)))
        return self


class Absent(HubError, NotFound):
    """The Hub has no such repository, revision or file, or does not show it. missing: which of the three."""

    missing = "repository"


class NotLoggedIn(Absent):
    """The Hub shows no such repository to somebody who is not logged in: there is none, or it is private."""


class Gated(HubError):
    """The repository is there, and its terms have to be accepted first."""


class BadToken(HubError):
    """The Hub does not know the access token: it is wrong, or has expired."""


class Refused(HubError):
    """The Hub answers, and does not do it: no permission, a request that it does not take, ..."""


class OutOfReach(HubError):
    """No answer at all. why: what is known of the reason."""

    why = ""


class Offline(OutOfReach):
    """Nobody was asked, because HF_HUB_OFFLINE is set."""


class RateLimited(HubError):
    """The Hub asks to slow down. retry_after: in how many seconds it takes requests again; None if it did not say."""

    retry_after: float | None = None


class ServerProblem(HubError):
    """The Hub answers with an error of its own (5xx)."""


class Damaged(HubError):
    """What arrived is not what the Hub lists: another size, or another hash."""


@contextmanager
def explained(repo: str, *, revision: str | None = None, token: str | None = None) -> Iterator[None]:
    """Turn every error of the Hub's client inside the block into a `HubError`; other errors go on as they are.

    The original is not chained: its text may repeat what the server said, and a server may repeat the token. With
    `CONCEPTLIB_DEBUG`, its traceback is a note on the new one.
    """
    try:
        yield
    except ConceptlibError:
        raise
    except Exception as error:
        told = translated(error, repo, revision=revision, token=token)
        if told is None:
            raise
        raise told from None


def translated(
    error: BaseException, repo: str, *, revision: str | None = None, token: str | None = None
) -> HubError | None:
    """The `HubError` for one error of the Hub's client (or of what wraps it); None for any other error."""
    result = _translate(telling(error), f"{repo}@{revision}" if revision else repo, repo, token)
    if result is not None and os.environ.get("CONCEPTLIB_DEBUG", "") not in ("", "0"):
        result.add_note(redact("".join(traceback.format_exception(error)), token))
    return result


def telling(error: BaseException) -> BaseException:
    """The error of a chain that says most: the client, and libraries above it, wrap what the server said."""
    from huggingface_hub.errors import HfHubHTTPError

    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return next((one for one in chain if isinstance(one, HfHubHTTPError) or is_connection_error(one)), error)


def _translate(error: BaseException, where: str, repo: str, token: str | None) -> HubError | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, OfflineModeIsEnabled) or (
        isinstance(error, LocalEntryNotFoundError | IncompleteSnapshotError) and constants.HF_HUB_OFFLINE
    ):
        return offline(where)
    if isinstance(error, LocalTokenNotFoundError):
        return NotLoggedIn("you are not logged in to the Hugging Face Hub", where=where, hint=_LOGIN)
    if isinstance(error, HFValidationError):
        return Absent("no repository can have this name", where=where, hint="a name is org/name; check the spelling")
    if isinstance(error, HfHubHTTPError):
        answered = _answered(error, where, repo, token)
        answered.status = int(error.response.status_code)
        answered.said = redact(error.server_message or "", token).strip()
        return answered
    if is_connection_error(error):
        return out_of_reach(where, f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})")
    if isinstance(error, LocalEntryNotFoundError):
        return out_of_reach(where, "it is not in the cache")
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return damaged(where, "its size is not the one that the Hub lists")
    return None


_LOGIN = "run `hf auth login` (or set HF_TOKEN), then the same command"
_AGAIN = "wait a while, then run the same command again"


def _answered(error: BaseException, where: str, repo: str, token: str | None) -> HubError:
    """What an answer of the Hub means."""
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    response = error.response  # type: ignore[attr-defined]
    status = int(response.status_code)
    said = redact(getattr(error, "server_message", None) or "", token).strip()
    if isinstance(error, GatedRepoError):
        known = token or get_token()
        step = "ask for access there, and wait until it is granted" if known else "then run `hf auth login`"
        hint = f"accept its terms on {constants.ENDPOINT}/{_page(error, repo)}; {step}"
        return Gated("this repository is gated, and you have no access yet", where=where, hint=hint)
    if status == 401 and (not isinstance(error, RepositoryNotFoundError) or "credentials" in said.lower()):
        hint = "`hf auth whoami` shows who you are; `hf auth login` (or HF_TOKEN) sets another token"
        return BadToken("the Hub refused your access token", where=where, hint=hint)
    if isinstance(error, RevisionNotFoundError):
        return _absent("revision", "the repository has no such branch, tag or commit", where, f"see {_url(repo)}")
    if isinstance(error, EntryNotFoundError):
        return _absent("file", "the repository has no such file", where, "check the path and the revision")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        if status == 401:
            what = "the Hub shows no such repository: there is none, or it is private and you are not logged in"
            return NotLoggedIn(what, where=where, hint="check the spelling; a private one needs `hf auth login`")
        hint = "check the spelling; `hf auth whoami` shows who you are, `hf auth login` changes it"
        return _absent("repository", "there is no such repository, or your account cannot see it", where, hint)
    if status == 429:
        return _slow_down(response.headers, where)
    if status >= 500:
        return ServerProblem(f"the Hub has a problem (HTTP {status})", where=where, hint=_AGAIN)
    what = "your account or token may not do this" if status == 403 else f"the Hub refused the request (HTTP {status})"
    hint = "`hf auth whoami` shows who you are; the token's rights are on https://huggingface.co/settings/tokens"
    return Refused(what + (f": {said}" if said else ""), where=where, hint=hint)


def _absent(missing: str, what: str, where: str, hint: str) -> Absent:
    error = Absent(what, where=where, hint=hint)
    error.missing = missing
    return error


def _slow_down(headers: Mapping[str, str], where: str) -> RateLimited:
    known = {name.lower(): str(value).strip() for name, value in headers.items()}
    wait = re.search(r"\br=0\s*;\s*t=(\d+)", known.get("ratelimit", "")) or re.fullmatch(
        r"(\d+)", known.get("retry-after", "")
    )
    seconds = float(wait[1]) if wait else None
    when = f"wait {seconds:.0f} s" if seconds is not None else "wait some minutes"
    hint = f"{when}, then run the same command again; who is logged in (`hf auth login`) may ask more often"
    error = RateLimited("the Hub asks to slow down (HTTP 429)", where=where, hint=hint)
    error.retry_after = seconds
    return error


def out_of_reach(where: str, why: str) -> OutOfReach:
    """The error for what is not on this machine while the Hub does not answer."""
    repo = where.partition("@")[0]
    hint = f"check the network; connect once and run `hf download {repo}`; the base `tiny` needs no network"
    error = OutOfReach(f"{repo} is not on this machine and the Hub is out of reach: {why}", where=where, hint=hint)
    error.why = why
    return error


def offline(where: str) -> Offline:
    """The error for what is not on this machine while HF_HUB_OFFLINE is set."""
    repo, why = where.partition("@")[0], "HF_HUB_OFFLINE is set"
    hint = (
        f"unset HF_HUB_OFFLINE, or run `hf download {repo}` once where there is a network; the base `tiny` needs none"
    )
    error = Offline(f"{repo} is not on this machine and the Hub is out of reach: {why}", where=where, hint=hint)
    error.why = why
    return error


def damaged(where: str, why: str) -> Damaged:
    """The error for what arrived otherwise than the Hub lists it."""
    hint = "run the same command again: it is fetched anew; if that does not help, the file on the Hub is broken"
    return Damaged(f"a file arrived damaged: {why}; it was thrown away", where=where, hint=hint)


def _page(error: BaseException, repo: str) -> str:
    """The page of the repository: of a dataset it lies elsewhere."""
    url = str(error.response.url)  # type: ignore[attr-defined]
    return f"datasets/{repo}" if "/datasets/" in url else repo


def _url(repo: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{repo}"


def is_connection_error(error: BaseException) -> bool:
    """Whether no answer came: judged by the class's name and family, since the client has changed its HTTP library
    before.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        names & {"TransportError", "TimeoutException", "NetworkError"}
    )
