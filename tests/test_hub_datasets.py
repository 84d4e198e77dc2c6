"""A hub dataset is the one of its commit or none at all, read by the rules of its card."""

import json

import pytest

from alpaca_lab import data
from alpaca_lab.config import DataSpec, SettingError
from alpaca_lab.rows import cache as rows_cache
from alpaca_lab.rows.sources import read_hub
from faults.hub_stub import COMMIT, Fault

ROWS = [{"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(5)]
OLDER = "0ddba11" * 5 + "00000"
INSTEAD = "or give a local .json, .jsonl or .parquet file instead"


CARD = b"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: a.jsonl
---
"""


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture(autouse=True)
def own_tables(monkeypatch, tmp_path):
    """Keep what `datasets` makes of the rows in the test's folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def rows_on_hub(hub):
    hub.add("dataset", "lab/rows", COMMIT, {"README.md": b"# Rows", "rows.jsonl": lines(ROWS)})
    return hub


def test_rows_of_a_hub_dataset_are_those_of_its_file(rows_on_hub):
    assert read_hub("lab/rows", COMMIT) == ROWS


def test_a_dataset_that_is_there_is_read_without_a_request(rows_on_hub, monkeypatch):
    read_hub("lab/rows", COMMIT)
    rows_on_hub.mend()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert read_hub("lab/rows", COMMIT) == ROWS
    assert rows_on_hub.log == []


def test_another_commit_in_the_cache_is_never_taken_for_the_one_asked(hub):
    """What `datasets` does on its own: "using the latest cached version"."""
    hub.add("dataset", "lab/rows", OLDER, {"rows.jsonl": lines(ROWS[:3])})
    assert len(read_hub("lab/rows", OLDER)) == 3
    hub.breaks("", Fault(status=503))
    with pytest.raises(SettingError) as caught:
        read_hub("lab/rows", COMMIT)
    assert str(caught.value) == (
        "the dataset lab/rows could not be had, the hub does not answer (503): run again later, "
        f"{INSTEAD}"
    )


def test_train_is_what_the_card_says_it_is(hub):
    files = {"README.md": CARD, "a.jsonl": lines(ROWS[:2]), "b.jsonl": lines(ROWS[2:])}
    hub.add("dataset", "lab/rows", COMMIT, files)
    assert read_hub("lab/rows", COMMIT) == ROWS[:2]


def test_train_is_found_by_the_names_of_files_where_the_card_is_silent(hub, tmp_path):
    import pandas as pd

    pd.DataFrame(ROWS).to_parquet(tmp_path / "rows.parquet")
    table = (tmp_path / "rows.parquet").read_bytes()
    files = {"data/train-00000-of-00001.parquet": table, "data/test-00000-of-00001.parquet": table}
    hub.add("dataset", "lab/rows", COMMIT, files)
    assert read_hub("lab/rows", COMMIT) == ROWS


def test_a_dataset_made_by_code_is_refused_and_its_code_not_fetched(hub):
    hub.add("dataset", "lab/rows", COMMIT, {"README.md": b"", "rows.py": b"print('never')"})
    with pytest.raises(SettingError, match="cannot be read .* give a local "):
        read_hub("lab/rows", COMMIT)
    assert not hub.requests(where="rows.py")


@pytest.mark.parametrize(
    "files",
    [
        {"rows.jsonl": b'{"instruction": "Say'},
        {"README.md": b"---\nconfigs: [}\n---\n", "rows.jsonl": lines(ROWS)},
        {"data/test.jsonl": lines(ROWS)},
        {"rows.parquet": b"PAR1 not really"},
    ],
)
def test_a_dataset_that_cannot_be_read_is_one_sentence(hub, files):
    hub.add("dataset", "lab/rows", COMMIT, files)
    with pytest.raises(SettingError, match="^the dataset lab/rows cannot be read ") as caught:
        read_hub("lab/rows", COMMIT)
    assert str(caught.value).endswith(INSTEAD.removeprefix("or "))
    assert "\n" not in str(caught.value)


def test_a_dataset_of_which_a_file_is_lacking_is_not_read(rows_on_hub, monkeypatch, tmp_path):
    read_hub("lab/rows", COMMIT)
    for path in (tmp_path / "outputs" / "cache").iterdir():
        path.unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SettingError, match="no list of its files is in the cache"):
        read_hub("lab/rows", COMMIT)


def test_columns_of_a_hub_dataset_may_have_other_names(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(rows_cache, "OUTPUTS", tmp_path / "outputs")
    asked = [{"q": f"Say {n} in words.", "a": f"This is {n}."} for n in range(60)]
    hub.add("dataset", "lab/asked", COMMIT, {"rows.jsonl": lines(asked)})
    spec = DataSpec(
        source="lab/asked", revision=COMMIT, test_share=0.3, validation_share=0.2,
        instruction_column="q", input_column="", output_column="a",
    )  # fmt: skip
    found = [row for part in data.load(spec).splits().values() for row in part]
    assert sorted((row.instruction, row.output) for row in found) == sorted(
        (row["q"], row["a"]) for row in asked
    )
    with pytest.raises(SettingError, match="row 1 has no column 'instruction'; its .* 'q', 'a'"):
        data.load(DataSpec(source="lab/asked", revision=COMMIT))
