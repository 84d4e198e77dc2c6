"""One token's draw from inside: what may come next, and how noise picks one of it.

The noise and the winners are the sampler's own (see `sampling`): this module asks and lays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from ..config import DecodeSetting
from ..engine.sampling import gumbel_noise, next_tokens, row_key
from ..pages import wording
from .opened import Opened, Question

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

CHUNK = 500
"""Draws computed at once: with a vocabulary of 50,000, 100 MB of noise."""
FEWEST = 5
"""Expected draws of a token that is counted by itself, as a chi-square test wants."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in an answer: what has been said, and what the model thinks comes next."""

    opened: Opened
    question: Question
    position: int
    """Index of the next token in the answer, from 0."""
    logits: torch.Tensor
    """Of each token of the vocabulary, shape (V,), float32."""

    @property
    def key(self) -> int:
        """The key of the noise of the first answer to the question."""
        return self.key_of(0)

    def key_of(self, repeat: int) -> int:
        """Return the key of the noise of that repeat."""
        return row_key(self.opened.study.seed, self.question["id"], repeat)

    def draw(self, settings: Sequence[DecodeSetting], keys: Sequence[int]) -> NDArray[np.int64]:
        """Return the token that the sampler draws here under each setting and key."""
        import torch

        def of(name: str, dtype: torch.dtype) -> torch.Tensor:
            values = [getattr(setting, name) for setting in settings]
            return torch.tensor(values, dtype=dtype, device=self.logits.device)

        top_k = of("top_k", torch.int64)
        return (
            next_tokens(
                self.logits.expand(len(settings), -1),
                temperature=of("temperature", torch.float32),
                top_k=top_k,
                greedy=~of("do_sample", torch.bool),
                keys=torch.tensor(keys, device=self.logits.device),
                positions=torch.full_like(top_k, self.position),
                max_top_k=int(top_k.max()),
            )
            .cpu()
            .numpy()
        )

    def name(self, token: int) -> str:
        """Return a token's text, its spaces and line breaks made visible."""
        return token_name(self.opened.tokenizer, token)


def token_name(tokenizer: Any, token: int) -> str:
    """Return a token's text with spaces as ␣ and line breaks as ⏎; "(end)" for EOS."""
    if token == tokenizer.eos_token_id:
        return "(end)"
    text = tokenizer.decode([int(token)], clean_up_tokenization_spaces=False)
    return text.replace(" ", "␣").replace("\n", "⏎")


def place(opened: Opened, question: Question, said: Sequence[int]) -> Place:
    """Return the place after the tokens `said` of an answer to a question."""
    import torch

    ids = torch.tensor([[*opened.prompt(question), *said]], device=opened.model.device)
    with torch.inference_mode():
        logits = opened.model(input_ids=ids, use_cache=False).logits[0, -1].float()
    return Place(opened=opened, question=question, position=len(said), logits=logits)


def probabilities(logits: torch.Tensor, setting: DecodeSetting) -> torch.Tensor:
    """Return what a setting makes of logits (V,): the probability of each token; greedy, 0 or 1."""
    import torch

    if not setting.do_sample:
        return torch.nn.functional.one_hot(logits.argmax(), len(logits)).double()
    kept = logits.double()
    if 0 < setting.top_k < len(logits):
        kept = kept.masked_fill(logits < logits.topk(setting.top_k).values[-1], float("-inf"))
    return torch.softmax(kept / setting.temperature, dim=0)


def likeliest(here: Place, names: Sequence[str], *, tokens: int = 10) -> pd.DataFrame:
    """Return the likeliest tokens under several settings, and which token each drew.

    Args:
        here: The place.
        names: Cells of the study.
        tokens: How many, by logit; tokens that were drawn are added where they are not among them.

    Returns:
        A row per cell and token, likeliest first: cell, token, probability in [0, 1], drawn.
    """
    settings = [here.opened.cell(name).setting for name in names]
    drawn = here.draw(settings, [here.key] * len(names))
    order = here.logits.argsort(descending=True, stable=True).tolist()
    shown = [*order[:tokens], *sorted(set(drawn.tolist()) - set(order[:tokens]), key=order.index)]
    found = []
    for name, setting, winner in zip(names, settings, drawn, strict=True):
        chances = probabilities(here.logits, setting)
        for token in shown:
            row = (wording.cell(name), here.name(token), float(chances[token]))
            found.append((*row, bool(token == winner)))
    return pd.DataFrame(found, columns=["cell", "token", "probability", "drawn"])


@dataclass(frozen=True, kw_only=True)
class Race:
    """Every token's line logit + T x noise, and who is ahead at each T."""

    place: Place
    lines: pd.DataFrame
    """Columns token (its text), logit, noise; by token id, likeliest first."""
    temperatures: NDArray[np.float64]
    """From 0, which is greedy, upwards."""
    winners: NDArray[np.int64]
    """Token id that the sampler draws at each temperature."""


def race(here: Place, *, most: float = 1.0, steps: int = 200) -> Race:
    """Return the race at a place under one noise, from greedy up to a temperature.

    Args:
        here: The place.
        most: The highest temperature.
        steps: Temperatures above 0, evenly spaced.
    """
    import torch

    temperatures = np.linspace(0, most, steps + 1)
    key, position = (torch.tensor([n], dtype=torch.int64) for n in (here.key, here.position))
    [noise] = gumbel_noise(key, position, tokens=len(here.logits))
    logits = here.logits.cpu().numpy()
    ids = np.argsort(-logits, kind="stable")
    lines = pd.DataFrame({"logit": logits[ids], "noise": noise.numpy()[ids]}, index=ids)
    lines.insert(0, "token", [here.name(token) for token in ids])
    winners = _winners(here, temperatures)
    return Race(place=here, lines=lines, temperatures=temperatures, winners=winners)


def _winners(here: Place, temperatures: Sequence[float]) -> NDArray[np.int64]:
    settings = [
        DecodeSetting(do_sample=True, temperature=float(t)) if t else DecodeSetting()
        for t in temperatures
    ]
    return here.draw(settings, [here.key] * len(settings))


def race_table(run: Race, *, temperatures: Sequence[float], tokens: int = 5) -> pd.DataFrame:
    """Return logit, noise and their sums for the tokens that matter at some temperatures.

    Args:
        run: The race.
        temperatures: Any, from 0 upwards.
        tokens: How many of the likeliest; those that win anywhere are added.

    Returns:
        Columns token, logit, noise, one of logit + T x noise per temperature, and wins at T.
    """
    winners = _winners(run.place, temperatures)
    anywhere, ids = {*run.winners, *winners}, run.lines.index
    table = run.lines[(np.arange(len(ids)) < tokens) | ids.isin(anywhere)].copy()
    for t in temperatures:
        table[f"T = {t:g}"] = table["logit"] + t * table["noise"]
    table["wins at T"] = [
        ", ".join(f"{t:g}" for t, winner in zip(temperatures, winners, strict=True) if winner == id)
        for id in table.index
    ]
    return table


def draw_shares(here: Place, name: str, *, draws: int = 10_000, tokens: int = 8) -> pd.DataFrame:
    """Return how often each token is drawn under as many noises, beside its probability.

    Args:
        here: The place.
        name: A cell of the study.
        draws: How many: that many repeats of the question, each with its key.
        tokens: How many of the likeliest are counted by themselves, where enough draws of them
            are expected.

    Returns:
        Columns token (the last row: all others), probability and share in percent, expected and
        drawn in draws.
    """
    setting = here.opened.cell(name).setting
    chances = probabilities(here.logits, setting).cpu().numpy()
    counts = np.zeros(len(chances), int)
    for start in range(0, draws, CHUNK):
        keys = [here.key_of(repeat) for repeat in range(start, min(start + CHUNK, draws))]
        drawn = here.draw([setting] * len(keys), keys)
        counts += np.bincount(drawn, minlength=len(counts))
    order = np.argsort(-chances, kind="stable")
    own = max(1, min(tokens, int((draws * chances >= FEWEST).sum())))
    while own > 1 and 0 < draws * chances[order[own:]].sum() < FEWEST:
        own -= 1
    parts = [(here.name(token), chances[token], counts[token]) for token in order[:own]]
    rest = order[own:]
    if chances[rest].any():
        parts.append(("all others", chances[rest].sum(), counts[rest].sum()))
    frame = pd.DataFrame(parts, columns=["token", "probability", "drawn"])
    return pd.DataFrame(
        {
            "token": frame["token"],
            "probability (%)": 100 * frame["probability"],
            "share drawn (%)": 100 * frame["drawn"] / draws,
            "expected": draws * frame["probability"],
            "drawn": frame["drawn"],
        }
    )


def goodness(shares: pd.DataFrame) -> str:
    """Return whether draws fit their probabilities, by a chi-square test of `draw_shares`."""
    freedom = len(shares) - 1
    if not freedom or shares["expected"].min() < FEWEST:
        return "nothing to test: one token takes nearly every draw"
    found = stats.chisquare(shares["drawn"], shares["expected"])
    return (
        f"chi-square {found.statistic:.1f} on {freedom} degrees of freedom, p = {found.pvalue:.2f}"
    )
