"""What an adapter's config calls its base: a commit of the hub, or a folder of this machine."""

from pathlib import Path

from ..config import HUB_NAME, REVISION, ModelSpec, SettingError, require
from ..hub import cache
from ..hub.patience import patiently
from ..hub.repository import Repository
from ..hub.sentences import refusal


def name_of_base(spec: ModelSpec, given: str) -> tuple[str, str | None]:
    """Return the source and the revision by which an adapter's config is to name its base.

    Args:
        spec: The base that was finetuned.
        given: "owner/name@COMMIT", what a base in a local folder is on the hub; "" where it is not
            there. It is compared: each file of weights in the folder must be that commit's.

    Returns:
        The hub's name and commit; the folder's absolute path and None where it has no other name.

    Raises:
        SettingError: If `given` is not the base, is of the wrong form, or cannot be asked for.
    """
    if not spec.is_local:
        known = f"{spec.source}@{spec.revision}"
        require(given in ("", known), f"--base {given}: {spec.key} was finetuned from {known}")
        return spec.source, spec.revision
    if not given:
        return spec.source, None
    name, _, revision = given.partition("@")
    require(
        HUB_NAME.fullmatch(name) is not None and REVISION.fullmatch(revision) is not None,
        f"--base {given}: expected owner/name@COMMIT, the commit in 40 hex digits",
    )
    _compare(Path(spec.source), name, revision)
    return name, revision


def _compare(folder: Path, name: str, revision: str) -> None:
    """Refuse a commit of the hub whose weights are not, byte for byte, those of a folder."""
    import httpx

    repository = Repository(
        name=name, revision=revision, files=("*.safetensors",), title=name,
        instead="leave --base away: the adapter then names the folder, for this machine alone",
    )  # fmt: skip
    try:
        files = patiently(lambda: _listed(repository), what=name)
    except SettingError:
        raise
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError) as error:
        raise refusal(error, repository) from None
    there = {file.name: file for file in files}
    for path in sorted(folder.glob("*.safetensors")):
        require(
            path.name in there and there[path.name].matches(path),
            f"--base {name}@{revision[:12]} is another base than {folder}: {path.name} is not that "
            "commit's; name the commit that the folder was fetched from",
        )


def _listed(repository: Repository) -> list:
    from huggingface_hub import HfApi, constants

    info = HfApi().repo_info(
        repository.name,
        revision=repository.revision,
        files_metadata=True,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
    )
    files = [cache.describe(file.rfilename, file) for file in info.siblings or []]
    return cache.wanted(repository, files)
