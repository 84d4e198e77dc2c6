"""Text of strangers on a screen: every control and direction character is shown, none is obeyed."""


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
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or 0x20 <= code < 0x7F:
        return character
    if code < 0x20 or code == 0x7F:
        return chr(0x2421 if code == 0x7F else 0x2400 + code)  # its Unicode control picture
    if 0x80 <= code < 0xA0 or code in _DIRECTIONS or 0xD800 <= code < 0xE000:
        return f"<U+{code:04X}>"
    return character


_DIRECTIONS = {
    0x061C,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
}
"""Marks that turn or isolate the writing direction, and the two line separators."""
