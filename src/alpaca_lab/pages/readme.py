"""Tables in a README: what stands between two markers is a table of results/, and nothing else.

<!-- table: smoke/main -->
(filled in)
<!-- /table -->
"""

import re
from collections.abc import Mapping

from ..files import RecordError

MARKER = re.compile(r"^<!-- (?:table: (?P<name>\S+)|(?P<end>/table)) -->$", re.MULTILINE)


def names(text: str) -> tuple[str, ...]:
    """Return the tables that a text asks for, in its order.

    Raises:
        RecordError: If a marker is not closed, or closes nothing.
    """
    return tuple(name for name, _, _ in _places(text))


def fill(text: str, pages: Mapping[str, str]) -> str:
    r"""Return `text` with the Markdown of each table between its markers, in place of what was.

    Args:
        text: A README.
        pages: Markdown by name, as the markers have it: "smoke/main".

    Raises:
        RecordError: If a marker names a table that is not in `pages`, is not closed, or closes
            nothing.

    Example:
        >>> print(fill("<!-- table: a -->\nold\n<!-- /table -->", {"a": "| new |\n"}))
        <!-- table: a -->
        <BLANKLINE>
        | new |
        <BLANKLINE>
        <!-- /table -->
    """
    parts, end = [], 0
    for name, after, before in _places(text):
        if name not in pages:
            known = ", ".join(pages) or "none is written"
            raise RecordError(f"<!-- table: {name} -->: no such table; choose from {known}")
        parts += [text[end:after], f"\n\n{pages[name].strip()}\n\n"]
        end = before
    return "".join((*parts, text[end:]))


def _places(text: str) -> list[tuple[str, int, int]]:
    """Return (name, end of its marker, start of the marker that closes it) of every table."""
    found, opened = [], None
    for marker in MARKER.finditer(text):
        if marker["end"] and opened is None:
            raise RecordError(
                "<!-- /table --> closes no table: write <!-- table: NAME --> above it"
            )
        if marker["end"]:
            found.append((opened["name"], opened.end(), marker.start()))
            opened = None
        elif opened is not None:
            break
        else:
            opened = marker
    if opened is not None:
        raise RecordError(f"{opened[0]} is not closed: write <!-- /table --> below it")
    return found
