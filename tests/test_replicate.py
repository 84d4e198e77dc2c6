"""The first study's decoding, repeated: its settings, what they inherit, and resuming."""

import json

import pandas as pd
import pytest

from alpaca_lab import stats, store
from alpaca_lab.config import DataSpec, SettingError
from alpaca_lab.files import as_line, read_lines
from alpaca_lab.metrics.closeness import Closeness
from alpaca_lab.original import protocol, replicate, whole_text
from alpaca_lab.original import scores as original_scores
from alpaca_lab.original.published import figures
from alpaca_lab.original.readme import settings
from alpaca_lab.profiles import MODELS

LLAMA2 = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 4096}
"""What the checkpoint of LLaMA-2-7B ships in generation_config.json."""


def test_grid_is_that_of_the_published_tables():
    found = {(setting.axis, setting.value) for setting in replicate.grid()}
    rows = figures()
    printed = {
        (table, None if pd.isna(value) else value)
        for table, value in zip(rows["table"], rows["value"], strict=True)
    }
    assert found == printed and len(found) == 13


def test_every_setting_but_the_default_samples_and_turns_one_knob():
    default, *others = replicate.grid()
    assert (default.name, dict(default.asked)) == ("default", {})
    for setting in others:
        assert setting.asked == {"do_sample": True, setting.axis: setting.value}


INHERITED = [
    # asked, shipped, expected of the resolved fields
    ({}, LLAMA2, {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 50}),
    ({}, {}, {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "num_beams": 1}),
    ({"do_sample": True, "temperature": 0.25}, LLAMA2, {"temperature": 0.25, "top_p": 0.9}),
    ({"do_sample": True, "num_beams": 4}, LLAMA2, {"num_beams": 4, "temperature": 0.6}),
    ({"do_sample": True, "top_k": 2}, {"top_p": None}, {"top_k": 2, "top_p": 1.0}),
]


@pytest.mark.parametrize(("asked", "shipped", "expected"), INHERITED)
def test_unset_fields_are_the_checkpoints_and_then_the_librarys(asked, shipped, expected):
    fields = replicate.resolve(asked, shipped)
    assert {name: fields[name] for name in expected} == expected
    assert fields["max_new_tokens"] == 64 and "max_length" not in fields


def rows_file(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSpec(source=str(path), revision=None)


def test_rows_are_the_first_twenty_as_they_stand(tmp_path):
    rows = [{"instruction": f"Say {n}.", "input": None, "output": "<nooutput>"} for n in range(25)]
    found = replicate.first_rows(rows_file(tmp_path, rows))
    assert [row["instruction"] for row in found] == [f"Say {n}." for n in range(20)]
    assert found[0] == {"instruction": "Say 0.", "input": "", "output": "<nooutput>"}


def test_too_few_rows_and_rows_without_text_are_refused(tmp_path):
    row = {"instruction": "Say it.", "output": "It."}
    with pytest.raises(SettingError, match="has 3 rows; the protocol takes 20"):
        replicate.first_rows(rows_file(tmp_path, [row] * 3))
    with pytest.raises(SettingError, match="row 2: needs instruction and output"):
        replicate.first_rows(rows_file(tmp_path, [row, {"instruction": 5}, *[row] * 18]))


@pytest.fixture(scope="module")
def loaded():
    pytest.importorskip("torch")
    from alpaca_lab import hardware, models

    hardware.claim_device(None)
    return models.load_decoder(MODELS["tiny-llama"], None)


@pytest.mark.model
@pytest.mark.parametrize("asked", [{}, {"do_sample": True, "num_beams": 2}, {"top_k": 4}])
def test_resolved_fields_decode_what_generate_decodes_when_left_to_inherit(loaded, asked):
    """With the fields that LLaMA-2 ships set on the checkpoint, and torch seeded alike."""
    import torch

    model, tokenizer = loaded
    shipped = {name: LLAMA2[name] for name in ("do_sample", "temperature", "top_p")}
    before = model.generation_config.to_dict()
    prompts = [protocol.render("Name a color."), protocol.render("Use bear and gate.", "Now.")]
    try:
        model.generation_config.update(**shipped)
        batch = tokenizer(prompts, padding=True, return_tensors="pt")
        torch.manual_seed(5)
        inherited = model.generate(**batch, max_new_tokens=64, **asked)
    finally:
        model.generation_config.update(**{name: before.get(name) for name in shipped})
    fields = replicate.resolve(asked, shipped)
    found = replicate.generate(model, tokenizer, prompts, fields, seed=5)
    expected = tokenizer.batch_decode(inherited, skip_special_tokens=True)
    assert [text for text, _, _ in found] == expected


@pytest.mark.model
def test_seed_decides_and_the_callers_random_state_is_left_alone(loaded):
    import torch

    fields = replicate.resolve({"do_sample": True}, {})
    prompts = [protocol.render("Tell a story about a spider.")]
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = replicate.generate(*loaded, prompts, fields, seed=1)
    assert torch.rand(1) == expected
    assert replicate.generate(*loaded, prompts, fields, seed=1) == one
    assert replicate.generate(*loaded, prompts, fields, seed=2) != one


@pytest.mark.model
def test_answer_ends_at_its_eos_or_at_the_64_tokens(loaded):
    fields = replicate.resolve({}, {}) | {"max_new_tokens": 3}
    [(text, n, reason)] = replicate.generate(*loaded, [protocol.render("Hi.")], fields, seed=0)
    assert (n, reason) == (3, "length")
    [(text, n, reason)] = replicate.generate(
        *loaded, [protocol.render("Name a color.")], replicate.resolve({}, {}), seed=0
    )
    parts = whole_text.split(protocol.render("Name a color.", "", "Red."), text)
    assert reason == "eos" and parts.same_prompt
    # EOS counts as a token, and the answer's own text has no special token.
    assert n == len(loaded[1](parts.answer, add_special_tokens=False).input_ids) + 1


@pytest.fixture(scope="module")
def repeated(finetuned):
    """A replicate of three settings with the finetuned tiny LLaMA: its study, record and file."""
    study, record, _ = finetuned
    chosen = [
        s for s in replicate.grid() if s.name in ("default", "temperature=0.5", "num_beams=8")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "OUTPUTS", record.folder.parent / "outputs")
        patch.setattr(replicate, "grid", lambda: iter(chosen))
        yield study, record, replicate.decode(study, record=record)


@pytest.mark.model
def test_every_row_is_decoded_once_in_every_setting_with_its_fields(repeated):
    *_, path = repeated
    lines = read_lines(path)
    assert len(lines) == 3 * 20 == len({(line["setting"], line["id"]) for line in lines})
    beams = [line for line in lines if line["setting"] == "num_beams=8"]
    assert all(line["fields"]["do_sample"] and line["fields"]["top_k"] == 50 for line in beams)
    assert all(1 <= line["n_new_tokens"] <= 64 for line in lines)
    for line in lines:
        assert whole_text.split(line["reference_text"], line["candidate_text"]).same_prompt


@pytest.mark.model
def test_what_is_decoded_is_not_decoded_again_and_a_cut_part_is_the_same_again(repeated):
    study, record, path = repeated
    before = path.read_text()
    calls = []
    whole = replicate.generate

    def counted(*arguments, **options):
        calls.append(arguments[2])
        return whole(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicate, "generate", counted)
        replicate.decode(study, record=record)
        assert calls == []
        path.write_text("\n".join(before.splitlines()[:-3]) + "\n")
        replicate.decode(study, record=record)
    # Eight beams are decoded five rows at a time: one such part had lost rows.
    assert [len(prompts) for prompts in calls] == [5]
    assert path.read_text() == before


@pytest.mark.model
def test_text_of_another_request_is_dropped(repeated):
    study, record, path = repeated
    before = path.read_text()
    stale = read_lines(path)[0] | {"request": "0" * 12, "candidate_text": "stale"}
    path.write_bytes(as_line(stale) + path.read_bytes())
    replicate.decode(study, record=record)
    assert path.read_text() == before


@pytest.mark.model
def test_scores_are_those_of_the_scorer_and_say_what_could_be_seen(repeated):
    study, record, path = repeated
    none = Closeness()
    table = original_scores.score(study, record=record, whole=none, answers=none)
    lines = read_lines(path)
    direct = protocol.score(lines, whole=none, answers=none)
    kept = table[~table["metric"].isin(("cut", "trained_on"))].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[list(protocol.COLUMNS)], direct, check_dtype=False)
    hot = table[table["setting"] == "temperature=0.5"].set_index(["protocol", "metric"])
    rows = protocol.score_rows(lines, whole=none, answers=none)
    by_setting = {
        name: part["rougeL"].to_numpy()
        for name, part in rows.groupby(pd.Series([line["setting"] for line in lines]))
    }
    moved = by_setting["temperature=0.5"] - by_setting["default"]
    expected = stats.minimum_detectable_effect(moved.std(ddof=1), 20)
    assert hot.loc[("original", "rougeL"), "mde"] == pytest.approx(expected)
    cut = sum(
        line["finish_reason"] == "length" for line in lines if line["setting"] == "temperature=0.5"
    )
    assert hot.loc[("original", "cut"), "value"] == cut / 20
    read = pd.read_csv(path.with_name("scores.csv"))
    assert tuple(read.columns) == original_scores.COLUMNS
    assert path.with_name("original.md").read_text().count("Not a valid measurement") == 1


@pytest.mark.model
def test_share_of_rows_that_were_trained_on_is_counted_or_blank(repeated):
    from alpaca_lab import data

    study, record, _ = repeated
    trained = {row.instruction + row.input for row in data.load(study.data).train}
    first = replicate.first_rows(study.data)
    expected = sum(row["instruction"] + row["input"] in trained for row in first) / 20
    none = Closeness()
    table = original_scores.score(study, record=record, whole=none, answers=none)
    assert table.loc[table["metric"] == "trained_on", "value"].eq(expected).all()
    index = record.index()
    try:
        record.write_index(index | {"data": {}})
        table = original_scores.score(study, record=record, whole=none, answers=none)
    finally:
        record.write_index(index)
    assert table.loc[table["metric"] == "trained_on", "value"].isna().all()


@pytest.mark.model
def test_encoders_are_fetched_before_a_local_checkpoint_takes_the_process_off_the_hub(
    repeated, monkeypatch
):
    study, record, _ = repeated
    calls = []
    monkeypatch.setattr(original_scores.encoders, "locate", lambda spec: calls.append(spec.name))
    monkeypatch.setattr(original_scores, "decode", lambda *_, **__: calls.append("decode"))
    monkeypatch.setattr(original_scores.closeness, "of", lambda spec: Closeness(missing=spec.name))
    table = original_scores.repeat(study, record=record)
    assert calls == ["bert-base-uncased", study.encoder.name, "decode"]
    notes = table[table["metric"] == "bertscore_f1"].groupby("protocol")["note"].unique()
    assert notes["original"].tolist() == ["bert-base-uncased"]
    assert notes["canonical"].tolist() == [study.encoder.name]


def test_page_spells_out_what_each_setting_inherited():
    """LLaMA-2 ships temperature 0.6 and top_p 0.9; the library's top_k is 50 where none is set."""
    rows = [line.replace("\u00a0", " ").replace("\\", "") for line in settings().splitlines()]
    assert len(rows) == 2 + 13
    assert rows[2] == (
        "| default | nothing | temperature 0.6, top_k 50, top_p 0.9, num_beams 1 | greedy |"
    )
    [beams] = [row for row in rows if row.startswith("| num_beams=4 ")]
    assert "temperature 0.6, top_k 50, top_p 0.9, num_beams 4" in beams
    assert "temperature 1, top_k 50, top_p 1, num_beams 4" in beams
