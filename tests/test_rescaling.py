"""Rescaled BERTScore by hand; the published pairs of raw and rescaled are in test_vectors."""

import math

import numpy as np
import pytest

from alpaca_lab.config import BERT_BASE, MINILM, ROBERTA
from alpaca_lab.metrics.rescaling import baseline_f1, rescaled


def test_the_baseline_is_a_zero_and_a_perfect_score_stays():
    assert rescaled([60, 80, 100], baseline=60).tolist() == [0, 50, 100]
    assert rescaled(40, baseline=60) == -50


def test_silence_stays_zero_and_what_is_missing_stays_missing():
    found = rescaled(np.array([[0.0, math.nan], [60, 100]]), baseline=60)
    assert np.array_equal(found, [[0, math.nan], [0, 100]], equal_nan=True)


@pytest.mark.parametrize(
    ("spec", "expected"), [(ROBERTA, 83.122575), (BERT_BASE, 35.219112), (MINILM, None)]
)
def test_the_studys_encoders_have_the_packages_baselines(spec, expected):
    """The rows LAYER 17 and LAYER 9 of its tables; nobody has measured one for MiniLM."""
    found = baseline_f1(spec.name, layer=spec.layer)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_layer_that_an_encoder_lacks_has_no_baseline():
    assert baseline_f1(ROBERTA.name, layer=99) is None
