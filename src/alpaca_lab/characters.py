"""What somebody else wrote, on its way to a terminal, a page or a message: nothing is obeyed."""

import reprlib
from typing import Any

LONGEST_SENTENCE = 1000
"""Characters of a message; of a longer one the beginning and the end are kept: place and cure."""
_END = 300


def sentence(text: str) -> str:
    """Return a message on one printable line, the middle left out where it quotes too much."""
    if len(text) > LONGEST_SENTENCE:
        text = f"{text[: LONGEST_SENTENCE - _END]} ... {text[-_END:]}"
    return plain(text)


def plain(text: str) -> str:
    r"""Return `text` on one line, with every control and direction character made visible.

    A name or a model's answer may hold an escape sequence that recolours a terminal, or a mark
    that turns the direction of what follows: a reader should see it, and no program obey it.

    Example:
        >>> plain("red \x1b[31m\n alert")
        'red ␛[31m alert'
    """
    return " ".join(visible(text).split())


def visible(text: str) -> str:
    """Return `text` with its lines kept and every other control or direction character shown."""
    return text.translate(_SHOWN)


def shown(value: Any) -> str:
    """Return a value as a message quotes it: nested or long as it may be, a few dozen characters.

    Example:
        >>> shown([[[[[[[1]]]]]]]), shown("a" * 100)
        ('[[[[[[[...]]]]]]]', "'aaaaaaaaaaaa...aaaaaaaaaaaaa'")
    """
    try:
        return reprlib.repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


_DIRECTIONS = (
    0x061C,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
"""Marks that turn or isolate the writing direction, and the two line separators."""
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
"""Unicode's pictures of the control characters."""
_SHOWN = (
    _PICTURES
    | {0x7F: "\u2421"}
    | {
        code: f"<U+{code:04X}>"
        for code in (*range(0x80, 0xA0), *_DIRECTIONS, *range(0xD800, 0xE000))
    }
)
