"""How the site reads docstrings: "Example:" above a doctest is the section that holds doctests."""

import re
from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Griffe's parser knows "Examples:" alone, and would set ">>>" as a quotation."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rename the section of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
