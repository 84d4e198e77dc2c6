"""Figures of one draw and of the noise behind it, as PNG bytes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from alpaca_lab import stats
from alpaca_lab.config import ROOT
from alpaca_lab.decoding_walkthrough import draw_figures, draws
from alpaca_lab.decoding_walkthrough.opened import Opened
from alpaca_lab.engine.sampling import next_tokens, row_key
from alpaca_lab.pages.drawing import GREY, MARKERS, canvas, colour, png, points, style
from alpaca_lab.profiles import PROFILES

SAID = "The capital of France is"
LOGITS = {"Paris": 4.0, "the": 3.0, "a": 2.5, "located": 2.0, "Lyon": 1.0, "not": 0.5, "home": 0.0}
"""What a model might think of the next word; made up, so that the arithmetic can be followed."""


def place() -> draws.Place:
    """Return the place after `SAID`, as the walkthrough of notebook 03 takes one apart."""
    import torch

    words = list(LOGITS)
    tokenizer = SimpleNamespace(eos_token_id=None, decode=lambda ids, **_: words[ids[0]])
    opened = Opened(study=PROFILES["smoke"], model=None, tokenizer=tokenizer, questions=[])
    logits = torch.tensor(list(LOGITS.values()))
    return draws.Place(opened=opened, question={"id": SAID}, position=0, logits=logits)


def settings() -> bytes:
    """Draw what temperature and top-k make of one next-word distribution."""
    names = ("temperature=0.25", "temperature=0.5", "temperature=0.75", "temperature=1",
             "top_k=2")  # fmt: skip
    return draw_figures.chances(draws.likeliest(place(), names), said=SAID)


def race() -> bytes:
    """Draw each word's logit + T x noise: the highest is the one that is drawn."""
    return draw_figures.race(draws.race(place()), marks=(0.25, 0.5, 0.75, 1))


def fair_draw() -> bytes:
    """Draw how often each word wins under 10,000 noises, beside its probability."""
    shares = draws.draw_shares(place(), "temperature=1")
    with style():
        figure = canvas(
            8,
            3.2,
            title="The word with the highest logit + noise is a fair draw",
            caption=f"10,000 noises at temperature 1; {draws.goodness(shares)}.",
        )
        plot = figure.subplots()
        rows = np.arange(len(shares))
        plot.bar(rows - 0.2, shares["probability (%)"], 0.38, color="0.75", label="softmax")
        plot.bar(rows + 0.2, shares["share drawn (%)"], 0.38, color=colour(0), label="drawn")
        plot.set_xticks(rows, shares["token"])
        plot.set(xlabel="next word", ylabel="share (%)")
        plot.grid(visible=False, axis="x")
        plot.legend(frameon=False)
        return png(figure)


def common_noise() -> bytes:
    """Draw differences of two temperatures that share their noise, and of two that do not."""
    import torch

    random = np.random.default_rng(0)
    questions, words = 400, 30
    logits = torch.tensor(random.normal(0, 2, (questions, words)), dtype=torch.float32)
    scores = random.uniform(0, 100, (questions, words))

    def answer(temperature: float, seed: int) -> np.ndarray:
        drawn = next_tokens(
            logits,
            temperature=torch.full((questions,), temperature),
            top_k=torch.zeros(questions, dtype=torch.int64),
            greedy=torch.zeros(questions, dtype=torch.bool),
            keys=torch.tensor([row_key(seed, f"question {n}", 0) for n in range(questions)]),
            positions=torch.zeros(questions, dtype=torch.int64),
            max_top_k=0,
        )
        return np.take_along_axis(scores, drawn.numpy()[:, None], axis=1)[:, 0]

    cool = answer(0.75, seed=0)
    with style():
        figure = canvas(
            9,
            3.4,
            title="The same noise makes most questions differ by nothing",
            caption=f"Simulated: {questions} questions with one-word answers from "
            f"{words} words, each worth 0 to 100 points; temperatures .75 and 1.",
        )
        plots = figure.subplots(1, 2, sharey=True)
        for seed, name in enumerate(("the same noise", "each its own noise")):
            found = stats.paired_difference(answer(1.0, seed=seed), cool)
            plots[seed].hist(answer(1.0, seed=seed) - cool, bins=np.arange(-105, 106, 10),
                             color=colour(seed))  # fmt: skip
            half = (found.high - found.low) / 2
            same = 100 * (answer(1.0, seed=seed) == cool).mean()
            plots[seed].set_title(f"{name}: {same:.0f}% do not differ, ± {half:.1f}", fontsize=10)
            plots[seed].set_xlabel("difference of a question (points)")
        plots[0].set_ylabel("questions (count)")
        return png(figure)


def noise_measured() -> bytes:
    """Draw how wide intervals are with common noise, as measured on the tiny models."""
    frame = pd.read_csv(ROOT / "results" / "performance" / "common_noise.csv")
    kinds = list(dict.fromkeys(frame["kind"]))
    with style():
        figure = canvas(
            8,
            3.4,
            title="What common noise does to the interval of a difference",
            caption="Left of the line it is narrower. Each point is a knob's two "
            "settings on one tiny model, with its 95% interval.",
        )
        plot = figure.subplots()
        for model, (name, rows) in enumerate(frame.groupby("model", sort=False)):
            turn = rows.groupby("kind").cumcount() / rows.groupby("kind")["kind"].transform("size")
            places = rows["kind"].map(kinds.index) - 0.32 + 0.21 * model + 0.2 * turn
            points(plot, places, rows, names=("ratio", "ratio_low", "ratio_high"), horizontal=True,
                   label=name, color=colour(model), marker=MARKERS[model], linestyle="",
                   markersize=4, capsize=0)  # fmt: skip
        plot.axvline(1, color=GREY, linewidth=1)
        plot.set_yticks(range(len(kinds)), kinds)
        plot.invert_yaxis()
        plot.set_xlabel("width with common noise / width with independent noise (ratio)")
        plot.legend(frameon=False, loc="lower left")
        return png(figure)
