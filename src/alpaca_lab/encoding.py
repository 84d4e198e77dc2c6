"""From a row to token ids and labels: what a model reads, and which of it carries loss."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from .data import Example
from .prompts import render_prompt

IGNORED = -100
"""Label of a token that carries no loss."""
MANY = 1000
"""Rows that are handed to the tokenizer at once."""


class Tokenizer(Protocol):
    """What this module needs of a Transformers tokenizer."""

    eos_token_id: int

    def __call__(
        self,
        text: str | list[str],
        *,
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
    ) -> Any:
        """Return an object whose `input_ids` are the text's token ids, or a list of each text's.

        Args:
            text: One text or several.
            add_special_tokens: Add BOS, and EOS where the tokenizer does.
            split_special_tokens: Read "</s>" in a text as letters, not as the end of it.
        """


def token_ids(tokenizer: Tokenizer, text: str | list[str], *, prompt: bool) -> Any:
    """Return the ids of a text, or of each of several, as text and nothing else.

    A row that says "</s>" would otherwise end its prompt or its answer there.

    Args:
        tokenizer: A Transformers tokenizer.
        text: One text or several.
        prompt: Whether it begins a sequence and gets the tokenizer's BOS; else it goes on with one.
    """
    return tokenizer(text, add_special_tokens=prompt, split_special_tokens=True).input_ids


def encode_prompt(tokenizer: Tokenizer, instruction: str, input: str) -> list[int]:
    """Return the token ids of a prompt, with the tokenizer's BOS once where it has one."""
    prompt = token_ids(tokenizer, render_prompt(instruction, input), prompt=True)
    return _open_ended(prompt, tokenizer)


def _open_ended(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """Return a prompt's ids without an EOS: some tokenizers end whatever they encode."""
    return list(ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids)


def encode_example(
    tokenizer: Tokenizer, example: Example, *, max_length: int
) -> dict[str, list[int]] | None:
    """Return the ids of prompt + response + EOS, with loss on the response and its EOS only.

    Prompt and response are tokenised apart and joined, exactly as decoding sees them.

    Args:
        tokenizer: A Transformers tokenizer.
        example: The row.
        max_length: Longest result in tokens. A longer response is cut, and then has no EOS:
            a cut answer must not teach the model to stop there.

    Returns:
        `input_ids` and `labels` of equal length, labels `IGNORED` (-100) on the prompt; None when
        the prompt alone fills `max_length`.
    """
    prompt = encode_prompt(tokenizer, example.instruction, example.input)
    response = list(token_ids(tokenizer, example.output, prompt=False))
    return _joined(prompt, [*response, tokenizer.eos_token_id], max_length=max_length)


def _joined(
    prompt: list[int], response: list[int], *, max_length: int
) -> dict[str, list[int]] | None:
    """Return a prompt and its response as one row, as `encode_example` does."""
    if len(prompt) >= max_length:
        return None
    ids = (prompt + response)[:max_length]
    return {"input_ids": ids, "labels": [IGNORED] * len(prompt) + ids[len(prompt) :]}


def encode_rows(
    tokenizer: Tokenizer,
    rows: Iterable[Example],
    *,
    max_length: int,
    seen: Callable[[int], object] = lambda _: None,
) -> tuple[list[dict[str, list[int]] | None], dict[str, int]]:
    """Encode rows for training, and count those that did not fit.

    Args:
        tokenizer: A Transformers tokenizer.
        rows: Examples in training order.
        max_length: Longest example in tokens.
        seen: Called with how many rows are done since it was last called, for a progress bar.

    Returns:
        The encoded rows, None where a prompt left no room, so that a row keeps its number; and
        {"cut": responses shortened, "dropped": prompts that left no room,
        "tokens": all tokens, "response_tokens": tokens that carry loss}.
    """
    encoded, counts = [], {"cut": 0, "dropped": 0, "tokens": 0, "response_tokens": 0}
    for example in _encode_many(tokenizer, rows, max_length=max_length, seen=seen):
        encoded.append(example)
        if example is None:
            counts["dropped"] += 1
            continue
        # Cut exactly when the EOS is missing: the answer itself never ends in that id.
        counts["cut"] += example["labels"][-1] != tokenizer.eos_token_id
        counts["tokens"] += len(example["input_ids"])
        counts["response_tokens"] += sum(label != IGNORED for label in example["labels"])
    return encoded, counts


def _encode_many(
    tokenizer: Tokenizer,
    rows: Iterable[Example],
    *,
    max_length: int,
    seen: Callable[[int], object],
) -> Iterator[dict[str, list[int]] | None]:
    """Yield what `encode_example` returns of each row, many at a time: the tokenizer's threads."""
    rows = list(rows)
    for start in range(0, len(rows), MANY):
        some = rows[start : start + MANY]
        asked = [render_prompt(row.instruction, row.input) for row in some]
        prompts = token_ids(tokenizer, asked, prompt=True)
        responses = token_ids(tokenizer, [row.output for row in some], prompt=False)
        for prompt, response in zip(prompts, responses, strict=True):
            yield _joined(
                _open_ended(prompt, tokenizer),
                [*response, tokenizer.eos_token_id],
                max_length=max_length,
            )
        seen(len(some))
