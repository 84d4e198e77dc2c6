"""A study's copy on Google Drive. The Drive is a folder here, and google.colab a stand-in."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from alpaca_lab import drive
from alpaca_lab.config import ROOT, SettingError
from alpaca_lab.profiles import configure
from alpaca_lab.store import Record


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """Colab with a Drive: the folder that stands for the user's files on it, and what was called.

    Nothing is copied by itself: a test calls `bring`.
    """
    home = tmp_path / "drive" / "MyDrive"
    home.mkdir(parents=True)
    called = []

    def mount(place, force_remount=False):
        called.append("remount" if force_remount else "mount")

    module = types.ModuleType("google.colab")
    module.drive = types.SimpleNamespace(
        mount=mount, flush_and_unmount=lambda: called.append("flush")
    )
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setattr(drive, "MOUNT", tmp_path / "drive")
    monkeypatch.setattr(drive, "INTERVAL_S", 3600.0)
    monkeypatch.setattr(drive, "_copies", {})
    return types.SimpleNamespace(home=home, called=called, module=module)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that moves to a machine of that name, with an empty disk or as it was."""

    def move(name):
        monkeypatch.setattr(drive, "OUTPUTS", tmp_path / name / "outputs")
        monkeypatch.setattr(drive, "_copies", {})
        return Record(tmp_path / name / "results" / "mine")

    return move


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def below(folder):
    """Return all files there but for whose copy it is."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != drive.OWNER)
    return sorted(str(path.relative_to(folder)) for path in files)


def bring(record):
    return drive._copies[record.folder].bring()


def test_without_the_wish_nothing_is_mounted_or_written(colab, machine):
    record = machine("a")
    drive.keep(record, wanted=False)
    drive.finish(record)
    assert not colab.called and not record.folder.exists()


def test_next_machine_goes_on_from_the_copy(colab, machine, capsys):
    first = machine("a")
    drive.keep(first, wanted=True)
    write(first.folder / "study.json", "{}")
    write(first.folder / "runs" / "r" / "answers.jsonl", "1\n")
    write(drive.OUTPUTS / ("0" * 12) / "adapter" / "weights", "w")
    assert bring(first)
    second = machine("b")
    drive.keep(second, wanted=True)
    assert below(second.folder) == ["runs/r/answers.jsonl", "study.json"]
    assert (drive.OUTPUTS / ("0" * 12) / "adapter" / "weights").read_text() == "w"
    assert "Google Drive: 3 files of mine" in capsys.readouterr().out


def test_locks_and_halves_and_what_is_no_finetune_stay_behind(colab, machine):
    record = machine("a")
    drive.keep(record, wanted=True)
    write(record.folder / "study.json", "{}")
    write(record.folder / ".decoding-phi-2.lock.owner", "a dead machine")
    write(record.folder / ".study.json.x7f3a2b1", "a half")
    write(record.folder / "notebook" / ".ipynb_checkpoints" / "master_file.ipynb", "a viewer's")
    write(drive.OUTPUTS / "cache" / "rows", "again in no time")
    write(drive.OUTPUTS / "export" / "merged", "13 GB")
    bring(record)
    assert below(colab.home) == ["alpaca-lab/results/mine/study.json"]


def test_files_are_copied_in_the_order_in_which_they_were_written(colab, machine, monkeypatch):
    record = machine("a")
    drive.keep(record, wanted=True)
    for age, name in ((1, "manifest.json"), (3, "scores"), (2, "answers.jsonl")):
        write(record.folder / name, name)
        os.utime(record.folder / name, (1e9 - age, 1e9 - age))
    copied = []
    monkeypatch.setattr(drive.shutil, "copyfile", lambda path, target: copied.append(path.name))
    bring(record)
    assert copied == ["scores", "answers.jsonl", "manifest.json"]


def test_file_that_changes_meanwhile_waits_unless_it_only_grows(colab, machine, monkeypatch):
    """A manifest that is newer than the look at its files could vouch for what is not there yet."""
    record = machine("a")
    drive.keep(record, wanted=True)
    first, grows, last = (record.folder / name for name in ("a", "b.jsonl", "c"))
    for age, path in enumerate((last, grows, first)):
        write(path, "old")
        os.utime(path, (1e9 - age, 1e9 - age))
    really = shutil.copyfile

    def slow(path, target):
        really(path, target)
        if path == first:
            write(grows, "old and new")
            write(last, "new")

    monkeypatch.setattr(drive.shutil, "copyfile", slow)
    bring(record)
    there = colab.home / "alpaca-lab" / "results" / "mine"
    assert (there / "b.jsonl").read_text() == "old and new"
    assert not (there / "c").exists()
    bring(record)
    assert (there / "c").read_text() == "new"


def test_what_is_alike_is_not_copied_again(colab, machine, monkeypatch):
    record = machine("a")
    drive.keep(record, wanted=True)
    write(record.folder / "study.json", "{}")
    bring(record)
    monkeypatch.setattr(drive.shutil, "copyfile", lambda *_: pytest.fail("copied again"))
    bring(record)


def test_deleted_checkpoint_is_emptied_before_it_goes_to_the_bin(colab, machine, monkeypatch):
    record = machine("a")
    drive.keep(record, wanted=True)
    write(record.folder / "study.json", "{}")
    weights = drive.OUTPUTS / ("0" * 12) / "checkpoints" / "checkpoint-9" / "weights"
    write(weights, "480 MB")
    bring(record)
    weights.unlink()
    sizes = []
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda self: (sizes.append(self.stat().st_size), unlink(self))
    )
    bring(record)
    assert sizes == [0]
    assert below(colab.home) == ["alpaca-lab/results/mine/study.json"]


def test_study_deleted_here_stays_on_the_drive(colab, machine):
    record = machine("a")
    drive.keep(record, wanted=True)
    write(record.folder / "study.json", "{}")
    bring(record)
    shutil.rmtree(record.folder)
    bring(record)
    assert below(colab.home) == ["alpaca-lab/results/mine/study.json"]


def test_same_machine_runs_the_cell_again_and_keeps_what_it_has_since(colab, machine):
    """The copy is a minute behind: fetched, it would put old answers beside a new manifest."""
    record = machine("a")
    drive.keep(record, wanted=True)
    write(record.folder / "study.json", "{}")
    bring(record)
    write(record.folder / "study.json", "newer")
    machine("a")  # a new kernel
    drive.keep(record, wanted=True)
    assert (record.folder / "study.json").read_text() == "newer"
    assert (colab.home / "alpaca-lab/results/mine/study.json").read_text() == "newer"


def test_fetch_that_was_cut_off_is_begun_again(colab, machine, monkeypatch):
    first = machine("a")
    drive.keep(first, wanted=True)
    write(first.folder / "study.json", "{}")
    write(first.folder / "tables" / "main.csv", "1")
    bring(first)
    second = machine("b")

    def cut(self):
        write(second.folder / "study.json", "{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drive.Copy, "fetch", cut)
        with pytest.raises(KeyboardInterrupt):
            drive.keep(second, wanted=True)
    drive.keep(second, wanted=True)
    assert below(second.folder) == ["study.json", "tables/main.csv"]


def test_session_that_was_taken_over_copies_nothing_any_more(colab, machine, monkeypatch, capsys):
    first = machine("a")
    drive.keep(first, wanted=True)
    write(first.folder / "study.json", "{}")
    bring(first)
    old = drive._copies[first.folder]
    second = machine("b")
    drive.keep(second, wanted=True)
    write(first.folder / "study.json", "of the old session")
    monkeypatch.setattr(drive, "INTERVAL_S", 0.0)
    old.watch()
    assert (colab.home / "alpaca-lab/results/mine/study.json").read_text() == "{}"
    assert "another session goes on with mine" in capsys.readouterr().err


def test_two_records_of_one_name_are_refused_rather_than_mixed(colab, machine):
    first = machine("a")
    drive.keep(first, wanted=True)
    write(first.folder / "study.json", "{}")
    bring(first)
    second = machine("b")
    write(second.folder / "study.json", "{}")
    with pytest.raises(SettingError, match="mine is here and on Google Drive, .* another NAME"):
        drive.keep(second, wanted=True)


def test_finetune_that_is_here_is_not_replaced_by_the_copy(colab, machine):
    first = machine("a")
    drive.keep(first, wanted=True)
    write(first.folder / "study.json", "{}")
    write(drive.OUTPUTS / ("0" * 12) / "loss.csv", "of the drive")
    bring(first)
    second = machine("b")
    write(drive.OUTPUTS / ("0" * 12) / "loss.csv", "of here")
    drive.keep(second, wanted=True)
    assert (drive.OUTPUTS / ("0" * 12) / "loss.csv").read_text() == "of here"


def test_drive_that_is_gone_for_a_while_is_said_once_and_stops_nothing(
    colab, machine, monkeypatch, capsys
):
    record = machine("a")
    drive.keep(record, wanted=True)
    copy = drive._copies[record.folder]
    rounds = iter([True, True, False])

    def fails(self):
        if not next(rounds):
            self.ended.set()
            return True
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(drive.Copy, "bring", fails)
    monkeypatch.setattr(drive, "INTERVAL_S", 0.0)
    copy.watch()
    told = capsys.readouterr().err
    assert told.count("Transport endpoint is not connected") == 1
    assert "the study goes on here" in told


def test_finish_brings_the_last_and_waits_for_the_upload(colab, machine, capsys):
    record = machine("a")
    drive.keep(record, wanted=True)
    write(record.folder / "study.json", "{}")
    drive.finish(record)
    assert below(colab.home) == ["alpaca-lab/results/mine/study.json"]
    assert colab.called == ["mount", "flush"]
    assert "mine is there" in capsys.readouterr().out


def test_finish_says_that_nothing_is_lost_where_the_drive_fails(colab, machine, monkeypatch):
    record = machine("a")
    drive.keep(record, wanted=True)

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(drive.Copy, "bring", full)
    with pytest.raises(SettingError, match="Google Drive failed .*No space left.* is still here"):
        drive.finish(record)


# Mounting, and room


def test_elsewhere_than_on_colab_the_wish_is_refused_in_one_sentence(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", None)
    with pytest.raises(SettingError, match="from Colab, and this is another machine: set it to F"):
        drive.keep(machine("a"), wanted=True)


def test_refused_mount_says_what_to_do(colab, machine):
    def refuse(place):
        raise ValueError("mount failed")

    colab.module.drive.mount = refuse
    with pytest.raises(SettingError, match=r"could not be mounted \(mount failed\): .* DRIVE to F"):
        drive.keep(machine("a"), wanted=True)


def test_drive_that_fell_off_is_mounted_again(colab, machine, monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(drive, "_answers", lambda folder: next(answers))
    drive.keep(machine("a"), wanted=True)
    assert colab.called == ["mount", "remount"]


def test_mount_that_nobody_serves_is_no_folder(monkeypatch):
    def unserved(self):
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Path, "is_dir", unserved)
    assert not drive._answers(Path("/content/drive/MyDrive"))


def test_full_study_needs_adapters_checkpoints_and_answers():
    """Rank 16: adapters of 40.0, 41.9 and 23.6 M parameters, and 4 checkpoints of the largest."""
    adapters = 4 * (39_976_960 + 41_943_040 + 23_592_960)
    expected = 0.2 + (adapters + 4 * 12 * 41_943_040) / 2**30
    assert drive.needed_gib(configure("full")) == pytest.approx(expected)


def test_drive_without_room_is_refused_with_what_is_needed(colab, machine, monkeypatch):
    room = types.SimpleNamespace(free=2**30)
    monkeypatch.setattr(drive.shutil, "disk_usage", lambda place: room)
    with pytest.raises(SettingError, match=r"Drive has 1\.0 GiB free, and mine needs 2\.5 .* bin"):
        drive.keep(machine("a"), wanted=True, study=configure("full"))


# A session that is cut off

SESSION = """
import platform, sys, types
from pathlib import Path
platform.node = lambda: sys.argv[1]
module = types.ModuleType("google.colab")
module.drive = types.SimpleNamespace(
    mount=lambda place, **_: None, flush_and_unmount=lambda: None
)
sys.modules["google.colab"] = module
from alpaca_lab import drive, study
from alpaca_lab.profiles import configure
from alpaca_lab.store import Record
drive.MOUNT, drive.INTERVAL_S = Path(sys.argv[2]), 0.1
changes = {
    "train.loader": "plain", "train.max_steps": "4", "train.evaluations": "2", "questions": "12",
    "temperatures": "(0.5, 1.0)", "beams": "(2,)", "top_ks": "(4,)", "max_new_tokens": "32",
    "slots": "5",
}
asked = configure("smoke", models="tiny-llama", name="cut", changes=changes)
record = Record.of(asked.name)
drive.keep(record, wanted=sys.argv[2] != "none", study=asked)
study.run(asked, record=record)
drive.finish(record)
"""


@pytest.mark.model
def test_session_cut_off_while_decoding_goes_on_on_another_machine(tmp_path):
    """All its processes killed, its disk lost; a new clone, the same Drive, the same tables."""
    pytest.importorskip("torch")
    home = tmp_path / "drive" / "MyDrive"
    home.mkdir(parents=True)

    def start(name, place):
        clone = tmp_path / name
        for part in ("src", "assets"):
            shutil.copytree(ROOT / part, clone / part)
        log = (tmp_path / f"{name}.log").open("w")
        return clone / "results" / "cut", subprocess.Popen(
            [sys.executable, "-c", SESSION, name, str(place)],
            cwd=clone, env=os.environ | {"PYTHONPATH": str(clone / "src")}, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def answers(folder):
        paths = sorted(folder.glob("runs/*/answers.jsonl"))
        return [line for path in paths for line in path.read_bytes().splitlines()]

    whole, reference = start("undisturbed", "none")
    assert reference.wait(300) == 0, (tmp_path / "undisturbed.log").read_text()[-2000:]

    copied = home / "alpaca-lab" / "results" / "cut"
    lost, first = start("vm-1", tmp_path / "drive")
    end = time.monotonic() + 200
    while len(answers(copied)) < 5 and first.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    saved = answers(copied)
    assert 5 <= len(saved) < len(answers(whole))
    shutil.rmtree(lost.parents[1])

    resumed, second = start("vm-2", tmp_path / "drive")
    assert second.wait(300) == 0, (tmp_path / "vm-2.log").read_text()[-2000:]
    said = (tmp_path / "vm-2.log").read_text()
    assert "waits for" not in said and "finetune-tiny-llama" not in said
    assert set(saved) <= set(answers(resumed))  # not one of them was decoded again
    names = sorted(path.name for path in whole.glob("tables/*.csv"))
    assert "main.csv" in names
    for name in names:
        assert (resumed / "tables" / name).read_bytes() == (whole / "tables" / name).read_bytes()
        assert (copied / "tables" / name).read_bytes() == (whole / "tables" / name).read_bytes()
    assert json.loads((copied / drive.OWNER).read_text())["machine"] == "vm-2"
