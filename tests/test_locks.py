"""Locks: one process at a time, told by name and age, and taken over from the dead."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from alpaca_lab import locks
from alpaca_lab.locks import held, holder

HOLD = """
import sys, time
from pathlib import Path
from alpaca_lab.locks import held
with held(Path(sys.argv[1]), "decoding phi"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study" / ".decoding-phi.lock"


def hold(path, seconds):
    """Start a process that holds the lock, and wait until it does."""
    command = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_lock_is_free_before_and_after(path):
    assert holder(path) is None
    with held(path, "decoding phi"):
        assert f"process {os.getpid()} on " in holder(path)
    assert holder(path) is None
    assert not list(path.parent.glob("*.owner"))


def test_second_process_waits_and_is_told_for_whom(path, capsys):
    process = hold(path, 0.5)
    started = time.monotonic()
    with held(path, "decoding phi"):
        assert time.monotonic() - started > 0.2
    told = capsys.readouterr().err
    assert f"decoding phi waits for process {process.pid} on " in told
    assert "(decoding phi since 20" in told and "UTC, 0 min)" in told
    assert "took over" not in told
    process.wait()


def test_lock_of_a_killed_process_is_taken_over_and_that_is_said(path, capsys):
    process = hold(path, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert holder(path) is None
    with held(path, "decoding phi"):
        pass
    told = capsys.readouterr().err
    assert f"took over the lock of process {process.pid} on " in told
    with held(path, "decoding phi"):
        pass
    assert not capsys.readouterr().err


def note_of_another_machine(path):
    path.parent.mkdir(parents=True)
    path.touch()
    note = path.with_name(f"{path.name}.owner")
    owner = {"what": "decoding phi", "process": 7, "machine": "colab-2", "boot": "", "since": 0.0}
    note.write_text(json.dumps(owner))
    return note


def test_owner_on_another_machine_is_waited_for_while_it_has_a_pulse(path, capsys, monkeypatch):
    """Its flock may be unknown here, as on a mounted drive."""
    import threading

    monkeypatch.setattr(locks, "SILENCE_S", 0.4)
    note = note_of_another_machine(path)
    ended = threading.Event()

    def beat():
        for _ in range(15):
            time.sleep(0.1)
            os.utime(note)
        note.unlink()
        ended.set()

    threading.Thread(target=beat).start()
    assert "colab-2" in holder(path)
    with held(path, "decoding phi"):
        assert ended.is_set()
    told = capsys.readouterr().err
    assert "waits for process 7 on colab-2" in told and "took over" not in told


def test_silent_owner_on_another_machine_is_gone(path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "SILENCE_S", 0.3)
    note_of_another_machine(path)
    with held(path, "decoding phi"):
        pass
    assert "took over the lock of process 7 on colab-2" in capsys.readouterr().err


def test_owner_shows_that_it_lives(path, monkeypatch):
    monkeypatch.setattr(locks, "PULSE_S", 0.05)
    note = path.with_name(f"{path.name}.owner")
    with held(path, "decoding phi"):
        first = note.stat().st_mtime_ns
        time.sleep(0.3)
        assert note.stat().st_mtime_ns > first


def test_note_that_cannot_be_read_stops_nobody(path, capsys):
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.owner").write_bytes(b"\xff{")
    with held(path, "decoding phi"):
        pass
    assert not capsys.readouterr().err
