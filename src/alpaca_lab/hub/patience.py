"""Trying again what may pass: an answer that does not come, a broken line, a hub that is busy.

Nothing else is tried again: a refusal (401, 403, 404) is the same the next time. The hub's own
client retries too, but in silence, up to two minutes for one file, and not when a connection is
reset while a file comes: that one is where a large download ends.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from ..progress import say

Result = TypeVar("Result")

TRIES = 5
FIRST_WAIT_S = 2.0
"""Before the second try; each further wait is twice as long."""
LONGEST_WAIT_S = 300.0
"""A hub that asks for more than this is not waited for."""

sleep = time.sleep
"""How a wait is spent; a test puts its own here."""
_gave_up = False
"""The last attempt in this process found no hub at all: the next one asks it once, not five times,
so that a machine without a network waits once and not before each encoder and dataset."""
_optional = False
"""What is asked for can be done without."""


@contextmanager
def optional() -> Iterator[None]:
    """Within the block, ask a hub that cannot be reached at all once: it is not needed."""
    global _optional
    _optional = True
    try:
        yield
    finally:
        _optional = False


def patiently(
    attempt: Callable[[], Result], *, what: str, gained: Callable[[], int] = lambda: 0
) -> Result:
    """Return what `attempt` returns, tried up to `TRIES` times with a printed line before each.

    Args:
        attempt: Asks the hub; raises as httpx and huggingface_hub do.
        what: What it is about, for the line: "microsoft/phi-2".
        gained: Bytes had so far. A try that brought more of them than ever counts as the first
            again: a file of 10 GB may come in a hundred pieces.

    Raises:
        Exception: The last try's, or the first one that no patience mends.
    """
    global _gave_up
    tries, most = 1, gained()
    while True:
        try:
            result = attempt()
        except Exception as error:
            fault = passing_fault(error)
            if fault is None:
                raise
            now = gained()
            if now > most:
                tries, most = 1, now
            wait = asked_wait(error)
            if wait is None:
                wait = FIRST_WAIT_S * 2 ** (tries - 1)
            once = _gave_up or (_optional and _never_reached(error))
            if tries >= (1 if once else TRIES) or wait > LONGEST_WAIT_S:
                _gave_up = _never_reached(error)
                raise
        else:
            _gave_up = False
            return result
        tries += 1
        say(f"{what}: {fault}: try {tries} of {TRIES} in {wait:.0f} s")
        sleep(wait)


def passing_fault(error: Exception) -> str | None:
    """Return in a few words what is wrong where it may pass, else None."""
    import httpx

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        passes = status in (408, 425, 429) or status >= 500
        return f"the hub does not answer ({status})" if passes else None
    if isinstance(error, httpx.ConnectError):
        return "the hub cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return "the hub sends nothing"
    if isinstance(error, httpx.UnsupportedProtocol):
        return None
    return "the hub broke off" if isinstance(error, httpx.TransportError) else None


def asked_wait(error: Exception) -> float | None:
    """Return how many seconds the hub asks to wait, in either of its headers; None if it does not.

    Source:
        RFC 9110, section 10.2.3 (Retry-After: seconds or a date), and
        https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-09.html.
    """
    from huggingface_hub.utils import parse_ratelimit_headers

    response = getattr(error, "response", None)
    if response is None:
        return None
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isdecimal():
        return float(asked)
    if asked:
        try:
            moment = parsedate_to_datetime(asked)
        except ValueError:
            return None
        return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
    limit = parse_ratelimit_headers(response.headers)
    spent = response.status_code == 429 and limit is not None and limit.remaining == 0
    return float(limit.reset_in_seconds) if spent else None


def _never_reached(error: Exception) -> bool:
    import httpx

    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
