"""The command line as a user meets it: one sentence for what can be mended, exit status not 0."""

import json
import os
import subprocess
import sys

import pytest

ROW = {"instruction": "Say hello.", "input": "", "output": "Hello."}


def lab(*arguments, **environment):
    command = [sys.executable, "-m", "alpaca_lab", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=300
    )


@pytest.mark.parametrize(
    "command", [(), ("run",), ("finetune",), ("generate",), ("score",), ("report",), ("preflight",)]
)
def test_every_command_has_help(command):
    done = lab(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "smke"), 'unknown profile "smke": choose from smoke, full'),
        (("--models", "gpt-5"), 'unknown model "gpt-5"'),
        (("--data", "nowhere.jsonl"), "no such file"),
        (("--set", "train.epochs"), "expected FIELD=VALUE"),
        (("--set", "train.micro_batch_size=3"), "must divide batch_size"),
        (("--set", "temperatures=(0.0,)"), "temperature must be > 0"),
        (("--name", "../elsewhere"), "may hold letters"),
    ],
)
def test_wrong_choice_is_one_sentence(arguments, message):
    done = lab("run", *arguments)
    assert done.returncode == 2
    [sentence] = done.stderr.strip().splitlines()
    assert sentence.startswith("error: ") and message in sentence


def test_row_without_output_is_named_and_nothing_is_left(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({"instruction": "x", "text": "y"}) + "\n")
    done = lab("run", "--data", str(path), "--name", "never-begun")
    assert done.returncode == 2
    assert "rows.jsonl, row 2 has no `output`" in done.stderr
    assert not (__import__("alpaca_lab.store").store.RESULTS / "never-begun").exists()


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
