"""Models in memory: a 4-bit base to train, or a dense model to decode.

Training is on NF4, through Unsloth or plain Transformers + PEFT behind one function. Decoding never
imports Unsloth.
"""

from .adapted import check_adapted, check_loaded, count_adapted
from .dense import cast, load_decoder
from .tokenizer import load_tokenizer
from .trainable import load_trainable

__all__ = [
    "cast",
    "check_adapted",
    "check_loaded",
    "count_adapted",
    "load_decoder",
    "load_tokenizer",
    "load_trainable",
]
