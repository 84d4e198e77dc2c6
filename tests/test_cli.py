"""The command line as a user meets it: one sentence for what can be mended, exit status not 0."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from alpaca_lab import store
from alpaca_lab.config import ROOT

ROW = {"instruction": "Say hello.", "input": "", "output": "Hello."}


def lab(*arguments, **environment):
    command = [sys.executable, "-m", "alpaca_lab", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=300
    )


def test_every_command_has_help():
    from typer.main import get_command
    from typer.testing import CliRunner

    from alpaca_lab.__main__ import app

    commands = get_command(app).commands
    known = {"run", "finetune", "generate", "score", "report", "data", "plan", "export"}
    assert known <= set(commands)
    for name in commands:
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0 and "Usage" in shown.stdout
        assert commands[name].help, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "smke"), 'unknown profile "smke": choose from smoke, full'),
        (("--models", "gpt-5"), 'unknown model "gpt-5"'),
        (("--data", "nowhere.jsonl"), "no such file"),
        (("--set", "train.epochs"), "expected FIELD=VALUE"),
        (("--set", "train.batch_size=0"), "at least 1 row"),
        (("--set", "temperatures=(0.0,)"), "temperature must be > 0"),
        (("--name", "../elsewhere"), "may hold letters"),
    ],
)
def test_wrong_choice_is_one_sentence(arguments, message):
    done = lab("run", *arguments)
    assert done.returncode == 2
    [sentence] = done.stderr.strip().splitlines()
    assert sentence.startswith("error: ") and message in sentence


def test_wrong_choice_leaves_no_folder_for_its_notebook():
    done = lab("execute", "--data", "nowhere.jsonl", "--name", "never-begun")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no such file") and done.stderr.count("\n") == 1
    assert not (store.RESULTS / "never-begun").exists()


@pytest.mark.parametrize(
    ("name", "left"),
    [("", True), ("..", True), ("mine other", True), ("it's", True), ("mine", False)],
)
def test_clean_removes_the_results_of_one_study_alone(name, left, tmp_path):
    """Far from the repository: this is `rm -rf`."""
    for study in ("mine", "other"):
        (tmp_path / "results" / study).mkdir(parents=True)
    words = ["make", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "clean", f"NAME={name}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode != 0) == left == (tmp_path / "results" / "mine").exists()
    assert ("error: NAME names one study" in done.stderr) == left
    assert (tmp_path / "results" / "other").exists()


def test_row_without_output_is_named_and_nothing_is_left(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({"instruction": "x", "text": "y"}) + "\n")
    done = lab("run", "--data", str(path), "--name", "never-begun")
    assert done.returncode == 2
    assert "rows.jsonl, row 2 has no column 'output'" in done.stderr
    assert not (store.RESULTS / "never-begun").exists()


def test_report_of_nothing_says_what_to_do():
    done = lab("report", "--name", "never-begun", "--check")
    assert done.returncode == 2
    assert "no such file" in done.stderr and "run the stage" in done.stderr


def test_preflight_says_what_this_machine_can_run():
    done = lab("preflight", "--profile", "smoke")
    assert done.returncode == 0
    assert "decode Tiny Phi" in done.stdout


def test_report_needs_no_torch():
    code = (
        "import sys; from alpaca_lab import __main__, report; "
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_interrupt_ends_in_what_to_do_next(monkeypatch, capsys):
    from alpaca_lab import __main__, study

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "prepare", stopped)
    monkeypatch.setattr(sys, "argv", ["alpaca_lab", "run"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "stopped; run the same command again to go on from here\n"


def test_full_disk_ends_in_one_sentence(monkeypatch, capsys):
    import errno

    from alpaca_lab import __main__, study

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "results/smoke/study.json")

    monkeypatch.setattr(study, "prepare", no_space)
    monkeypatch.setattr(sys, "argv", ["alpaca_lab", "run"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: the disk is full (results/smoke/study.json)")


ANSWERS = [
    {"id": 1, "group": "old", "reference": "the sky is blue", "answer": "it is blue"},
    {"id": 2, "group": "old", "reference": "Paris", "answer": "Lyon"},
    {"id": 1, "group": "new", "reference": "the sky is blue", "answer": "the sky is blue"},
    {"id": 2, "group": "new", "reference": "Paris", "answer": "Paris"},
]


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in ANSWERS))
    return str(path)


def test_anyones_answers_are_scored_and_compared(answers):
    done = lab("score", answers, "--baseline", "old", "--encoder", "none")
    assert done.returncode == 0
    # ROUGE-L of "it is blue": 2 of 3 and 2 of 4 words, 57.14; so 28.57 against 100.
    assert "28.57" in done.stdout and "100.00" in done.stdout
    assert "Differences from old" in done.stdout


def test_scores_are_there_for_machines_too(answers):
    rows = json.loads(lab("score", answers, "--json").stdout)["rows"]
    [new] = [row for row in rows if (row["group"], row["metric"]) == ("new", "bertscore_f1")]
    assert new["mean"] == pytest.approx(100)
    assert "all-MiniLM-L6-v2" in new["signature"]
    header = lab("score", answers, "--csv", "--encoder", "none").stdout.splitlines()[0]
    assert header.startswith("group,metric,n,")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--baseline", "best"), 'no group "best" in the file: choose from old, new'),
        (("--encoder", "gpt-5"), 'unknown encoder "gpt-5": choose from'),
        (("--protocol", "fair"), 'unknown protocol "fair": choose canonical or original'),
        (("--protocol", "original"), "answers.jsonl:1 has no `reference_text`"),
        (("--protocol", "original", "--baseline", "old"), "has no tests; leave it out"),
        (("--json", "--csv"), "choose one"),
    ],
)
def test_wrong_option_of_score_is_one_sentence(answers, options, message):
    done = lab("score", answers, *options)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert message in done.stderr


def test_data_are_described_before_anything_is_trained(tmp_path):
    from alpaca_lab.store import RESULTS

    path = tmp_path / "rows.jsonl"
    rows = [ROW | {"instruction": f"Say the number {n} aloud."} for n in range(300)]
    rows += [ROW | {"output": ""}, ROW | {"input": "No input"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = f"test-{os.getpid()}-described"
    try:
        done = lab("data", "--data", str(path), "--name", name)
        assert done.returncode == 0, done.stderr
        assert "301" in done.stdout and "empty output" in done.stdout
        assert (RESULTS / name / "data" / "rejected.csv").read_text().count("\n") == 2
    finally:
        shutil.rmtree(RESULTS / name, ignore_errors=True)


def test_a_name_alone_is_the_study_that_is_there_and_not_the_default_under_its_name(
    tmp_path, monkeypatch
):
    from alpaca_lab import options, study
    from alpaca_lab.profiles import configure

    mine = configure("smoke", models="tiny-phi", name="mine", changes={"questions": 5})
    record = store.Record(tmp_path / "mine")
    study.prepare(mine, record=record)
    before = (record.folder / "study.json").read_bytes()
    monkeypatch.setattr(
        store.Record, "of", staticmethod(lambda name: store.Record(tmp_path / name))
    )

    chosen, _ = options.prepared(None, "", "", "", "", "mine", None)
    assert chosen == mine
    assert (record.folder / "study.json").read_bytes() == before
    chosen, _ = options.prepared(None, "smoke", "", "", "", "mine", ["questions=6"])
    assert (len(chosen.models), chosen.questions) == (3, 6)
    assert options.prepared(None, "", "", "", "", "other", None)[0].questions == 60
