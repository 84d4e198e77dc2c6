"""An export put on the hub: private unless it is said otherwise, and never with a token in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..config import HUB_NAME, SettingError, require
from ..hub.patience import patiently
from . import secrets
from .folder import files


def check(name: str, *, public: bool) -> None:
    """Refuse, before anything is made, what could not be published later.

    Args:
        name: The repository, "owner/name".
        public: Whether everyone is to see it.

    Raises:
        SettingError: If that is no name of the hub, nobody is logged in, the hub cannot be reached,
            or the repository is there and as visible as it was not asked to be.
    """
    from huggingface_hub import get_token

    require(HUB_NAME.fullmatch(name) is not None, f"--push {name}: expected owner/name of the hub")
    require(
        get_token() is not None,
        f"--push {name}: no hub token is set: set HF_TOKEN to one that may write, or run `hf auth "
        "login`",
    )
    with _told(name):
        private = patiently(lambda: _is_private(name), what=name)
    if private is not None:
        _require_visibility(name, private=private, public=public)


def push(folder: Path, name: str, *, public: bool) -> str:
    """Upload a whole export, and return its address.

    The repository is created if it is not there. Its visibility is asked for again before the first
    byte leaves: an organisation may make public what was to be private.

    Raises:
        SettingError: If a file holds what looks like a secret, the repository is as visible as it
            was not asked to be, or the hub refuses.
    """
    from huggingface_hub import HfApi, get_token

    found = secrets.find(files(folder), known=get_token())
    if found is not None:
        raise SettingError(
            f"nothing was published: {found[1]} holds what looks like a {found[0]}; take it out "
            "where it came from, and export again"
        )
    api = HfApi()
    with _told(name):
        api.create_repo(name, private=not public, exist_ok=True)
        private = _is_private(name)
        require(private is not None, f"{name} was created and is not there: run again")
        _require_visibility(name, private=bool(private), public=public)
        api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=f"Export {folder.name} of Alpaca Lab"
        )
    return f"{api.endpoint}/{name}"


def _is_private(name: str) -> bool | None:
    """Return whether a repository is private; None where there is none that we may see."""
    from huggingface_hub import HfApi, constants, errors

    try:
        info = HfApi().repo_info(name, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    except errors.RepositoryNotFoundError:
        return None
    return bool(info.private)


def _require_visibility(name: str, *, private: bool, public: bool) -> None:
    require(
        private or public,
        f"{name} is on the hub and public, and a private one was asked for: nothing was uploaded; "
        "choose another name, make it private in its settings, or say --public",
    )
    require(
        not (private and public),
        f"{name} is on the hub and private, and --public was said: nothing was uploaded; choose "
        "another name, make it public in its settings, or leave --public away",
    )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what the hub's client raises into one sentence, and pass on none of its words."""
    import httpx

    try:
        yield
    except SettingError:
        raise
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"{name} was not published, {_what_happened(error)}") from None


def _what_happened(error: Exception) -> str:
    import httpx
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    again = "run the same command again"
    match error:
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE keeps this process off the hub: unset it"
        case errors.HfHubHTTPError() if status == 401:
            return "the hub does not know the token (401): set HF_TOKEN to a valid one"
        case errors.HfHubHTTPError() if status in (403, 404):
            return (
                f"the token may not write there ({status}): set HF_TOKEN to one that may write, or "
                "choose an owner that is yours"
            )
        case errors.HfHubHTTPError() if status == 429:
            return f"too many requests (429): {again} later"
        case errors.HfHubHTTPError():
            return f"the hub does not answer ({status}): {again} later"
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return f"the hub cannot be reached: check the network and {again}"
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return "HF_ENDPOINT is no address: unset it"
        case httpx.HTTPError():
            return f"the hub broke off: {again}"
    return f"what answers is not the hub (a login page, a proxy?): check the network and {again}"
