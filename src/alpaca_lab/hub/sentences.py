"""What a reader is told when the hub does not give: one sentence with the cure, without a URL.

The client's own messages carry addresses, and those of its file servers carry signatures.
"""

import errno
import json

from ..config import SettingError
from .patience import TRIES, asked_wait
from .repository import Repository


def refusal(error: Exception, repository: Repository) -> SettingError:
    """Return the sentence for an error of httpx, huggingface_hub or the disk.

    Args:
        error: What ended the last try.
        repository: What was asked for.
    """
    return SettingError(f"{_what_happened(error, repository)}, or {repository.instead}")


def _what_happened(error: Exception, repository: Repository) -> str:
    import httpx
    from huggingface_hub import errors

    title = repository.title
    status = getattr(getattr(error, "response", None), "status_code", None)
    match error:
        case errors.GatedRepoError():
            return f"{title} is gated: accept its licence on the hub and set HF_TOKEN"
        case errors.RevisionNotFoundError():
            return f"{title} has no commit {repository.revision} on the hub: check its 40 digits"
        case errors.RepositoryNotFoundError():
            return (
                f"{title} is not on the hub, or not for everyone ({status}): check the name, "
                "set HF_TOKEN if it is private"
            )
        case errors.HFValidationError():
            return f"{title}: {repository.name!r} is no name of the hub: give owner/name"
        case errors.HfHubHTTPError():
            return _of_status(status, error, title)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return f"{title} could not be had, the hub cannot be reached: check the network"
        case httpx.TimeoutException():
            return (
                f"{title} could not be had, the hub sent nothing {TRIES} times: run again to go on "
                "from there, set HF_HUB_DOWNLOAD_TIMEOUT to more seconds"
            )
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return f"{title} could not be had, HF_ENDPOINT is no address: unset it"
        case httpx.HTTPError():
            return (
                f"{title} could not be had, the hub broke off {TRIES} times: run again to go on "
                "from there"
            )
        case OSError():
            return _of_disk(error, title)
        case json.JSONDecodeError() | KeyError() | TypeError() | ValueError():
            return (
                f"{title} could not be had, what answers is not the hub (a login page, a proxy?): "
                "check the network and HF_ENDPOINT"
            )
    raise error


def _of_status(status: int | None, error: Exception, title: str) -> str:
    if status == 401:
        return (
            f"the hub does not know the token that was sent for {title} (401): set HF_TOKEN to a "
            "valid one"
        )
    if status == 403:
        return f"the hub keeps {title} from this token (403): ask its owner for access"
    if status == 429:
        wait = asked_wait(error)
        when = "later" if wait is None else f"in {wait:.0f} s"
        return f"{title} could not be had, too many requests (429): run again {when}"
    if status == 404:
        return f"{title} lacks a file that the hub lists (404): take another commit"
    return f"{title} could not be had, the hub does not answer ({status}): run again later"


def _of_disk(error: OSError, title: str) -> str:
    from huggingface_hub import constants

    place = error.filename or constants.HF_HUB_CACHE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{title} does not fit, the disk is full ({constants.HF_HUB_CACHE}): free some space "
            "and run again to go on from there, set HF_HOME to a larger disk"
        )
    return (
        f"{title} cannot be kept, {place}: {error.strerror or type(error).__name__}: set HF_HOME "
        "to a folder that can be written"
    )
