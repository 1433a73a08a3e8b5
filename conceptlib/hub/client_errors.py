"""What the Hub's client raises while something is published: `conceptlib.huberrors`, with what to do then."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from conceptlib import huberrors
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
    known = huberrors.translated(error, repo_id, token=token)
    if known is not None:
        return of_publishing(known, repo_id)
    what = f"the upload stopped: {type(error).__name__}: {redact(str(error), token)}"
    result = ConceptlibError(what, where=repo_id, hint=f"run the same command again; {_AGAIN}")
    if os.environ.get("CONCEPTLIB_DEBUG", "") not in ("", "0"):
        result.add_note(redact("".join(traceback.format_exception(error)), token))
    return result


def of_publishing(error: huberrors.HubError, repo_id: str) -> huberrors.HubError:
    """The same error with what to do about it here, where something was to be written."""
    said = f": {error.said}" if error.said else ""
    if isinstance(error, huberrors.Offline):
        error.what = "HF_HUB_OFFLINE is set, so nothing can be published to the Hub"
        error.hint = "unset HF_HUB_OFFLINE, or publish to a folder with --to ./DIR"
    elif isinstance(error, huberrors.OutOfReach):
        error.what, error.hint = error.why, f"check the network, then run the same command again; {_AGAIN}"
    elif isinstance(error, huberrors.Gated):
        error.what = "access to this repository is restricted, and your account has none"
        error.hint += "; or publish to another repository"
    elif isinstance(error, huberrors.RateLimited):
        error.hint += f"; {_AGAIN}"
    elif isinstance(error, huberrors.ServerProblem):
        error.what += said
        error.hint = f"run the same command again later; {_AGAIN}"
    elif isinstance(error, huberrors.Refused) and error.status == 403:
        owner = repo_id.split("/")[0]
        error.what = "your account or token may not write there" + said
        error.hint = (
            f"use a token that may write to {owner} (https://huggingface.co/settings/tokens, then `hf auth "
            f"login`), or another --to"
        )
    elif isinstance(error, huberrors.Refused) and error.status in (409, 412):
        error.what = "somebody else changed the repository meanwhile" + said
        error.hint = "run the same command again: it starts from what is there now"
    elif isinstance(error, huberrors.Refused):
        error.hint = "`--dry-run` shows what would be sent"
    error.args = (error.what,)
    return error


def no_token_error(repo_id: str) -> ConceptlibError:
    return ConceptlibError(
        "you are not logged in to the Hugging Face Hub",
        where=repo_id,
        hint="run `hf auth login` (or set HF_TOKEN), then the same command",
    )


def offline_error(repo_id: str) -> ConceptlibError:
    return of_publishing(huberrors.offline(repo_id), repo_id)
