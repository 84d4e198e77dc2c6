"""What the columns of the benchmarks' tables are called for a reader, with their units."""

import pandas as pd

from ..profiles import MODELS

HEADINGS = {
    "tok_s": "tokens/s",
    "ratio": "ours, times as fast",
    "peak_gib": "peak GiB",
    "share_of_limit": "share of its limit",
    "share_4n": "share of 4N",
    "share_6n": "share of 6N",
    "matrix_tflops": "matrix product, TFLOP/s",
    "limit_4n": "4N, tokens/s",
    "limit_6n": "6N, tokens/s",
    "micro_batch_tokens": "tokens per pass",
    "recomputed_share": "share of blocks run twice",
    "predicted_gib": "predicted GiB",
    "device_gib": "GiB on the card",
    "first_loss": "first loss, nats per token",
    "last_loss": "last loss, nats per token",
    "adapted_layers": "adapted layers",
    "trainable_parameters": "trainable parameters",
    "untraced_step_s": "step untraced, s",
    "step_s": "step, s",
    "products": "products, share",
    "attention": "attention, share",
    "unpacking": "unpacking, share",
    "other": "other, share",
    "copies": "copies, share",
    "waiting": "waiting, share",
    "ms": "ms per step",
    "calls": "calls per step",
    "longest_ms": "longest, ms",
    "busy_share": "share of rows busy",
    "rows_per_step": "rows per step",
    "step_ms": "step, ms",
    "share_of_limit_read": "share of it, every read counted",
    "load_s": "load, s",
    "merge_s": "merge, s",
    "warm_up_s": "warm up, s",
    "difference": "predicted / peak - 1",
}


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of this package for a reader: columns with their units, models by their names.

    Args:
        frame: Columns of `finetuning_speed`, `breakdown`, `decoding_speed` or `decoding_goals`.

    Example:
        >>> list(named(pd.DataFrame({"model": ["phi-2"], "tok_s": [7.0]})))
        ['model', 'tokens/s']
    """
    if "model" in frame:
        titles = {key: spec.title for key, spec in MODELS.items()}
        frame = frame.assign(model=frame["model"].map(lambda key: titles.get(key, key)))
    return frame.rename(columns=HEADINGS)
