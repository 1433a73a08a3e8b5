"""What the Hub's client raises, as messages that say what to do next and never show a token."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from conceptlib.errors import ConceptlibError
from conceptlib.redaction import redact

_AGAIN = "the same command finishes it"


@contextmanager
def hub_errors(repo_id: str, token: str | None) -> Iterator[None]:
    """Turn every error of the Hub's client inside the block into a `ConceptlibError`.

    The original is not chained: its text may repeat what the server said, and a server may repeat the token.
    """
    try:
        yield
    except ConceptlibError:
        raise
    except Exception as error:
        raise translated(error, repo_id, token) from None


def translated(error: Exception, repo_id: str, token: str | None) -> ConceptlibError:
    """The message for one error of the client; with `CONCEPTLIB_DEBUG`, its traceback is a note on it, with tokens
    taken out.
    """
    result = _translate(_telling(error), repo_id, token)
    if os.environ.get("CONCEPTLIB_DEBUG", "") not in ("", "0"):
        result.add_note(redact("".join(traceback.format_exception(error)), token))
    return result


def _telling(error: BaseException) -> BaseException:
    """The error of a chain that says most: here and there the client wraps what the server said into a ValueError."""
    from huggingface_hub.errors import HfHubHTTPError

    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return next((one for one in chain if isinstance(one, HfHubHTTPError) or is_connection_error(one)), error)


def _translate(error: BaseException, repo_id: str, token: str | None) -> ConceptlibError:
    """The message for one error of the client."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    if isinstance(error, OfflineModeIsEnabled):
        return offline_error(repo_id)
    if isinstance(error, LocalTokenNotFoundError):
        return no_token_error(repo_id)
    if isinstance(error, HFValidationError):
        return ConceptlibError("the Hub's client refuses this name", where=repo_id, hint=redact(str(error), token))
    if isinstance(error, GatedRepoError):
        hint = f"ask for access on {constants.ENDPOINT}/{repo_id}, or publish to another repository"
        return ConceptlibError(
            "access to this repository is restricted, and your account has none", where=repo_id, hint=hint
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = redact(error.server_message or "", token).strip()
        if status == 401 and not (isinstance(error, RepositoryNotFoundError) and "credentials" not in said):
            hint = "`hf auth whoami` shows who you are; `hf auth login` (or HF_TOKEN) sets another token"
            return ConceptlibError("the Hub refused your access token", where=repo_id, hint=hint)
        if isinstance(error, RepositoryNotFoundError):
            hint = "check the name; `hf auth whoami` shows who you are"
            return ConceptlibError(
                "there is no such repository, or your account cannot see it", where=repo_id, hint=hint
            )
        what, hint = _by_status(status, repo_id)
        return ConceptlibError(what + (f": {said}" if said else ""), where=repo_id, hint=hint)
    if is_connection_error(error):
        hint = f"check the network, then run the same command again; {_AGAIN}"
        return ConceptlibError(
            f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})", where=repo_id, hint=hint
        )
    what = f"the upload stopped: {type(error).__name__}: {redact(str(error), token)}"
    return ConceptlibError(what, where=repo_id, hint=f"run the same command again; {_AGAIN}")


def _by_status(status: int, repo_id: str) -> tuple[str, str]:
    """What an HTTP status means here, and the next step."""
    owner = repo_id.split("/")[0]
    if status == 403:
        hint = (
            f"use a token that may write to {owner} (https://huggingface.co/settings/tokens, then `hf auth "
            f"login`), or another --to"
        )
        return "your account or token may not write there", hint
    if status in (409, 412):
        return (
            "somebody else changed the repository meanwhile",
            "run the same command again: it starts from what is there now",
        )
    if status == 429:
        return "the Hub asks to slow down", f"wait some minutes and run the same command again; {_AGAIN}"
    if status >= 500:
        return f"the Hub has a problem (HTTP {status})", f"run the same command again later; {_AGAIN}"
    return f"the Hub refused the request (HTTP {status})", "`--dry-run` shows what would be sent"


def is_connection_error(error: BaseException) -> bool:
    """Whether no answer came: judged by the class's name and family, since the client has changed its HTTP library
    before.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        names & {"TransportError", "TimeoutException", "NetworkError"}
    )


def no_token_error(repo_id: str) -> ConceptlibError:
    return ConceptlibError(
        "you are not logged in to the Hugging Face Hub",
        where=repo_id,
        hint="run `hf auth login` (or set HF_TOKEN), then the same command",
    )


def offline_error(repo_id: str) -> ConceptlibError:
    return ConceptlibError(
        "HF_HUB_OFFLINE is set, so nothing can be published to the Hub",
        where=repo_id,
        hint="unset HF_HUB_OFFLINE, or publish to a folder with --to ./DIR",
    )
