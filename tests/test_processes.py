"""Stages in processes of their own: what they say is kept, one that fails is told."""

import sys
import time

import pytest

from alpaca_lab.endings import DEVICE_LOST
from alpaca_lab.processes import RESTARTS, StageError, run_stages
from alpaca_lab.progress import MARK

BROKEN = ["report", "--name", "never-begun", "--check"]


def test_what_a_stage_prints_is_logged_and_its_end_is_told(tmp_path, capsys):
    run_stages({"help": ["--help"]}, logs=tmp_path, width=1)
    assert "Usage: python -m alpaca_lab" in (tmp_path / "help.log").read_text()
    assert "help: done in" in capsys.readouterr().out


def test_failed_stage_ends_in_its_own_sentence(tmp_path):
    with pytest.raises(
        StageError, match=r"broken: no such file.*study\.json.*\(log: .*broken\.log\)"
    ):
        run_stages({"broken": BROKEN}, logs=tmp_path, width=1)


def test_stages_beside_one_that_failed_come_to_their_end(tmp_path, capsys):
    stages = {"broken": BROKEN, "help": ["--help"], "worse": BROKEN}
    with pytest.raises(StageError, match=r"broken: no such file.*; worse: no such file"):
        run_stages(stages, logs=tmp_path, width=1)
    assert "Usage" in (tmp_path / "help.log").read_text()
    assert "broken.log); the other stages go on" in capsys.readouterr().err


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Let a stage's process run these lines of shell."""

    def put(lines):
        path = tmp_path / "script"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put


def test_stage_whose_gpu_failed_is_begun_again_and_both_tries_are_logged(tmp_path, script, capsys):
    script(
        f'cd {tmp_path}; echo try; test -f once && exit 0; touch once; echo "error: it fell" >&2; '
        f"exit {DEVICE_LOST}"
    )
    run_stages({"decode": []}, logs=tmp_path, width=1)
    shown = capsys.readouterr()
    assert "decode: it fell" in shown.err and "it is begun again" in shown.err
    assert "done in" in shown.out
    assert (tmp_path / "decode.log").read_text().count("try") == 2


def test_stage_whose_gpu_fails_again_and_again_is_given_up(tmp_path, script):
    script(f'echo again; echo "error: it fell" >&2; exit {DEVICE_LOST}')
    with pytest.raises(StageError, match="decode: it fell"):
        run_stages({"decode": []}, logs=tmp_path, width=1)
    assert (tmp_path / "decode.log").read_text().count("again") == 1 + RESTARTS


def test_killed_stage_is_said_to_have_been_killed_and_by_what(tmp_path, script):
    script("kill -KILL $$")
    with pytest.raises(StageError, match=r"ended by SIGKILL, as a system does whose memory"):
        run_stages({"decode": []}, logs=tmp_path, width=1)


def test_what_a_stage_says_is_seen_and_logged(tmp_path, script, capsys):
    script(f"""printf '%s\\n' '{MARK}{{"say": "waits for process 5"}}'""")
    run_stages({"decode": []}, logs=tmp_path, width=1)
    assert "decode: waits for process 5" in capsys.readouterr().err
    assert "waits for process 5\n" in (tmp_path / "decode.log").read_text()


def test_stages_run_side_by_side(tmp_path, script):
    """Two stages of a second each end together, not one after the other."""
    script("sleep 1")
    started = time.monotonic()
    run_stages({"a": [], "b": []}, logs=tmp_path, width=2)
    assert time.monotonic() - started < 1.8
