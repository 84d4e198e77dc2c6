"""How surprising a model finds the references: the negative log likelihood of each response.

It needs no decoding, so no setting of the sweep moves it: it says what finetuning did to the model
itself. Only the tokens of the response and its EOS count, the prompt is given.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..data import Example
from ..encoding import IGNORED, encode_example

if TYPE_CHECKING:
    import torch


def response_nll(
    model: Any,
    tokenizer: Any,
    questions: Iterable[Mapping[str, Any]],
) -> pd.DataFrame:
    """Return the negative log likelihood of each question's reference.

    One row at a time and without padding: a value depends on its own row alone.

    Args:
        model: A causal language model of Transformers, in eval mode.
        tokenizer: Its tokenizer.
        questions: Lines of questions.jsonl: id, instruction, input, reference.

    Returns:
        Columns id; nats, summed over the response and its EOS; tokens, how many those are;
        characters of the reference. `nats` and `tokens` are blank where prompt and reference
        together do not fit the model's context: half a reference is another text.
    """
    rows = []
    for question in questions:
        found = {"id": question["id"], "nats": None, "tokens": None}
        encoded = encoded_reference(model, tokenizer, question)
        if encoded is not None:
            found |= _of_row(model, encoded)
        rows.append(found | {"characters": len(question["reference"])})
    return pd.DataFrame(rows).astype({"nats": float, "tokens": "Int64"})


def encoded_reference(
    model: Any, tokenizer: Any, question: Mapping[str, Any]
) -> dict[str, list[int]] | None:
    """Return prompt and reference as `encoding.encode_example`; None beyond the model's context."""
    row = Example(
        instruction=question["instruction"], input=question["input"], output=question["reference"]
    )
    context = model.config.max_position_embeddings
    # One more than fits: a row that fills it was cut, or would not have fitted.
    encoded = encode_example(tokenizer, row, max_length=context + 1)
    return encoded if encoded is not None and len(encoded["input_ids"]) <= context else None


def response_logits(model: Any, encoded: Mapping[str, list[int]]) -> "torch.Tensor":
    """Return the logits of each token of the response and its EOS: (tokens, vocabulary)."""
    import torch

    ids = torch.tensor([encoded["input_ids"]], device=model.device)
    given = encoded["labels"].count(IGNORED)
    with torch.inference_mode():
        # The logits at a place are of the token after it.
        return model(input_ids=ids, use_cache=False).logits[0, given - 1 : -1]


def _of_row(model: Any, encoded: Mapping[str, list[int]]) -> dict[str, Any]:
    import torch

    logits = response_logits(model, encoded).float()
    targets = torch.tensor(encoded["input_ids"][-len(logits) :], device=logits.device)
    with torch.inference_mode():
        surprises = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return {"nats": float(surprises.double().sum()), "tokens": int(surprises.numel())}
