"""Draw the figures of the pages, each by the very functions that it is about.

    python docs/figures FOLDER

What is drawn is computed from the record in results/, or from numbers made up for a page, which
then says so. The same bytes come out every time.
"""

import sys
from pathlib import Path

import decoding
import texts
import uncertainty

from alpaca_lab.files import write_atomically

FIGURES = {
    draw.__name__: draw
    for draw in (
        decoding.settings,
        decoding.race,
        decoding.fair_draw,
        decoding.common_noise,
        decoding.noise_measured,
        texts.proposals,
        texts.padding,
        texts.scores,
        uncertainty.intervals,
        uncertainty.sign_flips,
        uncertainty.holm,
        uncertainty.calibration,
        uncertainty.questions,
    )
}
"""By the name that a page calls it."""


def main(folder: Path) -> None:
    """Draw every figure into `folder`."""
    for name, draw in FIGURES.items():
        write_atomically(folder / f"{name}.png", draw())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
