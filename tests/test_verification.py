"""Every file of a study against its checksum: damage is named with what mends it."""

import pandas as pd
import pytest

from alpaca_lab.files import RecordError, write_sums
from alpaca_lab.store import Record
from alpaca_lab.verification import AGAIN, verify


@pytest.fixture
def record(tmp_path):
    """A study with a sealed run, an open run, a finetune's losses and a table."""
    record = Record(tmp_path)
    record.write_index({"spec": {}, "questions": 1, "runs": {}})
    record.write_questions([{"id": "q1"}])
    for name in ("sealed", "open"):
        run = record.open_run({"model": name})
        run.append({"id": "q1", "repeat": 0, "status": "ok", "text": name})
        if name == "sealed":
            run.write_scores(pd.DataFrame([{"id": "q1", "repeat": 0, "rougeL": 50.0}]))
            run.seal({})
    manifest = {"adapter": {"folder": "outputs/none", "sha256": "0"}, "sha256": {}}
    record.write_training("tiny", manifest, pd.DataFrame({"step": [1], "loss": [2.5]}))
    record.table("main").parent.mkdir()
    record.table("main").with_suffix(".csv").write_text("model,mean\nm,50.0\n")
    write_sums(record.folder, ["tables/main.csv"])
    return record


def everything(record):
    return sorted(path for path in record.folder.rglob("[!.]*") if path.is_file())


def test_whole_study_has_nothing_to_say(record):
    files, damages = verify(record)
    assert damages == []
    assert files == len(everything(record)) - 1  # all but SHA256SUMS, which is the checksum


def test_each_flipped_bit_is_named_with_its_cure(record):
    for path in everything(record):
        whole = path.read_bytes()
        path.write_bytes(whole[:5] + bytes([whole[5] ^ 1]) + whole[6:])
        assert [(damage.path, damage.cure) for damage in verify(record)[1]] == [(path, AGAIN)]
        path.write_bytes(whole)


def test_executed_notebook_is_compared_once_it_is_whole(record):
    notebook = record.notebook
    notebook.parent.mkdir()
    notebook.write_text('{"cells": []}')
    assert verify(record)[1] == [], "papermill may be writing it"
    write_sums(notebook.parent, [notebook.name])
    assert verify(record)[1] == []
    notebook.write_text('{"cells": [}]')
    assert [(damage.path, damage.cure) for damage in verify(record)[1]] == [(notebook, AGAIN)]


def test_study_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RecordError, match="no study in"):
        verify(Record(tmp_path / "none"))
