"""What a user types in the notebook's form or the shell becomes a study, or one clear sentence."""

import pytest

from alpaca_lab.config import (
    LLAMA_LINEARS,
    PHI_LINEARS,
    TINY,
    DataSpec,
    ModelSpec,
    SettingError,
)
from alpaca_lab.profiles import (
    MODELS,
    PROFILES,
    configure,
    parse_columns,
    parse_data,
    parse_models,
)


def test_nothing_changed_is_the_profile():
    assert configure("smoke") == PROFILES["smoke"]


def test_changes_reach_their_field_as_text_or_as_value():
    study = configure(
        "smoke",
        changes={"train.epochs": "1", "questions": 5, "temperatures": "(0.5, 1.0)", "beams": "2"},
    )
    assert (study.train.epochs, study.questions) == (1.0, 5)
    assert (study.temperatures, study.beams) == ((0.5, 1.0), (2,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.epoch": "1"}, 'unknown setting "train.epoch".*epochs'),
        ({"colour": "red"}, 'unknown setting "colour"'),
        ({"questions": "many"}, "not a value like 60"),
        ({"questions": "1.5"}, "does not fit"),
        ({"train.batch_size": "0"}, "at least 1 row"),
    ],
)
def test_a_change_that_makes_no_sense_is_named(changes, message):
    with pytest.raises(SettingError, match=message):
        configure("smoke", changes=changes)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(SettingError, match="smoke, full"):
        configure("smke")
    with pytest.raises(SettingError, match="choose from llama-2-7b"):
        parse_models("llama-3")


def test_a_local_folder_replaces_the_hub(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    [model] = parse_models(f"llama-2-7b={tmp_path}")
    assert (model.source, model.revision, model.gated) == (str(tmp_path), None, False)


COMMIT = "0123456789abcdef" * 2 + "01234567"


def test_any_model_of_the_hub_has_a_name_of_the_users_own():
    [model] = parse_models(f"qwen2.5-0.5b = Qwen/Qwen2.5-0.5B@{COMMIT}")
    assert model == ModelSpec(
        key="qwen2.5-0.5b", title="qwen2.5-0.5b", source="Qwen/Qwen2.5-0.5B", revision=COMMIT
    )
    assert model.lora_targets == LLAMA_LINEARS


def test_any_folder_has_a_name_of_the_users_own_and_the_layers_of_its_blocks():
    mine, other = parse_models(f"mine={TINY / 'phi'}, other={TINY / 'mistral'}")
    assert (mine.key, mine.title, mine.source) == ("mine", "mine", str(TINY / "phi"))
    assert (mine.lora_targets, other.lora_targets) == (PHI_LINEARS, LLAMA_LINEARS)


def test_a_known_name_from_elsewhere_on_the_hub_keeps_its_title_and_layers():
    [model] = parse_models(f"phi-2=someone/phi-2-copy@{COMMIT}")
    assert (model.title, model.source, model.revision) == ("Phi-2", "someone/phi-2-copy", COMMIT)
    assert model.lora_targets == PHI_LINEARS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qwen", 'unknown model "qwen": choose .* or add one as NAME=owner/name@COMMIT or NAME=F'),
        ("qwen=", 'unknown model "qwen"'),
        ("qwen=Qwen/Qwen2.5-0.5B", "no folder here, and .* 40 hex digits: qwen=Qwen/.*@COMMIT"),
        ("qwen=Qwen/Qwen2.5-0.5B@main", "needs its commit in 40 hex digits"),
        ("qwen=nowhere/in/particular", "qwen: no config.json in /"),
        (f"a/b=Qwen/Qwen2.5-0.5B@{COMMIT}", 'model key "a/b" may hold'),
        (f"=Qwen/Qwen2.5-0.5B@{COMMIT}", 'model key "" may hold'),
    ],
)
def test_a_model_that_cannot_be_found_is_one_sentence(text, message):
    with pytest.raises(SettingError, match=message):
        parse_models(text)


def test_pickled_weights_are_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(SettingError, match="pickled weights are refused"):
        parse_models(f"phi-2={tmp_path}")


def test_missing_data_file_is_named_with_the_cure():
    with pytest.raises(SettingError, match=r"no such file: .*rows\.jsonl; give a \.json"):
        parse_data("nowhere/rows.jsonl", PROFILES["smoke"].data)


def test_hub_dataset_comes_with_its_commit():
    data = parse_data("tatsu-lab/alpaca", PROFILES["full"].data)
    assert (data.source, len(data.revision)) == ("tatsu-lab/alpaca", 40)
    with pytest.raises(SettingError, match="40 hex digits"):
        parse_data("someone/rows@main", PROFILES["full"].data)


def test_models_and_rows_that_we_know_have_their_licence():
    assert {key: model.license for key, model in MODELS.items()} == {
        "llama-2-7b": "llama2",
        "mistral-7b": "apache-2.0",
        "phi-2": "mit",
        "tiny-llama": "mit",
        "tiny-mistral": "mit",
        "tiny-phi": "mit",
    }
    assert (PROFILES["smoke"].data.license, PROFILES["full"].data.license) == (
        "mit",
        "cc-by-nc-4.0",
    )
    assert parse_data("tatsu-lab/alpaca", PROFILES["smoke"].data).license == "cc-by-nc-4.0"


def test_other_rows_do_not_inherit_a_licence(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    for data in (str(rows), f"someone/rows@{'0' * 40}"):
        assert parse_data(data, PROFILES["full"].data).license is None
    changed = {"data.source": str(rows)}
    assert configure("smoke", changes=changed).data.license is None
    assert configure("smoke", changes=changed | {"data.license": "mit"}).data.license == "mit"
    assert configure("smoke", data=str(rows), changes={"data.license": "mit"}).data.license == "mit"


def test_licence_is_an_identifier_of_the_hub():
    with pytest.raises(SettingError, match="data: license 'MIT License' is no identifier"):
        configure("smoke", changes={"data.license": "MIT License"})


def test_columns_are_named_part_by_part_and_the_others_keep_theirs():
    data = configure("smoke", columns="output = answer , instruction=question").data
    assert data.columns == ("question", "input", "answer")
    assert parse_columns("input=", data).columns == ("question", "", "answer")
    assert configure("smoke", columns=" , ").data == PROFILES["smoke"].data


def test_a_column_whose_name_holds_a_comma_is_set_by_its_field():
    data = configure("smoke", changes={"data.output_column": "answer, whole"}).data
    assert data.output_column == "answer, whole"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("question=instruction", "'question=instruction' is not PART=COLUMN with instruction, "),
        ("question", r'such as "instruction=question, output=answer"'),
        ("instruction=a, instruction=b", "columns: instruction is named twice"),
        ("instruction=text, output=text", "columns: 'text', 'input', 'text' names one column"),
        ("output=input", "names one column twice"),
        ("output=", "instruction and output need a column each"),
    ],
)
def test_columns_that_make_no_sense_are_named(columns, message):
    with pytest.raises(SettingError, match=message):
        parse_columns(columns, DataSpec())
