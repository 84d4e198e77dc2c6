"""BERTScore by one encoder, or the reason why there is none; never another encoder in its place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..config import EncoderSpec, SettingError
from . import bertscore, rescaling

Similarity = Callable[[list[str], list[str]], list[float]]
"""Texts and their references, two lists of one length, to one value each on 0-100. A value must
depend on its pair alone: a run scored again comes without its neighbours."""


@dataclass(frozen=True, kw_only=True)
class Closeness:
    """How close texts are to their references, by one encoder or blank."""

    signature: str = ""
    """Recipe of the score: encoder, layer, library."""
    score: Similarity | None = None
    """None where there is no encoder: every value is then blank."""
    baseline: float | None = None
    """What unrelated texts score by it, 0-100, where that was published; else None."""
    missing: str = "no encoder was asked for"
    """Why it is blank; empty where it is not."""

    def values(self, texts: Sequence[str], references: Sequence[str]) -> list[float]:
        """Return one value per text on 0-100, NaN where there is no encoder.

        A pair that is seen twice is scored once.
        """
        if self.score is None:
            return [float("nan")] * len(texts)
        pairs = list(dict.fromkeys(zip(texts, references, strict=True)))
        values = self.score([text for text, _ in pairs], [reference for _, reference in pairs])
        found = dict(zip(pairs, values, strict=True))
        return [float(found[pair]) for pair in zip(texts, references, strict=True)]


def of(spec: EncoderSpec | None) -> Closeness:
    """Return BERTScore by an encoder, or a blank that says why it cannot be had.

    Args:
        spec: The encoder; None asks for none.
    """
    if spec is None:
        return Closeness()
    signature = bertscore.signature(spec.name, layer=spec.layer)
    try:
        score = bertscore.load_encoder(spec).score
        baseline = rescaling.baseline_f1(spec.name, layer=spec.layer)
        return Closeness(signature=signature, score=score, baseline=baseline, missing="")
    except SettingError as error:
        return Closeness(signature=signature, missing=str(error))
