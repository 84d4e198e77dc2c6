"""Beam search, by Transformers' own `generate`, with nothing left to a default.

Beams share no noise and are reordered at every step, so they gain little from slots; here the
library's search serves as it is. Prompts of like length share a batch, padded on the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .config import DecodeSetting, SettingError, require
from .slots import Finished, Job, finish

if TYPE_CHECKING:
    from transformers import GenerationConfig

UNDECIDING = {"max_length", "bos_token_id", "transformers_version", "_from_model_config"}
"""Fields that a checkpoint may set (LLaMA-2 does) and that decide nothing: `max_new_tokens`
overrides `max_length`, and a prompt brings its own BOS."""


def search(
    model: Any, jobs: Sequence[Job], *, rows: int, eos_token_id: int, pad_token_id: int
) -> Iterator[Finished]:
    """Search every job of one setting and yield the best beam of each.

    Args:
        model: A Transformers causal language model in eval mode.
        jobs: Jobs of one setting.
        rows: Beams decoded side by side, all prompts together; at least one prompt is taken.
        eos_token_id: The token that ends an answer.
        pad_token_id: Fills the left of shorter prompts, where it is masked.

    Yields:
        One `Finished` per job, shortest prompts first. Where the GPU's memory does not hold even
        one prompt's beams, its answer is empty and its `finish_reason` None.

    Raises:
        SettingError: If the jobs differ in their setting, or a default of the checkpoint would
            take part in the search.
    """
    if not jobs:
        return
    setting = jobs[0].setting
    require(
        all(job.setting == setting for job in jobs),
        "beam search takes one setting at a time; call it once per cell",
    )
    config = explicit_config(model, setting, eos_token_id=eos_token_id, pad_token_id=pad_token_id)
    by_length = sorted(jobs, key=lambda job: len(job.prompt_ids))
    size = max(1, rows // setting.num_beams)
    for start in range(0, len(by_length), size):
        yield from _search_batch(model, by_length[start : start + size], config=config)


def explicit_config(
    model: Any, setting: DecodeSetting, *, eos_token_id: int, pad_token_id: int
) -> GenerationConfig:
    """Return the generation config of a setting, checked to be the one that will decode.

    `generate` fills each unset field from the checkpoint's generation_config.json, and then from
    the library. So it is asked to do that here, and what it resolves to is compared with the same
    on a checkpoint that sets nothing.

    Raises:
        SettingError: If the checkpoint adds or changes a field.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        **setting.generation_fields(),
        use_cache=True,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
    # Private, and the only place where the library says what it will do.
    resolved, _ = model._prepare_generation_config(config)
    ours = {name: value for name, value in config.to_dict().items() if value is not None}
    intended = GenerationConfig._get_default_generation_params() | ours
    leaked = {
        name: value
        for name, value in resolved.to_dict().items()
        # None, False and 0 are three spellings of "off".
        if (value or None) != (intended.get(name) or None) and name not in UNDECIDING
    }
    if leaked:
        raise SettingError(
            f"the checkpoint's generation_config would take part in the search: {leaked}; "
            "remove these fields from its generation_config.json"
        )
    return config


def _search_batch(
    model: Any, batch: Sequence[Job], *, config: GenerationConfig
) -> Iterator[Finished]:
    import torch

    width = max(len(job.prompt_ids) for job in batch)
    ids = torch.full((len(batch), width), config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, job in enumerate(batch):
        ids[row, width - len(job.prompt_ids) :] = torch.tensor(job.prompt_ids)
        mask[row, width - len(job.prompt_ids) :] = 1
    try:
        with torch.no_grad():
            found = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=config,
            )
    except torch.OutOfMemoryError:
        found = None
    # Outside the handler: there, the error would still hold the memory that ran out.
    if found is not None:
        for job, tokens in zip(batch, found[:, width:].tolist(), strict=True):
            yield _finished(job, tokens, eos_token_id=config.eos_token_id)
    elif len(batch) == 1:
        yield Finished(job=batch[0], ids=(), n_new_tokens=0, finish_reason=None)
    else:
        torch.cuda.empty_cache()
        half = len(batch) // 2
        yield from _search_batch(model, batch[:half], config=config)
        yield from _search_batch(model, batch[half:], config=config)


def _finished(job: Job, tokens: list[int], *, eos_token_id: int) -> Finished:
    """Cut the padding that follows a beam's EOS."""
    end = tokens.index(eos_token_id) + 1 if eos_token_id in tokens else len(tokens)
    finished = finish(job, tokens[:end], eos_token_id=eos_token_id)
    if finished is None:
        raise RuntimeError(
            f"question {job.question}, cell {job.cell}: beam search stopped after {end} tokens, "
            f"without EOS and before its budget of {job.setting.max_new_tokens}; report this"
        )
    return finished
