"""The study's metrics as `evaluate.Metric` objects: for anyone's texts, and without the hub.

`evaluate.load("rouge")` fetches code from the hub and runs it; these are classes that are here, and
their numbers are those of the study's tables. Nothing else in this package imports this module:
naming `evaluate.Metric` as a base needs `evaluate`, which takes datasets and torch with it.
"""

import math
import shutil
import weakref
from collections.abc import Iterable, Mapping, Sequence
from tempfile import mkdtemp
from typing import Any, ClassVar

import evaluate
import numpy as np

from .config import MINILM, EncoderSpec, SettingError
from .metrics import bertscore, bleu_chrf, rescaling, rouge, text_scores

Pair = tuple[str, str]
"""An answer and its reference, which is not empty."""
Found = tuple[float, int]
"""A number, and how many answers it rests on."""
EVERYTHING = "default"
"""The configuration of a metric that returns all of its numbers."""
INPUTS = """
Args:
    predictions: Model answers, prompt and special tokens removed. An empty one scores 0.
    references: Gold answers, a string or a list of one string each; not read by distinct and
        repetition. An answer whose reference is empty is left out, and counted as undefined.

Returns:
    For each number NAME four entries: NAME; NAME_n, the answers that it rests on; NAME_undefined,
    those left out because they have no such score; NAME_signature, how it was computed. NAME is
    NaN where nothing is left.
"""


class StudyMetric(evaluate.Metric):
    """What the metrics below share; one of them is made by its name, or by `load`."""

    numbers: ClassVar[tuple[str, ...]] = ()
    """What it returns; each is a configuration that returns itself alone."""
    citation_url: ClassVar[str] = ""
    """The paper that defines it."""
    reads_references: ClassVar[bool] = True

    def __init__(
        self, config_name: str | None = None, *, cache_dir: str | None = None, **options: Any
    ) -> None:
        """Make the metric.

        Args:
            config_name: One of `numbers`; None returns them all.
            cache_dir: Where `evaluate` keeps the texts until they are scored; None takes a
                temporary folder, which goes with the object.
            options: Of `evaluate.Metric`, such as num_process and experiment_id.

        Raises:
            SettingError: If there is no such configuration.
        """
        if config_name not in (None, EVERYTHING, *self.numbers):
            raise SettingError(
                f"{type(self).__name__} has no configuration {config_name!r}: "
                f"choose from {', '.join(self.numbers)}"
            )
        if cache_dir is None:
            cache_dir = mkdtemp(prefix="alpaca-lab-")
            weakref.finalize(self, shutil.rmtree, cache_dir, ignore_errors=True)
        super().__init__(config_name, cache_dir=cache_dir, **options)

    def _info(self) -> evaluate.MetricInfo:
        from datasets import Features, List, Value

        text = Value("string")
        formats = [{"references": text}, {"references": List(text)}]
        if not self.reads_references:
            formats = [{}]
        return evaluate.MetricInfo(
            description=(self.__doc__ or "").strip(),
            citation=f"@misc{{{type(self).__name__}, howpublished = {{{self.citation_url}}}}}",
            inputs_description=INPUTS,
            features=[Features({"predictions": text} | references) for references in formats],
            reference_urls=[self.citation_url],
            license="MIT",
        )

    def _compute(
        self, *, predictions: Sequence[str], references: Sequence[str | Sequence[str]] | None = None
    ) -> dict[str, float | int | str]:
        golds = [""] * len(predictions) if references is None else references
        pairs = [_pair(*both) for both in zip(range(len(golds)), predictions, golds, strict=True)]
        # A metric of the answer alone is measured on every answer.
        scored = [pair for pair in pairs if references is None or pair[1].strip()]
        found = self._measure(scored)
        signatures = self._signatures()
        chosen = self.numbers if self.config_name == EVERYTHING else (self.config_name,)
        result: dict[str, float | int | str] = {}
        for name in chosen:
            value, n = found[name]
            result |= {name: value, f"{name}_n": n, f"{name}_undefined": len(pairs) - n}
            result[f"{name}_signature"] = signatures[name]
        return result

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        raise NotImplementedError

    def _signatures(self) -> Mapping[str, str]:
        return text_scores.SIGNATURES


def _pair(row: int, answer: str | None, reference: str | Sequence[str] | None) -> Pair:
    if answer is None or reference is None:
        raise ValueError(f"row {row} is None: leave out what is missing; an empty answer scores 0")
    if isinstance(reference, str):
        return answer, reference
    if len(reference) != 1:
        raise ValueError(f"row {row} has {len(reference)} references; these metrics take one")
    return answer, reference[0]


def _mean(values: Iterable[float]) -> Found:
    defined = [value for value in values if not math.isnan(value)]
    return (float(np.mean(defined)) if defined else math.nan), len(defined)


class Bleu(StudyMetric):
    """BLEU on 0-100: sacreBLEU's of the corpus, and the mean of the answers' own.

    Both on 13a tokens with "exp" smoothing; an answer's own with effective order.
    """

    numbers = ("corpus_bleu", "bleu")
    citation_url = "https://aclanthology.org/W18-6319"

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        rows = [bleu_chrf.bleu(answer, reference=reference) for answer, reference in pairs]
        sums = [sum(row[name] for row in rows) for name in bleu_chrf.BLEU_STATISTICS]
        corpus = float(bleu_chrf.corpus_bleu(sums)) if rows else math.nan
        return {"corpus_bleu": (corpus, len(rows)), "bleu": _mean(row["bleu"] for row in rows)}


class Chrf(StudyMetric):
    """ChrF2 on 0-100: sacreBLEU's of the corpus, and the mean of the answers' own."""

    numbers = ("corpus_chrf", "chrf")
    citation_url = "https://aclanthology.org/W15-3049"

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        rows = [bleu_chrf.chrf(answer, reference=reference) for answer, reference in pairs]
        sums = [sum(row[name] for row in rows) for name in bleu_chrf.CHRF_STATISTICS]
        corpus = float(bleu_chrf.corpus_chrf(sums)) if rows else math.nan
        return {"corpus_chrf": (corpus, len(rows)), "chrf": _mean(row["chrf"] for row in rows)}


class Rouge(StudyMetric):
    """ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum: mean F1 on 0-100, without stemming.

    Undefined where the reference has no word of a-z or 0-9, ROUGE-2 also where it has only one.
    """

    numbers = rouge.ROUGE_TYPES
    citation_url = "https://aclanthology.org/W04-1013"

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        rows = [rouge.rouge(answer, reference=reference) for answer, reference in pairs]
        return {name: _mean(row[name] for row in rows) for name in self.numbers}


class Distinct(StudyMetric):
    """Distinct-1 and distinct-2: mean share on 0-1 of an answer's n-grams that differ.

    Undefined for an answer of fewer than n words.
    """

    numbers = ("distinct_1", "distinct_2")
    citation_url = "https://aclanthology.org/N16-1014"
    reads_references = False

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        return {
            f"distinct_{n}": _mean(text_scores.distinct(answer, order=n) for answer, _ in pairs)
            for n in (1, 2)
        }


class Repetition(StudyMetric):
    """Repeated 4-grams: mean share on 0-1 of an answer's 4-grams that it has had before.

    Undefined for an answer of fewer than 4 words.
    """

    numbers = ("repeated_4grams",)
    citation_url = "https://aclanthology.org/N16-1014"
    reads_references = False

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        shares = (1 - text_scores.distinct(text, order=4) for text, _ in pairs)
        return {"repeated_4grams": _mean(shares)}


class LengthRatio(StudyMetric):
    """Length ratio: words of all answers / words of all references, split at whitespace.

    BLEU and ROUGE partly rank by length: it belongs beside them.
    """

    numbers = ("length_ratio",)
    citation_url = "https://aclanthology.org/P02-1040"

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        words = sum(len(answer.split()) for answer, _ in pairs)
        gold = sum(len(reference.split()) for _, reference in pairs)
        return {"length_ratio": (words / gold if gold else math.nan, len(pairs))}


class Bertscore(StudyMetric):
    """BERTScore F1 by a named encoder: mean on 0-100, raw, and rescaled where it has a baseline.

    Undefined where the reference has no token. Scores of two encoders are never comparable.
    """

    citation_url = "https://openreview.net/forum?id=SkeHuCVFDr"

    def __init__(
        self, config_name: str | None = None, *, encoder: EncoderSpec = MINILM, **options: Any
    ) -> None:
        """Make the metric; the encoder is loaded when the first texts are scored.

        Args:
            config_name: "bertscore_f1" or, for an encoder with a baseline,
                "bertscore_f1_rescaled"; None returns what there is.
            encoder: The encoder; the default is an installed package and needs no network.
            options: As of the other metrics.

        Raises:
            SettingError: If there is no such configuration for this encoder.
        """
        self.encoder = encoder
        self._baseline = rescaling.baseline_f1(encoder.name, layer=encoder.layer)
        scales = ("",) if self._baseline is None else ("", "_rescaled")
        self.numbers = tuple(f"bertscore_f1{scale}" for scale in scales)
        super().__init__(config_name, **options)

    def _measure(self, pairs: Sequence[Pair]) -> dict[str, Found]:
        answers, references = [answer for answer, _ in pairs], [gold for _, gold in pairs]
        raw = bertscore.load_encoder(self.encoder).score(answers, references)
        found = {"bertscore_f1": _mean(raw)}
        if self._baseline is not None:
            values = rescaling.rescaled(raw, baseline=self._baseline)
            found["bertscore_f1_rescaled"] = _mean(values.tolist())
        return found

    def _signatures(self) -> Mapping[str, str]:
        name, layer = self.encoder.name, self.encoder.layer
        return {
            number: bertscore.signature(name, layer=layer, rescaled=number.endswith("_rescaled"))
            for number in self.numbers
        }


METRICS: dict[str, type[StudyMetric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "rouge": Rouge,
    "bertscore": Bertscore,
    "distinct": Distinct,
    "repetition": Repetition,
    "length_ratio": LengthRatio,
}
"""The metrics by the name that `load` takes."""


def load(name: str, **options: Any) -> StudyMetric:
    """Return a metric by its name, as `evaluate.load` does, from this package alone.

    Args:
        name: A key of `METRICS`, or one number of a metric alone, such as "rougeL", "corpus_bleu"
            or "bertscore_f1_rescaled".
        options: Of the class; `encoder` for BERTScore.

    Raises:
        SettingError: If there is no such metric, or the encoder has no baseline.

    Example:
        >>> rouge = load("rougeL")
        >>> found = rouge.compute(predictions=["the cat"], references=["the cat sat"])
        >>> found["rougeL"], found["rougeL_n"], found["rougeL_undefined"]
        (80.0, 1, 0)
    """
    if name in METRICS:
        return METRICS[name](**options)
    if name.startswith("bertscore_f1"):
        return Bertscore(name, **options)
    for family in METRICS.values():
        if name in family.numbers:
            return family(name, **options)
    raise SettingError(f'no metric "{name}": choose from {", ".join(METRICS)}, or one number alone')
