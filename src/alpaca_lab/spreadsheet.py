"""Text of strangers in a CSV: a spreadsheet shows it and computes none of it.

A spreadsheet takes a cell that begins with one of a few signs for a formula, also in a file whose
every cell is quoted. An apostrophe before the sign makes it a text. It stands as well after what
could begin a cell: a spreadsheet of a country whose CSV has semicolons parts a line there, and
does so inside quotes.
"""

import re

_SIGNS = "=+@\uff1d\uff0b\uff0d\uff20"
"""Those that begin a formula, the last four full-width; a "-" too, except before a list's item."""
_BEGINS = rf"(?<![\s\S])(?='*[-\t\r\n{_SIGNS}])|(?<=[;\t\r\n])(?='*(?:[{_SIGNS}]|-(?!\s)))"
_TO_GUARD = re.compile(_BEGINS)
_GUARDED = re.compile(rf"(?:{_BEGINS})'(?='*[-\t\r\n{_SIGNS}])")


def guard(text: str) -> str:
    """Return a text with an apostrophe wherever a spreadsheet would begin a formula.

    Example:
        >>> guard("=1+1"), guard("a;=1"), guard("1 = 1")
        ("'=1+1", "a;'=1", '1 = 1')
    """
    return _TO_GUARD.sub("'", text)


def unguard(text: str) -> str:
    """Return the text that `guard` was given.

    Example:
        >>> unguard("'=1+1"), unguard("it's")
        ('=1+1', "it's")
    """
    return _GUARDED.sub("", text)
