"""How surprising a model finds the references: the negative log likelihood of each response.

It needs no decoding, so no setting of the sweep moves it: it says what finetuning did to the model
itself. Only the tokens of the response and its EOS count, the prompt is given.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .data import Example
from .encoding import IGNORED, encode_example


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
    context = model.config.max_position_embeddings
    for question in questions:
        row = Example(
            instruction=question["instruction"],
            input=question["input"],
            output=question["reference"],
        )
        found = {"id": question["id"], "nats": None, "tokens": None}
        # One more than fits: a row that fills it was cut, or would not have fitted.
        encoded = encode_example(tokenizer, row, max_length=context + 1)
        if encoded is not None and len(encoded["input_ids"]) <= context:
            found |= _of_row(model, encoded)
        rows.append(found | {"characters": len(question["reference"])})
    return pd.DataFrame(rows).astype({"nats": float, "tokens": "Int64"})


def _of_row(model: Any, encoded: Mapping[str, list[int]]) -> dict[str, Any]:
    import torch

    ids = torch.tensor([encoded["input_ids"]], device=model.device)
    given = encoded["labels"].count(IGNORED)
    with torch.inference_mode():
        # The logits at a place are of the token after it.
        logits = model(input_ids=ids, use_cache=False).logits[0, given - 1 : -1].float()
        surprises = torch.nn.functional.cross_entropy(logits, ids[0, given:], reduction="none")
    return {"nats": float(surprises.double().sum()), "tokens": int(surprises.numel())}
