"""Load a tokenizer whose padding is no EOS and whose padding side is the left."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import SettingError
from ..weights.headers import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer with a padding token that is not EOS, padding on the left for decoding.

    What is padded is masked, so that any token could pad that the embedding has a row for. But a
    library that is given EOS for padding may mask the EOS away in training, and the model would
    never learn to stop.

    Raises:
        SettingError: If tokenizer.json is missing: Transformers 5 builds wrong merges from a bare
            tokenizer.model (3% of the Alpaca rows get other ids). If there is no EOS.
    """
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        raise SettingError(f"{folder} has no tokenizer.json; save the tokenizer in the fast format")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise SettingError(
            f"{folder}: the tokenizer names no eos_token, so that no answer could end; add it to "
            "tokenizer_config.json"
        )
    rows = _embedding_rows(folder)

    def pads(token: int | None) -> bool:
        return token is not None and token != tokenizer.eos_token_id and token < rows

    if not pads(tokenizer.pad_token_id):
        if pads(tokenizer.unk_token_id):
            tokenizer.pad_token = tokenizer.unk_token
        elif len(tokenizer) < rows:
            # Phi-2 has EOS alone, and rows to spare in its embedding: a new token fits.
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        else:
            # LLaMA 3 has neither. An ordinary token stays one: it is named, not added.
            named = (tokenizer.bos_token_id, 0, 1)
            tokenizer.pad_token_id = next(token for token in named if pads(token))
    return tokenizer


def _embedding_rows(folder: Path) -> float:
    """Return how many tokens a model has embeddings for; without end where nothing says so."""
    path = folder / "config.json"
    config = read_object(path) if path.is_file() else {}
    text = config.get("text_config")
    size = config.get("vocab_size") or (text if isinstance(text, dict) else {}).get("vocab_size")
    return size if isinstance(size, int) else math.inf
