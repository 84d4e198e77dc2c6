"""One question's beam search: which beams go on, which have ended, and when it is over. Pure.

The decisions of `GenerationMixin._beam_search` of Transformers 5.17 for one prompt, with
length_penalty 1 and early_stopping False. Scores are float32, as there.
"""

import numpy as np
from numpy.typing import NDArray

NEVER = np.float32(-1e9)
"""The score of what must not be chosen, as Transformers has it."""


class Hypotheses:
    """The beams of one question.

    Example:
        >>> search = Hypotheses(1, budget=5, eos_token_id=2)
        >>> search.choose(np.float32([-0.1, -3]), np.array([0, 0]), np.array([7, 2]))
        >>> search.is_open, search.tokens[0, :1].tolist()
        (True, [7])
        >>> search.choose(np.float32([-0.2, -4]), np.array([0, 0]), np.array([2, 9]))
        >>> search.is_open, search.best
        (False, [7, 2])
    """

    def __init__(self, num_beams: int, *, budget: int, eos_token_id: int) -> None:
        """Begin with one empty beam; the others score too low to be gone on from."""
        self.num_beams, self.budget, self.eos_token_id = num_beams, budget, eos_token_id
        self.scores = np.full(num_beams, NEVER)
        """Summed log probabilities of the beams that go on, best first."""
        self.scores[0] = 0
        self.tokens = np.zeros((num_beams, budget), np.int32)
        self.length = 0
        """Tokens of each beam that goes on."""
        self.parents = np.arange(num_beams)
        """Which beam each goes on from."""
        self.ended: list[tuple[np.float32, list[int]]] = []
        """Mean log probability and tokens of the best beams that have ended, best first."""
        self.is_open = True
        """A beam that goes on can still become the best."""

    def choose(self, scores: NDArray[np.float32], beams: NDArray, tokens: NDArray) -> None:
        """Take one step.

        Args:
            scores: (2 num_beams,) of the best continuations, descending.
            beams: Which beam each goes on from.
            tokens: With which token.
        """
        before, self.length = self.length, self.length + 1
        ends = tokens == self.eos_token_id
        if self.length == self.budget:
            ends[:] = True
        if ends[: self.num_beams].any():
            just_ended = [
                (scores[i] / np.float32(self.length), [*self.tokens[beams[i], :before], tokens[i]])
                for i in range(self.num_beams)
                if ends[i]
            ]
            # Of equals the earlier comes first, and `sorted` keeps their order.
            both = sorted([*self.ended, *just_ended], key=lambda beam: -beam[0])
            self.ended = both[: self.num_beams]
        best = np.argsort(ends, kind="stable")[: self.num_beams]  # what ends does not go on
        self.scores, self.parents = scores[best], beams[best]
        self.tokens[:, :before] = self.tokens[self.parents, :before]
        self.tokens[:, before] = tokens[best]
        self.is_open = not ends.all() and (
            len(self.ended) < self.num_beams
            or bool(self.scores[0] / np.float32(self.length) > self.ended[-1][0])
        )

    @property
    def best(self) -> list[int]:
        """The tokens of the best beam that has ended, EOS included."""
        return [int(token) for token in self.ended[0][1]]
