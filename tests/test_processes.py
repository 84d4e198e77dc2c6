"""Stages in processes of their own: what they say is kept, one that fails is told."""

import sys
import time

import pytest

from alpaca_lab import environment
from alpaca_lab.endings import DEVICE_LOST
from alpaca_lab.processes import RESTARTS, StageError, run_stages
from alpaca_lab.progress import MARK

BROKEN = ["report", "--name", "never-begun", "--check"]


def test_what_a_stage_prints_is_logged_and_its_end_is_told(tmp_path, capsys):
    run_stages({"help": ["--help"]}, logs=tmp_path)
    assert "Usage: python -m alpaca_lab" in (tmp_path / "help.log").read_text()
    assert "help: done in" in capsys.readouterr().out


def test_failed_stage_ends_in_its_own_sentence(tmp_path):
    with pytest.raises(
        StageError, match=r"broken: no such file.*study\.json.*\(log: .*broken\.log\)"
    ):
        run_stages({"broken": BROKEN}, logs=tmp_path)


def test_stages_beside_one_that_failed_come_to_their_end(tmp_path, capsys):
    stages = {"broken": BROKEN, "help": ["--help"], "worse": BROKEN}
    with pytest.raises(StageError, match=r"broken: no such file.*; worse: no such file"):
        run_stages(stages, logs=tmp_path)
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
    run_stages({"decode": []}, logs=tmp_path)
    shown = capsys.readouterr()
    assert "decode: it fell" in shown.err and "it is begun again" in shown.err
    assert "done in" in shown.out
    assert (tmp_path / "decode.log").read_text().count("try") == 2


def test_stage_whose_gpu_fails_again_and_again_is_given_up(tmp_path, script):
    script(f'echo again; echo "error: it fell" >&2; exit {DEVICE_LOST}')
    with pytest.raises(StageError, match="decode: it fell"):
        run_stages({"decode": []}, logs=tmp_path)
    assert (tmp_path / "decode.log").read_text().count("again") == 1 + RESTARTS


def test_killed_stage_is_said_to_have_been_killed_and_by_what(tmp_path, script):
    script("kill -KILL $$")
    with pytest.raises(StageError, match=r"ended by SIGKILL, as a system does whose memory"):
        run_stages({"decode": []}, logs=tmp_path)


def test_what_a_stage_says_is_seen_and_logged(tmp_path, script, capsys):
    script(f"""printf '%s\\n' '{MARK}{{"say": "waits for process 5"}}'""")
    run_stages({"decode": []}, logs=tmp_path)
    assert "decode: waits for process 5" in capsys.readouterr().err
    assert "waits for process 5\n" in (tmp_path / "decode.log").read_text()


def test_stages_run_side_by_side(tmp_path, script):
    """Two stages of a second each end together, not one after the other."""
    script("sleep 1")
    started = time.monotonic()
    run_stages({"a": [], "b": []}, logs=tmp_path, width=2)
    assert time.monotonic() - started < 1.8


def test_each_stage_has_a_gpu_to_itself_and_hands_it_on(tmp_path, script):
    """Three stages on two GPUs: a stage that finds its GPU taken, by a file of it, fails."""
    script(
        f'cd {tmp_path}; mkdir "$CUDA_VISIBLE_DEVICES" || exit 3; sleep 0.3; '
        'rmdir "$CUDA_VISIBLE_DEVICES"; echo "on $CUDA_VISIBLE_DEVICES"'
    )
    stages = dict.fromkeys("abc", ())
    run_stages(stages, logs=tmp_path, width=9, devices=("2", "GPU-7"))
    used = [(tmp_path / f"{name}.log").read_text().strip() for name in stages]
    assert used[:2] == ["on 2", "on GPU-7"] and used[2] in used[:2]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ("0", "1")), ("3", ("3",)), ("GPU-7, GPU-9", ("GPU-7", "GPU-9")), ("", ())],
)
def test_gpus_that_may_be_used_are_those_that_are_visible(tmp_path, monkeypatch, visible, expected):
    (tmp_path / "nvidia-smi").write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '-L) printf "GPU 0: A (UUID: x)\\n  MIG 1g (UUID: y)\\nGPU 1: A (UUID: z)\\n";;\n'
        '*) printf "A, 24576, 24000, 550\\nA, 24576, 24000, 550\\n";; esac\n'
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    environment.gpu.cache_clear()
    try:
        assert environment.visible_gpus() == expected
    finally:
        environment.gpu.cache_clear()


def test_without_a_gpu_none_may_be_used(monkeypatch):
    monkeypatch.setattr(environment, "gpu", lambda: None)
    assert environment.visible_gpus() == ()
