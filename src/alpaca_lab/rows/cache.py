"""What was computed from the same facts before, kept below outputs/ and checked when it is read."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..config import fingerprint
from ..files import RecordError, read_json, write_json
from ..store import OUTPUTS


def remember(kind: str, request: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """Return what `compute` returned for this request before, or compute it now and keep it.

    A file that is damaged, or answers another request, is computed again and written anew.

    Args:
        kind: First part of the file's name below outputs/cache/.
        request: Everything that decides the value, JSON-able.
        compute: Returns the value, JSON-able.

    Returns:
        The value as JSON holds it: its tuples are lists.
    """
    path = OUTPUTS / "cache" / f"{kind}-{fingerprint(request)}.json"
    known = _read(path)
    if known.get("request") == request and known.get("sha256") == _sha256(known.get("value")):
        return known["value"]
    value = json.loads(json.dumps(compute()))
    write_json(path, {"request": request, "sha256": _sha256(value), "value": value})
    return value


def _read(path) -> dict[str, Any]:
    try:
        known = read_json(path)
    except (RecordError, UnicodeDecodeError):
        return {}
    return known if isinstance(known, dict) else {}


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
