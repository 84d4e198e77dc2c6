"""Stages in processes of their own: what they say is kept, and one that fails stops the rest."""

import time

import pytest

from alpaca_lab.processes import StageError, run_stages

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


def test_no_stage_is_begun_after_one_has_failed(tmp_path):
    with pytest.raises(StageError, match="broken"):
        run_stages({"broken": BROKEN, "help": ["--help"]}, logs=tmp_path, width=1)
    assert not (tmp_path / "help.log").exists()


def test_stages_run_side_by_side(tmp_path, monkeypatch):
    """Two stages of a second each end together, not one after the other."""
    import sys

    script = tmp_path / "sleep"
    script.write_text("#!/bin/sh\nsleep 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    started = time.monotonic()
    run_stages({"a": [], "b": []}, logs=tmp_path, width=2)
    assert time.monotonic() - started < 1.8
