"""BERTScore: how close an answer's words are to the reference's, as a text encoder sees them.

The matching is the bert-score package's. What surrounds it is ours, because under transformers 5
the package's own loading is wrong in silence for RoBERTa (it drops `add_prefix_space`), fails on
an empty answer and on a tokenizer that states no maximum length, and loads the encoder each time.

The value of a pair depends on the pair alone, to the last bit: a run that is scored again comes out
the same, whatever is scored beside it, in whatever order, on however many cores.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from ..config import EncoderSpec, SettingError
from ..files import sha256_file
from ..quiet import quiet_loading
from .encoders import WEIGHTS, locate

BATCH_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens of every batch, padding included. It is filled up, for its shape decides what computes it:
on an H100 a third of the texts had other last bits in batches of other sizes, none in these."""
KEPT_BYTES = 2**30
"""Most memory that encoded references keep from one call to the next."""
EMPTY = 2
"""Token ids of a text without a token: [CLS] and [SEP]."""


def signature(name: str, *, layer: int, rescaled: bool = False) -> str:
    """Return the recipe of the score: encoder, layer, no idf, raw or rescaled, package version."""
    scale, how = ("_rescaled", "en-baseline") if rescaled else ("", "no")
    return (
        f"bertscore_f1{scale}|{name}|layer:{layer}|idf:no|rescaled:{how}|unit:answer|"
        f"lib:bert_score-{version('bert-score')}"
    )


class Encoder:
    """An encoder in memory, on the GPU where there is one, in 32-bit floats."""

    def __init__(self, spec: EncoderSpec) -> None:
        """Load the encoder of `spec`, without the layers above the one compared."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = locate(spec)
        self.sha256 = sha256_file(folder / WEIGHTS)
        # RoBERTa was trained with a space before every word, the first one too.
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, add_prefix_space=True, trust_remote_code=False
        )
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        with quiet_loading():
            model: Any = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                add_pooling_layer=False,
                trust_remote_code=False,
            )
        if not 1 <= spec.layer <= len(model.encoder.layer):
            raise SettingError(
                f"{spec.name} has {len(model.encoder.layer)} layers; layer {spec.layer} is not one"
            )
        model.encoder.layer = model.encoder.layer[: spec.layer]
        self._model = model.to(self.device).eval()
        # A tokenizer without a stated limit says 10**30, which overflows; the positions decide.
        positions = model.config.max_position_embeddings
        if "roberta" in model.config.model_type:
            positions -= model.config.pad_token_id + 1  # its first position is pad_token_id + 1
        self._max_tokens = min(self._tokenizer.model_max_length, positions)
        self._kept: dict[str, Any] = {}
        self._room = KEPT_BYTES

    def _token_ids(self, texts: Sequence[str]) -> dict[str, list[int]]:
        unique = list(dict.fromkeys(texts))
        stripped = [text.strip() for text in unique]
        ids = self._tokenizer(stripped, truncation=True, max_length=self._max_tokens)["input_ids"]
        return dict(zip(unique, ids, strict=True))

    def _encode(self, batch: Sequence[list[int]]) -> list[Any]:
        """Return each text's states (t, d). The texts are of one padded length."""
        import torch

        length = _padded(len(batch[0]), self._max_tokens)
        filled = [*batch, *batch[:1] * (_rows(length, self.device) - len(batch))]
        padding = self._tokenizer.pad_token_id
        ids = torch.tensor([row + [padding] * (length - len(row)) for row in filled])
        lengths = torch.tensor([len(row) for row in filled])
        mask = (torch.arange(length) < lengths[:, None]).long()
        with torch.inference_mode():  # of this thread alone
            states = self._model(ids.to(self.device), attention_mask=mask.to(self.device))[0]
            return [row[: len(text)].clone() for row, text in zip(states, batch, strict=False)]

    def _references(
        self, texts: Iterable[str], ids: Mapping[str, list[int]], pool: ThreadPoolExecutor
    ) -> dict[str, Any]:
        """Return the states of each reference; the first that fit are kept for the next call."""
        texts = list(texts)
        states = {text: self._kept[text] for text in texts if text in self._kept}
        new = [text for text in texts if text not in states]
        batches = list(self._batches(new, ids))
        found = pool.map(self._encode, ([ids[text] for text in batch] for batch in batches))
        for batch, encoded in zip(batches, found, strict=True):
            states |= zip(batch, encoded, strict=True)
        for text in new:
            if states[text].nbytes <= self._room:
                self._kept[text] = states[text]
                self._room -= states[text].nbytes
        return states

    def _batches(self, texts: Iterable[str], ids: Mapping[str, list[int]]) -> Iterator[list[str]]:
        """Yield batches of one padded length, the longest first: lack of memory shows early."""
        by_length: dict[int, list[str]] = {}
        for text in texts:
            length = _padded(len(ids[text]), self._max_tokens)
            by_length.setdefault(length, []).append(text)
        for length in sorted(by_length, reverse=True):
            group, rows = by_length[length], _rows(length, self.device)
            yield from (group[start : start + rows] for start in range(0, len(group), rows))

    def score(
        self,
        answers: Sequence[str],
        references: Sequence[str],
        *,
        advance: Callable[[int], object] = lambda pairs: None,
    ) -> list[float]:
        """Return BERTScore F1 of each answer; a reference or a pair seen twice is encoded once.

        Args:
            answers: Model answers, n of them. One with no token in it (empty, whitespace) scores 0.
            references: Gold answers, one per answer. Text past the encoder's limit (512 tokens
                for both encoders of config) is not seen, on either side.
            advance: Called with the number of distinct pairs just finished.

        Returns:
            n values, nominally in [-100, 100]; NaN where the reference has no token.

        Raises:
            ValueError: If the two lists differ in length.

        Source:
            Zhang et al. (2020), https://openreview.net/forum?id=SkeHuCVFDr, without idf and
            rescaling; matched by bert-score's own `greedy_cos_idf`.
        """
        if len(answers) != len(references):
            raise ValueError(f"{len(answers)} answers for {len(references)} references")
        answer_ids, reference_ids = self._token_ids(answers), self._token_ids(references)
        scores: dict[tuple[str, str], float] = {}
        pending: dict[str, list[str]] = {}
        for answer, reference in dict.fromkeys(zip(answers, references, strict=True)):
            if len(reference_ids[reference]) <= EMPTY:
                scores[answer, reference] = float("nan")
            elif len(answer_ids[answer]) <= EMPTY:
                scores[answer, reference] = 0.0
            else:
                pending.setdefault(answer, []).append(reference)
        advance(len(scores))
        wanted = dict.fromkeys(text for texts in pending.values() for text in texts)
        with _workers(self.device) as pool:
            encoded = self._references(wanted, reference_ids, pool)

            def matched(batch: list[str]) -> dict[tuple[str, str], float]:
                states = self._encode([answer_ids[text] for text in batch])
                found = {
                    (text, reference): _match(row, encoded[reference])
                    for text, row in zip(batch, states, strict=True)
                    for reference in pending[text]
                }
                return dict(zip(found, _percent(found.values()), strict=True))

            for found in pool.map(matched, self._batches(pending, answer_ids)):
                scores |= found
                advance(len(found))
        return [scores[pair] for pair in zip(answers, references, strict=True)]


def _padded(n: int, limit: int) -> int:
    """Return the length that n tokens are filled up to: 16, 32, 48, 64, 96, 128, 192, 256, ..."""
    step = max(16, 1 << max(0, (n - 1).bit_length() - 2))
    return min(-(-n // step) * step, limit)


def _rows(length: int, device: str) -> int:
    return max(1, BATCH_TOKENS[device] // length)


@contextmanager
def _workers(device: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of as many threads as torch has, each of which computes alone.

    Threads that share a product split it by their number, which moves the last bits.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads if device == "cpu" else 1) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _match(answer: Any, reference: Any) -> Any:
    """Return F1 (1,) of an answer against its reference, each the states (t, d) of a text.

    One pair at a time: the package fills a shorter text up with similarity 0, which beats a
    negative one, so that a score would depend on the lengths of its neighbours.
    """
    import torch
    from bert_score.utils import greedy_cos_idf

    def sides(states: Any) -> tuple[Any, Any, Any]:
        weights = torch.ones(1, len(states), device=states.device)
        seen = weights.clone()
        weights[0, 0] = weights[0, -1] = 0  # [CLS] and [SEP]
        return states[None].clone(), seen, weights  # the package normalises in place

    with torch.inference_mode():
        *_, f1 = greedy_cos_idf(*sides(reference), *sides(answer))
    return f1


def _percent(scores: Iterable[Any]) -> list[float]:
    """Return scores (1,) in percent. A GPU is waited for once, and not after each of them."""
    import torch

    return [100 * score for score in torch.cat(list(scores)).double().tolist()]


@lru_cache(maxsize=1)
def load_encoder(spec: EncoderSpec) -> Encoder:
    """Return the encoder of `spec`, loaded once and kept until another one is asked for."""
    return Encoder(spec)
