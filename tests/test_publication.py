"""A record without its texts: nothing of a row or an answer in it, and every table follows."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from alpaca_lab import report, verification, withheld
from alpaca_lab.config import ROOT, TINY, DataSpec, SettingError, as_dict
from alpaca_lab.data import load, question
from alpaca_lab.datasheet import report as data_report
from alpaca_lab.files import RecordError, append_line, read_lines, write_atomically, write_sums
from alpaca_lab.human import draw, ratings
from alpaca_lab.human import plan as plans
from alpaca_lab.human.ratings import Entry
from alpaca_lab.metrics.closeness import Closeness
from alpaca_lab.original import page as original_page
from alpaca_lab.original import protocol
from alpaca_lab.original import scores as original_scores
from alpaca_lab.publication import forms, texts
from alpaca_lab.publication.publishing import publish, summary
from alpaca_lab.store import Record
from test_judge import Stub, longer
from test_report import STUDY as WIDE
from test_report import fabricate

pytestmark = pytest.mark.usefixtures("sketched")
ANSWER = "the answer of a model that nobody may ever publish anywhere"
REJECTED = "a poster of the sea that was never drawn by anyone at all"
ALIKE = "name every harbour of the northern coast and how deep each is"
PNG = b"\x89PNG\r\n\x1a\n"
STUDY = replace(WIDE, models=WIDE.models[:1], temperatures=(1.0,), beams=(), top_ks=())
PLACE = "/home/someone/rows.jsonl"


@pytest.fixture(autouse=True, scope="module")
def sketched():
    """Figures are not what is tested here, and take most of a build's seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("axis", "main", "contrasts", "cost", "loss"):
            patch.setattr(report.figures, name, lambda *_, **__: PNG)
        for name in ("scores", "metrics"):
            patch.setattr(report.human_figures, name, lambda *_, **__: PNG)
        # The made-up runs ask by other names than a real study's.
        patch.setitem(forms.FIELDS, r"runs/[0-9a-f]{12}/request\.json", {"model", "cell"})
        yield


def row(number):
    things = f"number {number} of the many things that someone once asked a model to do"
    return {"instruction": f"Do {things}.", "input": "", "output": f"Here is {things}, done."}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Rows of which one is rejected, two ask nearly the same and one input says there is none."""
    rows = [row(number) for number in range(120)]
    rows += [{"instruction": REJECTED, "input": "", "output": "<nooutput>"}]
    rows += [row(200) | {"instruction": ALIKE}, row(201) | {"instruction": f"Please {ALIKE}"}]
    rows += [row(202) | {"input": "No input required."}]
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return load(DataSpec(source=str(path), revision=None, test_share=0.4, validation_share=0.1))


@pytest.fixture(scope="module")
def record(dataset, tmp_path_factory):
    """A finished record with all that a study can write."""
    record = fabricate(tmp_path_factory.mktemp("full") / "made-up", study=STUDY, text=ANSWER)
    asked = [question(one) for one in dataset.test[:12]]
    record.write_questions(
        one | {"id": f"q{number:02}", "cluster": f"c{number:02}"}
        for number, one in enumerate(asked)
    )
    spec = as_dict(replace(STUDY, data=DataSpec(source=PLACE, revision=None)))
    facts = {"spec": spec, "data": dataset.manifest(), "questions": 12}
    record.write_index(record.index() | facts)
    data_report.write(dataset, record.folder / "data")
    for model in STUDY.models:
        made, losses = record.training(model.key)
        made |= {"adapter": {"folder": "outputs/none", "sha256": "0" * 64}}
        record.write_training(model.key, made, losses)
    _rated(record)
    _judged(record)
    _replicated(record)
    write_atomically(record.notebook, json.dumps({"cells": [{"outputs": [ANSWER]}]}))
    write_sums(record.notebook.parent, [record.notebook.name])
    report.build(record)
    return record


def _rated(record):
    drawn = draw.write(
        record, mode="acceptability", questions=2, settings="", raters="anna", overlap=0.0, seed=0
    )
    for item in drawn.order["anna"][:2]:
        entry = Entry(time="2025-01-01T00:00:00+00:00", rater="anna", item=item, action="rated",
                      score=3)  # fmt: skip
        ratings.append(record, plans.read(record, "acceptability"), [entry])


def _judged(record):
    from alpaca_lab.judge import stage

    source = str(TINY / "llama")
    stage.judge_study(record, source, questions=2, open_judge=lambda spec: Stub(longer))


def _replicated(record):
    folder = record.folder / "original"
    folder.mkdir()
    for number in range(3):
        whole = protocol.render(f"{ALIKE} number {number}", "", ANSWER)
        line = {"id": str(number), "group": "Alpha, default", "model": "alpha"}
        line |= {"setting": "default", "reference_text": whole, "candidate_text": f"{whole} More."}
        append_line(folder / "texts.jsonl", line)
    none = Closeness()
    scored = protocol.score(read_lines(folder / "texts.jsonl"), whole=none, answers=none)
    scored = scored.assign(model="alpha", setting="default", mde=None)
    table = scored[list(original_scores.COLUMNS)].to_csv(index=False, lineterminator="\n")
    write_atomically(folder / "scores.csv", table)
    page = original_page.to_markdown(original_scores.read(record))
    write_atomically(folder / "original.md", page)
    write_sums(folder, ("original.md", "scores.csv"))


@pytest.fixture(scope="module")
def published(record, tmp_path_factory):
    """Its published copy, and what became of each file."""
    folder = tmp_path_factory.mktemp("published") / "made-up"
    return Record(folder), publish(record, folder)


@pytest.fixture
def full(record, tmp_path):
    """A copy of the full record, to be changed."""
    return Record(shutil.copytree(record.folder, tmp_path / "made-up"))


@pytest.fixture
def copied(published, tmp_path):
    """A copy of the published record, to be changed."""
    return Record(shutil.copytree(published[0].folder, tmp_path / "made-up"))


def files(record):
    return {
        path.relative_to(record.folder).as_posix()
        for path in record.folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_no_text_of_a_row_or_an_answer_stands_in_any_file(record, published, dataset):
    """Searched as bytes and as what a file says, and by every eight words of each text."""
    secret = {ANSWER, REJECTED, ALIKE}
    for rows in dataset.splits().values():
        secret |= {text for one in rows for text in (one.instruction, one.output)}
    paths = [published[0].folder / name for name in sorted(files(published[0]))]
    for path in paths:
        said = path.read_bytes().decode(errors="ignore") + "\n".join(texts.contents(path))
        assert not [text for text in secret if text in said], path
    texts.refuse_pieces(paths, of=secret)
    with pytest.raises(RecordError, match="words of a text"):  # which finds them where they are
        texts.refuse_pieces([record.folder / "questions.jsonl"], of=secret)


def test_each_file_is_there_or_in_the_list_of_what_is_withheld(record, published):
    listed = withheld.changes(published[0].folder)
    gone = files(record) - files(published[0])
    assert gone == {path for path, change in listed.items() if change["kept"] is None}
    assert gone == {"data/report.md", "original/texts.jsonl", "notebook/master_file.ipynb",
                    "notebook/SHA256SUMS"} | {
        path for path in files(record) if path.endswith("/answers.jsonl")
    }  # fmt: skip
    assert files(published[0]) - files(record) == {"withheld.json"}
    kept = {path for path, change in listed.items() if change["kept"] is not None}
    assert kept == {"study.json", "questions.jsonl", "report.html", "data/rejected.csv",
                    "data/duplicates.csv", "data/contamination.csv"}  # fmt: skip
    for path in files(record) & files(published[0]) - kept:
        if not path.endswith("SHA256SUMS"):
            one, other = (part.folder / path for part in (record, published[0]))
            assert one.read_bytes() == other.read_bytes(), path


def test_withheld_files_are_listed_with_the_sha256_that_they_had(record, published):
    from alpaca_lab.files import sha256_file

    for path, change in withheld.changes(published[0].folder).items():
        assert change["sha256"] == sha256_file(record.folder / path)


def test_run_still_says_which_answers_were_scored(published):
    listed = withheld.changes(published[0].folder)
    for _, _, run in published[0].runs():
        answers = run.manifest()["sha256"]["answers.jsonl"]
        assert answers == listed[f"runs/{run.id}/answers.jsonl"]["sha256"]


def test_published_record_is_whole_and_every_table_follows(published):
    assert verification.verify(published[0])[1] == []
    assert report.check(published[0]) == []


def test_tables_are_built_again_to_the_same_bytes(copied):
    before = {path: (copied.folder / path).read_bytes() for path in files(copied)}
    shutil.rmtree(copied.folder / "tables")
    report.build(copied)
    assert {path: (copied.folder / path).read_bytes() for path in files(copied)} == before


def test_question_is_found_again_by_whoever_has_its_row(record, published):
    from hashlib import sha256

    for full, keyed in zip(record.questions(), published[0].question_lines(), strict=True):
        assert keyed == {"id": full["id"], "cluster": full["cluster"]} | {
            f"{name}_sha256": sha256(full[name].encode()).hexdigest()
            for name in ("instruction", "input", "reference")
        }


def test_data_keep_their_counts_and_ids(published):
    frames = {
        name: pd.read_csv(published[0].folder / "data" / f"{name}.csv")
        for name in ("rejected", "duplicates", "contamination")
    }
    assert frames["rejected"].to_dict("records") == [{"row": 121, "reason": "placeholder output"}]
    assert list(frames["duplicates"]) == ["one", "two", "jaccard", "cluster"]
    assert len(frames["duplicates"]) > 0 and len(frames["contamination"]) > 0
    assert list(frames["contamination"])[-1] == "train_id"


def test_no_place_of_a_machine_is_published(published):
    index = published[0].index()
    assert index["spec"]["data"]["source"] == "rows.jsonl"
    assert index["spec"]["models"][0]["source"] == "someone/alpha"
    assert PLACE not in (published[0].folder / "study.json").read_text()


def test_page_says_that_examples_are_withheld(published):
    page = (published[0].folder / "report.html").read_text()
    assert report.NO_EXAMPLES in page


def test_whatever_needs_a_text_says_in_one_sentence_what_to_do(published):
    record = published[0]
    from alpaca_lab import study
    from alpaca_lab.exports.source import open_source
    from alpaca_lab.human.items import Texts
    from alpaca_lab.judge.pairs import reference_pairs
    from alpaca_lab.scoring import score

    drawn = plans.read(record, "acceptability")
    item = next(iter(drawn.items.values()))
    for needs in (
        record.questions,
        lambda: next(record.runs())[2].answers(),
        lambda: report.examples(record),
        lambda: study.prepare(STUDY, record=record),
        lambda: score.score(STUDY, record=record),
        lambda: reference_pairs(record),
        lambda: Texts(record).of(item),
        lambda: open_source(record, "alpha"),
        lambda: original_scores.repeat(STUDY, record=record),
        lambda: publish(record, record.folder.parent / "again"),
    ):
        with pytest.raises(RecordError, match="published without its texts.*run the study again"):
            needs()


def test_lost_file_is_told_from_a_withheld_one(copied):
    run = next(copied.runs())[2]
    (run.folder / "scores.parquet").unlink()
    [damage] = verification.verify(copied)[1]
    assert (damage.path, damage.cure) == (run.folder / "scores.parquet", withheld.RESTORE)
    with pytest.raises(RecordError, match="scores.parquet is damaged"):
        report.check(copied)


def test_answers_put_back_are_compared_with_the_manifest(record, copied):
    run = next(copied.runs())[2]
    shutil.copy(record.folder / "runs" / run.id / "answers.jsonl", run.folder)
    assert verification.verify(copied)[1] == []
    (run.folder / "answers.jsonl").write_text("{}\n")
    assert [damage.path.name for damage in verification.verify(copied)[1]] == ["answers.jsonl"]


def test_damaged_list_of_what_is_withheld_is_named_alone(copied):
    path = copied.folder / "withheld.json"
    path.write_text(path.read_text().replace("answers", "answerz", 1))
    [damage] = verification.verify(copied)[1]
    assert (damage.path, damage.cure) == (path, withheld.RESTORE)


def test_withheld_file_of_another_sha256_is_lost(copied):
    """Which answers were scored must stay known."""
    from alpaca_lab.files import write_json

    listed = withheld.changes(copied.folder)
    run = next(copied.runs())[2]
    listed[f"runs/{run.id}/answers.jsonl"]["sha256"] = "0" * 64
    write_json(copied.folder / "withheld.json", {"files": listed})
    assert [damage.path for damage in verification.verify(copied)[1]] == [
        run.folder / "answers.jsonl"
    ]


@pytest.mark.parametrize(
    "path", ["notes.txt", "runs/RUN/answers.txt", "tables/.main.csv.bak", "data/rows.json"]
)
def test_unknown_file_is_refused_by_name(full, path):
    path = path.replace("RUN", next(full.runs())[2].id)
    (full.folder / path).write_text("x")
    with pytest.raises(RecordError, match="is no file that a study writes: move it"):
        publish(full, full.folder.parent / "copy")
    assert not (full.folder.parent / "copy").exists()


def test_unknown_field_is_refused_however_short_its_text(full):
    """Such as "Yes", which cannot be searched for."""
    append_line(full.folder / "questions.jsonl", {"id": "q99", "cluster": "c", "hint": "Yes"})
    with pytest.raises(RecordError, match="has a field 'hint' that may hold a text"):
        forms.of(full.folder, "questions.jsonl")
    run = next(full.runs())[2]
    scores = run.scores().assign(answer="Yes")
    scores.to_parquet(run.folder / "scores.parquet")
    with pytest.raises(RecordError, match="has a field 'answer' that may hold a text"):
        forms.of(full.folder, f"runs/{run.id}/scores.parquet")


def test_text_in_a_copied_file_is_found_and_nothing_is_published(full):
    """A rater may have quoted an answer as the reason."""
    drawn = plans.read(full, "acceptability")
    entry = Entry(time="2025-01-01T00:00:00+00:00", rater="anna", item=drawn.order["anna"][2],
                  action="skipped", reason=f"It says: {ANSWER.upper()}!")  # fmt: skip
    ratings.append(full, drawn, [entry])
    report.build(full)
    with pytest.raises(RecordError, match=r'ratings.csv has "the answer of a model that nobody'):
        publish(full, full.folder.parent / "copy")
    assert [path.name for path in full.folder.parent.iterdir()] == ["made-up"]


def test_table_that_does_not_follow_is_not_published(full):
    path = full.table("main").with_suffix(".csv")
    path.write_text(path.read_text().replace("rougeL", "rougeX"))
    listed = [
        line.split("  ")[1] for line in (full.folder / "SHA256SUMS").read_text().splitlines()[:-1]
    ]
    write_sums(full.folder, listed)  # whoever edits a table can do that too
    with pytest.raises(RecordError, match="main.csv does not follow from the rows"):
        publish(full, full.folder.parent / "copy")


def test_unfinished_and_damaged_records_are_not_published(full, tmp_path):
    with pytest.raises(RecordError, match="no such file"):
        publish(Record(tmp_path / "none"), tmp_path / "copy")
    run = full.open_run({"model": "alpha", "cell": "begun"})
    with pytest.raises(RecordError, match=f"{run.id} is not finished"):
        publish(full, tmp_path / "copy")
    shutil.rmtree(run.folder)
    (full.folder / "data" / "rejected.csv").unlink()
    with pytest.raises(RecordError, match="rejected.csv is damaged"):
        publish(full, tmp_path / "copy")


def test_only_an_earlier_copy_is_replaced(record, copied, tmp_path):
    (copied.folder / "withheld.json").unlink()
    for place in (copied.folder, record.folder, record.folder / "copy", record.folder.parent):
        with pytest.raises(SettingError, match="--to"):
            publish(record, place)
    assert copied.folder.is_dir() and record.folder.is_dir()
    folder = tmp_path / "copy"
    publish(record, folder)
    (folder / "report.html").unlink()
    publish(record, folder)
    assert (folder / "report.html").is_file()


def test_summary_counts_every_file(record, published):
    lines = summary(published[1]).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["copied", "without", "left", "made", "in"]
    assert int(lines[-1].split()[2]) == len(files(record)) + 1


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode > 1:
        pytest.skip("this is no git checkout")
    return done.stdout.splitlines()


def test_small_study_is_committed_and_what_holds_its_texts_is_not():
    run = "results/small/runs/0123456789ab"
    kept = ["results/small/study.json", f"{run}/scores.parquet", "results/small/data/rejected.csv"]
    texts = [f"{run}/answers.jsonl", f"{run}/answers.1.jsonl"]
    texts += [f"results/small/{path}" for path in ("original/texts.jsonl", "data/report.md")]
    texts += ["results/small/notebook/master_file.ipynb"]
    others = ["results/smoke/study.json", "results/small/.study.lock"]
    assert git("check-ignore", "--no-index", *kept, *texts, *others) == texts + others


def test_every_study_that_is_committed_is_a_published_one():
    names = [Path(path).parent.name for path in git("ls-files", "results/*/study.json")]
    if not names:
        pytest.skip("no study is committed")
    for name in names:
        record = Record.of(name)
        assert record.is_published, name
        assert verification.verify(record)[1] == []
        for path in git("ls-files", f"results/{name}"):
            path = path.removeprefix(f"results/{name}/")
            assert path == withheld.NAME or forms.kind(path) != forms.LEFT_OUT, path


SENTENCE = "one two three four five six seven eight nine"
PIECES = [
    # the file's ending, its content, whether eight words of SENTENCE stand there
    ("md", "One, two\nthree *four* five: six seven eight.", True),
    ("md", "one two three four five six seven", False),
    ("md", "one two three four and five six seven eight", False),
    ("html", "<p>one two <b>three</b> four five&nbsp;six seven eight</p>", True),
    ("json", json.dumps({"a": [{"b": "one two\nthree four five six seven eight"}]}), True),
    ("jsonl", json.dumps({"one two three four five six seven eight": 1}) + "\n", True),
]


@pytest.mark.parametrize(("ending", "content", "found"), PIECES)
def test_eight_words_in_a_row_are_found_whatever_stands_between(tmp_path, ending, content, found):
    path = tmp_path / f"file.{ending}"
    path.write_text(content)
    if found:
        with pytest.raises(RecordError, match='has "one two three four five six seven eight"'):
            texts.refuse_pieces([path], of=[SENTENCE])
    else:
        texts.refuse_pieces([path], of=[SENTENCE])


def test_words_are_found_in_columns_and_beside_pictures(tmp_path):
    from matplotlib.figure import Figure

    table, picture = tmp_path / "a.parquet", tmp_path / "a.png"
    pd.DataFrame({"n": [1, 2], "said": [None, SENTENCE]}).to_parquet(table)
    Figure().savefig(picture, metadata={"Description": SENTENCE})
    for path in (table, picture):
        with pytest.raises(RecordError, match=path.name):
            texts.refuse_pieces([path], of=[SENTENCE])


def test_numbers_alone_are_no_piece_of_a_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("0,0,0,0,0,0,0,0,0,0\n")
    texts.refuse_pieces([path], of=["0 0 0 0 0 0 0 0 0"])
