"""Whether a value is of the type that a field declares, and that type in words."""

import sys
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .characters import shown

LARGEST = 2**63
"""Whole numbers lie below it, above its negative: what a seed, a tensor and a CSV can hold."""


def misfit(spec: Any) -> str:
    """Return what is wrong with the types of a dataclass's fields, as one sentence; "" if nothing.

    Example:
        >>> from .config import LoraSpec
        >>> misfit(LoraSpec())
        ''
    """
    for name, hint in hints(type(spec)).items():
        value = getattr(spec, name)
        if not fits(value, hint):
            return f"{name} must be {in_words(hint)}, not {shown(value)}"
    return ""


@cache
def hints(kind: type) -> Mapping[str, Any]:
    """Return the declared type of each field of a dataclass."""
    return get_type_hints(kind)


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a declared type: a number finite, a text valid Unicode.

    Example:
        >>> fits(1, float), fits(True, int), fits(float("nan"), float), fits((1,), tuple[int, ...])
        (True, False, False, True)
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, parts[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        most = sys.float_info.max
        return isinstance(value, int | float) and -most <= value <= most
    if hint is int:
        return isinstance(value, int) and -LARGEST < value < LARGEST
    if hint is str:
        return isinstance(value, str) and _is_unicode(value)
    return isinstance(value, hint)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


WORDS = {
    float: "a number",
    int: "a whole number",
    str: "text",
    bool: "true or false",
    NoneType: "None",
}


def in_words(hint: Any) -> str:
    """Return a declared type in words.

    Example:
        >>> in_words(tuple[int, ...]), in_words(float | None)
        ('a list, each a whole number', 'a number or None')
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f'"{part}"' for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(map(in_words, parts))
    if origin is tuple:
        return f"a list, each {in_words(parts[0])}"
    return WORDS.get(hint) or f"the fields of {hint.__name__}"
