"""The pieces of a streamed answer: together its text, and none is ever taken back."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from alpaca_lab.chat.streaming import Stream
from alpaca_lab.config import TINY

EMOJI = "\U0001f600\U0001f601"
TEXTS = [
    "An owl is a small brown bird.",
    "naïve café, 5 €",
    f"faces {EMOJI} and a family \U0001f468\u200d\U0001f469\u200d\U0001f467",
    EMOJI,
    "日本語。\nمرحبا, e\u0301",
    "a \ufffd stays, also at the end \ufffd",
    " a space first,\n\nlines,\tand one last ",
    "",
]


class Bytes:
    """A vocabulary of words and single bytes that reads a run of bytes as a whole, as LLaMA's."""

    all_special_ids = (1, 2)
    words = {300: " word", 301: "é"}

    def convert_ids_to_tokens(self, token):
        return self.words.get(token) or f"<0x{token:02X}>"

    def decode(self, token_ids, *, skip_special_tokens):
        text, run = "", bytearray()

        def end():
            try:
                found = run.decode()
            except UnicodeDecodeError:
                found = "\ufffd" * len(run)
            run.clear()
            return found

        for token in (one for one in token_ids if one not in self.all_special_ids):
            if token in self.words:
                text += end() + self.words[token]
            else:
                run.append(token)
        return text + end()


def pieces(tokenizer, ids):
    stream = Stream(tokenizer)
    return [*(stream.add(one) for one in ids), stream.end()]


def test_a_run_of_bytes_waits_for_what_ends_it():
    ids = [300, *EMOJI.encode(), 301]
    found = pieces(Bytes(), ids)
    assert found == [" word", *[""] * 8, f"{EMOJI}é", ""]


def test_a_letter_that_never_comes_whole_is_shown_at_the_end():
    assert pieces(Bytes(), [300, 0xF0, 0x9F]) == [" word", "", "", "\ufffd\ufffd"]


def test_special_tokens_are_no_text_and_end_no_run():
    face = list(EMOJI[0].encode())
    assert "".join(pieces(Bytes(), [*face[:2], 1, *face[2:], 2])) == EMOJI[0]


@given(strategies.lists(strategies.sampled_from([300, 301, 1, *EMOJI.encode(), 0x41, 0xFF])))
def test_any_tokens_are_streamed_without_a_change(ids):
    tokenizer = Bytes()
    assert "".join(pieces(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def tokenizers():
    """Yield the folders of the embedded tokenizers and, where they are given, of the real ones."""
    yield from (TINY / name for name in ("llama", "mistral", "phi"))
    data = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    yield from sorted((Path(data) / "tokenizers").iterdir()) if data else ()


@pytest.fixture(scope="module", params=tokenizers(), ids=lambda folder: folder.name)
def tokenizer(request):
    from alpaca_lab.models import load_tokenizer

    return load_tokenizer(request.param)


@pytest.mark.model
@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_streamed_pieces_are_the_text_of_the_embedded_tokenizers(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    found = pieces(tokenizer, ids)
    assert "".join(found) == tokenizer.decode(ids, skip_special_tokens=True)
    assert all("\ufffd" not in piece for piece in found) or "\ufffd" in text


@pytest.mark.model
@settings(max_examples=60, deadline=None)
@given(drawn=strategies.lists(strategies.integers(0, 2000), max_size=30))
def test_streamed_pieces_are_the_text_whatever_a_model_draws(tokenizer, drawn):
    # Every second token from the first few hundred: where vocabularies keep their bytes.
    ids = [one % 300 if place % 2 else one for place, one in enumerate(drawn)]
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(pieces(tokenizer, ids)) == whole
