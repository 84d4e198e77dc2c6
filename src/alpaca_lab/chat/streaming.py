"""An answer's text while its tokens come: only what no later token can change.

A letter may be split over tokens. Before its last one the tokenizer shows U+FFFD for it, and that
is held back. Tokens of single bytes, as LLaMA's are for what its vocabulary lacks, are held back
until another token follows: the tokenizer reads a run of them as a whole, so that a face which was
whole is four U+FFFD again once the first byte of the next face has come.
"""

import re
from typing import Protocol

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""How a SentencePiece vocabulary spells the token of a byte."""
UNFINISHED = "\ufffd"


class Decodes(Protocol):
    """What this module needs of a Transformers tokenizer."""

    all_special_ids: list[int]

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str:
        """Return the text of tokens."""

    def convert_ids_to_tokens(self, ids: int) -> str:
        """Return how the vocabulary spells a token."""


class Stream:
    """The text of one answer, piece by piece; the pieces together are the answer's text."""

    def __init__(self, tokenizer: Decodes) -> None:
        """Begin with nothing."""
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self.ids: list[int] = []
        """The tokens so far, special ones included."""
        self._said = ""

    def add(self, token: int) -> str:
        """Take the next token; return the text that is certain now and was not before."""
        self.ids.append(token)
        if token in self._special or BYTE.fullmatch(self._tokenizer.convert_ids_to_tokens(token)):
            return ""
        return self._new(self.text.rstrip(UNFINISHED))

    def end(self) -> str:
        """Return the text that was held back: no token follows."""
        return self._new(self.text)

    @property
    def text(self) -> str:
        """The text of all tokens so far, special ones left out."""
        return self._tokenizer.decode(self.ids, skip_special_tokens=True)

    def _new(self, text: str) -> str:
        new = text[len(self._said) :]
        self._said += new
        return new
