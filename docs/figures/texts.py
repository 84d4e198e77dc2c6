"""Figures of rows and of the scores of answers, as PNG bytes."""

import numpy as np

from alpaca_lab import data
from alpaca_lab.datasheet import figures as data_figures
from alpaca_lab.datasheet import lengths
from alpaca_lab.metrics.text_scores import text_scores
from alpaca_lab.pages.drawing import GREY, canvas, colour, png, style
from alpaca_lab.profiles import PROFILES
from alpaca_lab.rows import clusters

REFERENCE = "The Eiffel Tower is in Paris, the capital of France."
ANSWERS = {
    "the reference itself": REFERENCE,
    "right, in one word": "Paris.",
    "right, in other words": "You will find it in the French capital.",
    "right, then talkative": REFERENCE + " It was built for a fair in 1889 and is visited by many "
    "people, who climb its stairs or take a lift and look at all the roofs.",
    "wrong, in its words": "The Eiffel Tower is in Rome, the capital of Italy.",
}
"""Answers to "Where is the Eiffel Tower?", made up."""


def proposals() -> bytes:
    """Draw how surely two alike questions are compared, by how alike they are."""
    similar = np.linspace(0, 1, 201)
    band = clusters.PERMUTATIONS // clusters.BANDS
    with style():
        figure = canvas(
            8,
            3.2,
            title="MinHash misses next to no pair that counts",
            caption=f"{clusters.BANDS} bands of {band} hashes. Right of the line two "
            "questions are near-duplicates, if they are compared at all.",
        )
        plot = figure.subplots()
        plot.plot(similar, 100 * (1 - (1 - similar**band) ** clusters.BANDS), color=colour(0))
        plot.axvline(clusters.SIMILAR, color=GREY, linewidth=1, linestyle="--")
        plot.set(xlabel="Jaccard similarity of two questions (0-1)", ylabel="pairs compared (%)")
        return png(figure)


def padding() -> bytes:
    """Draw what padding wastes of the embedded rows, by how they are batched."""
    study = PROFILES["smoke"]
    tokenizer = lengths.tokenizer_of(study.models[0])
    found = {"the embedded rows": lengths.token_lengths(tokenizer, data.load(study.data).train)}
    return data_figures.waste(lengths.waste(found, max_length=study.train.max_length))


def scores() -> bytes:
    """Draw what the overlap metrics make of right and wrong answers."""
    found = [text_scores(answer, reference=REFERENCE) for answer in ANSWERS.values()]
    names = {"bleu": "BLEU", "chrf": "chrF", "rougeL": "ROUGE-L"}
    with style():
        figure = canvas(
            9,
            4,
            title="A wrong answer in the reference's words beats right ones",
            caption=f'Question: "Where is the Eiffel Tower?" Reference: "{REFERENCE}"',
        )
        plot = figure.subplots()
        rows = np.arange(len(ANSWERS))
        for order, (metric, name) in enumerate(names.items()):
            values = [row[metric] for row in found]
            bars = plot.barh(rows + 0.27 * (order - 1), values, 0.25, color=colour(order),
                             label=name)  # fmt: skip
            plot.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
        plot.set_yticks(rows, ANSWERS)
        plot.invert_yaxis()
        plot.set_xlabel("score (0-100)")
        plot.grid(visible=False, axis="y")
        figure.legend(frameon=False, loc="outside upper right", ncols=3)
        return png(figure)
