"""The judge itself: a checkpoint that is asked a question, and how likely it finds A and B.

Its preference is read from the logits of the next token. Nothing is sampled and no text is parsed:
the same judge gives the same preference, and has no way to say nothing.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from .. import hardware, models
from ..batches import pad
from ..config import ModelSpec, SettingError, require
from ..endings import is_out_of_memory
from ..files import sha256_file
from ..quiet import quiet_loading
from ..weights import checkpoints
from ..weights.trust import check_checkpoint
from .prompt import LABELS, as_read, render

BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of a forward pass, padding included. Changes speed, and rounding: in bfloat16 on an H100,
which questions share a pass moved a preference by up to .01 on the embedded models, and by up to
.03 on a LLaMA-2-7B with random weights. In 32 bits on a CPU it moves the last bits."""
TOO_LONG = "longer than the judge's context"
CONTROL_TOKEN = "holds a control token of the judge"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip


class Judge(Protocol):
    """What is asked: a loaded model, or a test's stand-in."""

    def __call__(self, questions: Sequence[str]) -> np.ndarray:
        """Return the log-probabilities of the labels A and B as the next token, shape (n, 2).

        A row with a NaN is a judgement that failed.
        """

    def obstacle(self, question: str) -> str | None:
        """Return why a question cannot be asked, or None where it can."""

    def facts(self) -> dict[str, Any]:
        """Return what this process used and paid: device, dtype, seconds to load, memory."""


OpenJudge = Callable[[], Judge]
"""Loads the judge; called only where something is left to ask."""


def parse_judge(source: str) -> ModelSpec:
    """Return the judge of that name: a local checkpoint, or a commit of a hub model.

    Args:
        source: A folder with config.json and safetensors, or "owner/name@COMMIT".

    Raises:
        SettingError: If it is neither. A hub model without its commit is refused: its numbers
            could not be had again.
    """
    folder = Path(source).expanduser().resolve()
    if folder.is_dir():
        return ModelSpec(key="judge", title=folder.name, source=str(folder))
    name, _, revision = source.partition("@")
    require(
        re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None
        and re.fullmatch(r"[0-9a-f]{40}", revision) is not None,
        f"judge {source}: no such folder; give a local checkpoint, or a hub model as "
        "owner/name@COMMIT, the commit in 40 hex digits",
    )
    return ModelSpec(key="judge", title=name, source=name, revision=revision)


def identity(spec: ModelSpec) -> dict[str, Any]:
    """Return what decides a judgement beside the question: weights, tokenizer, precision.

    Returns:
        As `checkpoints.identify`, and `tokenizer`, the sha256 over a local folder's tokenizer and
        chat template (None on the hub, whose commit fixes them), and `dtype`.
    """
    files = hashlib.sha256()
    if spec.is_local:
        for path in (Path(spec.source) / name for name in TOKENIZER_FILES):
            files.update(sha256_file(path).encode() if path.is_file() else b"-")
    return checkpoints.identify(spec) | {
        "tokenizer": files.hexdigest() if spec.is_local else None,
        "dtype": str(hardware.compute_dtype()).removeprefix("torch."),
    }


class ModelJudge:
    """A causal language model of Transformers as a `Judge`, dense, 16 bits on a GPU."""

    def __init__(self, spec: ModelSpec) -> None:
        """Load the judge.

        Args:
            spec: As `parse_judge` returns.

        Raises:
            SettingError: If the checkpoint cannot be had, or its tokenizer does not tell A from B.
        """
        import torch
        from transformers import AutoModelForCausalLM

        began = perf_counter()
        folder = checkpoints.locate(spec, instead="give --judge a local folder")
        check_checkpoint(folder)
        self.tokenizer: Any = models.load_tokenizer(folder)
        question = render("", "", first="", second="")
        self.labels = label_ids(self._encode, as_read(self.tokenizer, question), name=spec.title)
        hardware.claim_device(None)
        on_gpu = hardware.device() == "cuda"
        with quiet_loading():
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=hardware.compute_dtype(),
                device_map={"": torch.cuda.current_device() if on_gpu else "cpu"},
                use_safetensors=True,
                trust_remote_code=False,
            )
        self.model.eval().requires_grad_(False)
        text_part = self.model.config.get_text_config()
        self.context: int | None = getattr(text_part, "max_position_embeddings", None)
        self._control_tokens = [
            token.content
            for token in self.tokenizer.added_tokens_decoder.values()
            if token.special and token.content.strip()
        ]
        self.load_s = perf_counter() - began

    def __call__(self, questions: Sequence[str]) -> np.ndarray:
        """Return the log-probabilities of the labels as the next token, shape (n, 2).

        Questions of about one length share a pass. One that memory is too short for is split.

        Raises:
            SettingError: If the GPU's memory is too short for a single question.
        """
        rows = [self._read(question) for question in questions]
        found = np.full((len(rows), len(LABELS)), np.nan)
        room = BATCH_TOKENS[hardware.device()]
        passes = pad([len(row) for row in rows], room=room)
        while passes:
            chosen = passes.pop()  # the longest are last, and a lack of memory shows early
            try:
                values = self._pass([rows[i] for i in chosen])
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                values = None
            # Outside the handler: there, the error would still hold the memory that ran out.
            if values is not None:
                found[chosen] = values
                continue
            require(
                len(chosen) > 1,
                "the GPU's memory is too short for one question to the judge: take a smaller "
                "judge, or free what else holds the memory; what is judged is kept",
            )
            hardware.release()
            half = len(chosen) // 2
            passes += [chosen[:half], chosen[half:]]
        return found

    def obstacle(self, question: str) -> str | None:
        """Return why a question cannot be asked, or None where it can.

        A question is never cut: half an answer is another text. Nor is one asked whose texts spell
        a control token, such as the mark that ends a turn of a chat: they would speak as the user.
        """
        if any(token in question for token in self._control_tokens):
            return CONTROL_TOKEN
        if self.context is not None and len(self._read(question)) > self.context:
            return TOO_LONG
        return None

    def facts(self) -> dict[str, Any]:
        """Return what this process used and paid: device, dtype, seconds to load, memory."""
        chat = self.tokenizer.chat_template
        return {
            "device": hardware.device(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "context": self.context,
            "chat_template": hashlib.sha256(str(chat).encode()).hexdigest() if chat else None,
            "label_ids": [list(ids) for ids in self.labels],
            "load_s": round(self.load_s, 2),
            "peak_gib": hardware.peak_gib(),
        }

    def _read(self, question: str) -> list[int]:
        return self._encode(as_read(self.tokenizer, question))

    def _encode(self, text: str) -> list[int]:
        """Return the ids of a text that goes on: BOS once, no EOS."""
        if self.tokenizer.chat_template:  # it writes its own special tokens
            return list(self.tokenizer(text, add_special_tokens=False).input_ids)
        ids = list(self.tokenizer(text).input_ids)
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.tokenizer.eos_token_id else ids

    def _pass(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the labels' log-probabilities after each row, padded on the left to one length."""
        import torch

        longest = max(map(len, rows))
        # Which id pads plays no part: it is masked, and counts as no position.
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self.model(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                position_ids=places.to(self.model.device),
                use_cache=False,
                logits_to_keep=1,
            ).logits[:, -1]
            # In 32 bits: the sum over a vocabulary is lost in 16.
            chances = logits.float().log_softmax(dim=-1)
            labels = [chances[:, list(ids)].logsumexp(dim=-1) for ids in self.labels]
        return torch.stack(labels, dim=1).double().cpu().numpy()


def label_ids(
    encode: Callable[[str], list[int]], text: str, *, name: str
) -> tuple[tuple[int, ...], ...]:
    """Return the tokens that say A, and those that say B, right after a text.

    A letter may be said with a space before it or without; each way counts that is one token more
    than the text, as the tokenizer itself splits the two together.

    Args:
        encode: A text to its ids.
        text: What the judge reads, up to where the letter stands.
        name: The judge's, for the message.

    Returns:
        The ids of each of `LABELS`: one, or two where both ways of saying it are one token.

    Raises:
        SettingError: If no way is left in which A and B are two different single tokens.
    """
    ways = list(_ways(encode, text))
    if not ways:
        raise SettingError(
            f"judge {name}: its tokenizer does not tell {' from '.join(LABELS)} by one token after "
            f"the prompt's end {text[-24:]!r}; take another judge"
        )
    return tuple(tuple(dict.fromkeys(ids)) for ids in zip(*ways, strict=True))


def _ways(encode: Callable[[str], list[int]], text: str) -> Iterator[list[int]]:
    """Yield the ids of the labels, one for each, as they are said without and with a space."""
    before = encode(text)
    for space in ("", " "):
        rows = [encode(text + space + letter) for letter in LABELS]
        last = [row[-1] for row in rows]
        if all(row[:-1] == before for row in rows) and len(set(last)) == len(LABELS):
            yield last
