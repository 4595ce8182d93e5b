"""What went wrong between the Hugging Face hub and this machine, in words that say what to do."""

from __future__ import annotations

import errno
from typing import Any

from headstart.core.errors import BackboneError, missing_extra, one_line
from headstart.core.torchvision_import import EXTRA

_OF_THE_DISK = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR}
_SHOWN = 240  # characters of another library's message


class UnreachableError(BackboneError):
    """The hub gave no answer, so what a repository has is not known."""


def library() -> Any:  # noqa: ANN401
    """Return ``huggingface_hub``.

    Raises:
        HeadstartError: it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise missing_extra("huggingface_hub", EXTRA) from error
    return huggingface_hub


def explained(repository: str, revision: str, error: Exception) -> BackboneError | None:
    """Return an error that says what to do about another one; None if the hub gave no answer."""
    hub = library()
    endpoint, has_token = hub.constants.ENDPOINT, bool(hub.get_token())
    page = f"{endpoint}/{repository}"
    if isinstance(error, hub.errors.GatedRepoError):
        return BackboneError(_gated(repository, page, has_token))
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return BackboneError(
            f"{repository} has no revision {one_line(revision)}; see {page}/commits/main"
        )
    if isinstance(error, hub.errors.RepositoryNotFoundError):
        return BackboneError(
            f"there is no repository {page}, or it is private; check the spelling, or log in with "
            "hf auth login"
        )
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return BackboneError(
            f"cannot write to the hub's cache {one_line(hub.constants.HF_HUB_CACHE)}: "
            f"{one_line(error.strerror)}; free some space, or set HF_HUB_CACHE to another folder"
        )
    responses = (getattr(each, "response", None) for each in (error, error.__cause__))
    response = next((each for each in responses if each is not None), None)
    if response is None:
        return None
    message = one_line(response.headers.get("X-Error-Message") or "no reason given")[:_SHOWN]
    match response.status_code:
        case 401 if has_token:
            return BackboneError(
                f"{endpoint} refuses your token ({message}); log in again with hf auth "
                "login, or correct HF_TOKEN, or unset it for public repositories"
            )
        case 401 | 403:
            token = ", and the permissions of your token" if has_token else " and log in there"
            return BackboneError(
                f"{endpoint} does not let you read {repository} ({message}); see {page}"
                f"{token}: hf auth login, or HF_TOKEN"
            )
        case 429:
            return BackboneError(
                f"{endpoint} has had too many requests from this address; try again "
                "in some minutes, or log in with hf auth login, which allows more"
            )
    return None


def _gated(repository: str, page: str, has_token: bool) -> str:
    if has_token:
        return (
            f"{repository} is gated, and your token gives no access to it; ask for access at "
            f"{page} with the same account, or set HF_TOKEN to a token of one that has it"
        )
    return (
        f"{repository} is gated: ask for access at {page}, then log in with hf auth login, or set "
        "HF_TOKEN"
    )


def failure(repository: str, revision: str, folder: object, error: Exception) -> BackboneError:
    """Return what is wrong with a repository; ``folder`` is its own in the hub's cache."""
    refusal = explained(repository, revision, error)
    if refusal is not None:
        return refusal
    option = "" if revision == "main" else f" --revision {one_line(revision)}"
    return UnreachableError(
        f"{repository} is not on this machine and cannot be fetched ({reason(error)}); run hf "
        f"download {repository}{option} on a machine with a network, and copy {folder} from there"
    )


def reason(error: Exception) -> str:
    """Return the start of another library's message, in one line."""
    return one_line(" ".join(str(error).split()) or type(error).__name__)[:_SHOWN]
