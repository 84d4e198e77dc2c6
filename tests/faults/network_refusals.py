"""Of the section "network": the ways in which a hub does not give, each one sentence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from findings import Finding
from hub_place import NAME, ROWS, place
from hub_stub import COMMIT, Fault, Hub


@dataclass(frozen=True)
class Refusal:
    """A way in which a hub does not give, and what the sentence must hold."""

    fault: str
    breaks: Callable[[Hub], object]
    says: str
    task: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()


def _gated(hub: Hub) -> None:
    hub.breaks("/resolve/", Fault(status=403, headers={"X-Error-Code": "GatedRepo"}))


def _unknown_token(hub: Hub) -> None:
    message = {"X-Error-Message": "Invalid credentials in Authorization header"}
    hub.breaks("", Fault(status=401, headers=message))


def _down(hub: Hub) -> None:
    hub.shutdown()
    hub.server_close()


def _hotel(hub: Hub) -> None:
    hub.breaks("", Fault(body=b"<html>Welcome to this hotel"))


def _in_an_hour(hub: Hub) -> None:
    hub.breaks("", Fault(status=429, headers={"Retry-After": "3600"}))


def _nothing(_: Hub) -> None:
    """Leave the hub as it is."""


TOKEN = (("HF_TOKEN", "hf_secret"),)
OFFLINE = (("HF_HUB_OFFLINE", "1"),)
NO_ADDRESS = (("HF_ENDPOINT", "hub"),)
NO_MODEL = ("model", "lab/none", COMMIT)
NO_COMMIT = ("model", NAME, "f" * 40)
NO_DATASET = ("command", "data", "--data", f"lab/none@{COMMIT}")
DATASET = ("command", "data", "--data", f"{ROWS}@{COMMIT}")
MODEL = ("model", NAME, COMMIT)
REFUSALS = (
    Refusal("401, a token that the hub does not know", _unknown_token, "HF_TOKEN", MODEL, TOKEN),
    Refusal("403, a gated model", _gated, "accept its licence on the hub", MODEL, TOKEN),
    Refusal("404, no such model", _nothing, "check the name", NO_MODEL, TOKEN),
    Refusal("404, no such dataset", _nothing, "local .json, .jsonl or .parquet", NO_DATASET),
    Refusal("404, no such commit", _nothing, "check its 40 digits", NO_COMMIT),
    Refusal("hub down", _down, "check the network", MODEL),
    Refusal("hub down, a dataset", _down, "check the network", DATASET),
    Refusal("HF_HUB_OFFLINE, nothing in the cache", _nothing, "unset it", MODEL, OFFLINE),
    Refusal("a login page in the hub's place", _hotel, "check the network and HF_ENDPOINT", MODEL),
    Refusal("429, come again in an hour", _in_an_hour, "in 3600 s", MODEL),
    Refusal("HF_ENDPOINT is no address", _nothing, "unset it", MODEL, NO_ADDRESS),
)


def refusals(count: int) -> Iterator[Finding]:
    """Yield a finding for each way of refusing."""
    for refusal in REFUSALS[:count]:
        with place() as at:
            refusal.breaks(at.hub)
            ended = at.run(*refusal.task, **dict(refusal.variables))
        said = ended.sentence
        yield Finding(
            fault=refusal.fault,
            times=1,
            wanted="one sentence with the cure, exit status 2, no traceback, no address, no token",
            found=said or f"exit status {ended.status}: {ended.errors[-300:]}",
            held=said is not None and refusal.says in said,
        )
