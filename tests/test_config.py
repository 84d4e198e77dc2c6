"""Contradictions are refused when a study is built, not after hours of decoding."""

import pytest

from alpaca_lab.config import (
    DataSpec,
    DecodeSetting,
    SettingError,
    StudySpec,
    TrainSpec,
    as_dict,
    fingerprint,
    study_from_dict,
)
from alpaca_lab.profiles import MODELS, PROFILES

MISLEADING = [
    ({"temperature": 0.0, "do_sample": True}, "greedy"),
    ({"temperature": 0.5}, "do_sample"),
    ({"top_k": 4}, "do_sample"),
    ({"do_sample": True, "num_beams": 2}, "sampled beams mix two factors"),
    ({"max_new_tokens": 0}, "max_new_tokens"),
]


@pytest.mark.parametrize(("fields", "message"), MISLEADING)
def test_decode_settings_that_would_mislead_are_refused(fields, message):
    with pytest.raises(SettingError, match=message):
        DecodeSetting(**fields)


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        (TrainSpec, {"batch_size": 0}, "at least 1 row"),
        (TrainSpec, {"loader": "magic"}, "loader must be"),
        (DataSpec, {"test_share": 0.9, "validation_share": 0.2}, "sum to less than 1"),
        (DataSpec, {"max_train_rows": 0}, "at least 1"),
        (StudySpec, {"name": "../up", "models": (MODELS["phi-2"],)}, "may hold letters"),
        (StudySpec, {"name": "x", "models": ()}, "at least one model"),
        (StudySpec, {"name": "x", "models": (MODELS["phi-2"],), "min_agreement": 98}, "0 always"),
        (StudySpec, {"name": "x", "models": (MODELS["phi-2"],) * 2}, "named twice"),
    ],
)
def test_contradictory_specs_are_refused(spec, fields, message):
    with pytest.raises(SettingError, match=message):
        spec(**fields)


def test_every_generation_field_is_a_value():
    """An unset field is inherited from the checkpoint; `min_p` alone has no neutral value."""
    unset = [name for name, value in DecodeSetting().generation_fields().items() if value is None]
    assert unset == ["min_p"]


def test_fingerprint_is_pinned():
    """Directory names on disk depend on it: changing it orphans every recorded run."""
    assert fingerprint({"model": "phi-2", "seed": 0}) == "57b90fe20de1"


def test_fingerprint_ignores_the_order_of_keys():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


@pytest.mark.parametrize("profile", PROFILES)
def test_study_survives_the_way_to_another_process(profile):
    assert study_from_dict(as_dict(PROFILES[profile])) == PROFILES[profile]


def test_a_study_recorded_before_a_field_was_there_takes_its_default():
    older = as_dict(PROFILES["smoke"])
    del older["min_agreement"]
    assert study_from_dict(older) == PROFILES["smoke"]


def test_spec_holds_no_path_of_the_clone():
    assert as_dict(PROFILES["smoke"])["data"]["source"] == "${ROOT}/assets/tiny/rows.jsonl"


def test_models_of_the_full_study_are_pinned_to_commits():
    for model in PROFILES["full"].models:
        assert len(model.revision) == 40
        assert model.mirror is None or len(model.mirror_revision) == 40


def test_model_that_a_study_lacks_is_refused_with_those_that_it_has():
    study = PROFILES["smoke"]
    assert study.model("tiny-phi") is MODELS["tiny-phi"]
    refused = 'study smoke has no model "phi-2": choose from tiny-llama, tiny-mistral, tiny-phi'
    with pytest.raises(SettingError, match=refused):
        study.model("phi-2")
