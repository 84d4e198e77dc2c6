"""Several processes, as accelerate starts them: they learn and answer what one process does."""

import os
import signal
import subprocess
import time

import pandas as pd
import pytest

from alpaca_lab import batches, progress, ranks, runs
from alpaca_lab.config import SettingError, study_from_dict
from alpaca_lab.files import append_line
from alpaca_lab.runs import Run
from alpaca_lab.scoring import score
from alpaca_lab.store import Record
from alpaca_lab.table_files import from_csv
from alpaca_lab.tables import table_texts
from alpaca_lab.tables.evidence import load
from launches import SMALL, Copy

PLAIN = (*SMALL, "--set", "train.loader=plain")


def test_without_a_launcher_one_process_is_a_launch_of_one(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (ranks.rank(), ranks.count(), ranks.is_main()) == (0, 1, True)
    assert ranks.agree(lambda: "said") == "said"
    assert ranks.gather("said") == ["said"]


def test_fewer_processes_than_asked_for_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")  # what accelerate launch --cpu --num_processes 2 starts
    with pytest.raises(SettingError, match="--world-size 2, but this launch has 1"):
        ranks.join(2, gpu=True)


@pytest.mark.parametrize(("seen", "taken"), [(None, "0"), ("2,3", "2"), ("", ""), ("1", "1")])
def test_one_process_takes_one_of_the_gpus_that_it_sees(monkeypatch, seen, taken):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen or "")
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    ranks.join(1, gpu=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken


@pytest.fixture
def second_of_two(monkeypatch):
    """Be the second process of a launch of two."""
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)


@pytest.mark.model
def test_more_processes_than_gpus_are_refused(second_of_two, monkeypatch):
    import torch

    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingError, match="2 processes on a machine with 1 GPUs"):
        ranks.join(2, gpu=True)


@pytest.mark.model
@pytest.mark.parametrize(
    ("message", "kind"),
    [("Connection closed by peer [127.0.0.1]:29500", ranks.LaunchError),
     ("CUDA error: device-side assert triggered", RuntimeError)],
)  # fmt: skip
def test_a_process_that_hears_nobody_says_so_in_one_sentence(
    second_of_two, monkeypatch, message, kind
):
    def lost(_):
        raise RuntimeError(message)

    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lost)
    with pytest.raises(RuntimeError) as caught:
        ranks.agree(lambda: "never asked")
    assert type(caught.value) is kind
    assert message.split(" [")[0] in str(caught.value)


def test_machines_that_share_no_drive_are_refused(second_of_two, monkeypatch, tmp_path):
    monkeypatch.setattr(ranks, "agree", lambda _: "0123")  # what the first process wrote elsewhere
    monkeypatch.setattr(ranks, "wait", lambda: None)
    monkeypatch.setattr(ranks, "SHARED_S", 0.0)
    with pytest.raises(SettingError, match="rank 1 does not see what rank 0 writes in"):
        ranks.require_shared(tmp_path)
    (tmp_path / ".seen-by-all-0123").touch()
    ranks.require_shared(tmp_path)


@pytest.mark.parametrize("stage", ["finetune", "generate"])
def test_both_stages_look_whether_the_drive_is_shared(monkeypatch, stage, tmp_path):
    from alpaca_lab import profiles
    from alpaca_lab.decoding import generate
    from alpaca_lab.finetuning import finetune

    def refuse(folder):
        raise SettingError(f"looked at {folder}")

    monkeypatch.setattr(ranks, "require_shared", refuse)
    monkeypatch.setattr(finetune, "OUTPUTS", tmp_path)
    study = profiles.configure("smoke", models="tiny-llama")
    call = {"finetune": finetune.finetune, "generate": generate.generate}[stage]
    with pytest.raises(SettingError, match="looked at"):
        call(study, "tiny-llama", record=Record(tmp_path))


def test_all_but_the_first_say_who_they_are_and_draw_no_bar(second_of_two, capsys):
    progress.say("out of memory")
    with progress.Bar(total=3) as bar:
        bar.update()
    assert capsys.readouterr().err == "[rank 1] out of memory\n"


@pytest.mark.parametrize("stage", ["score", "run", "report"])
def test_what_one_process_does_refuses_to_be_launched_several_times(tmp_path, stage):
    copy = Copy(tmp_path)
    command = copy.command(stage, processes=1)[:-2]
    environment = os.environ | {"WORLD_SIZE": "2", "RANK": "0", "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {stage} runs in one process")


def test_every_process_gets_the_longest_of_what_is_left_and_all_is_dealt():
    """Worked by hand: 9 and 8 open the parts, 7 joins 8's rival ... 9+4+2 and 8+7."""
    assert batches.share([2, 7, 9, 4, 8], count=2) == [[2, 3, 0], [4, 1]]
    parts = batches.share([5, 5], count=4)
    assert sorted(i for part in parts for i in part) == [0, 1] and len(parts) == 4


def test_parts_that_were_written_side_by_side_become_one_file_and_nothing_twice(tmp_path):
    run = Run(tmp_path)
    rows = [{"id": f"q{n}", "repeat": 0} for n in range(4)]
    for part, row in zip((0, 1, 2, 1), rows, strict=True):
        Run(tmp_path, part=part).append(row)
    Run(tmp_path, part=1).append_session({"answers": 2})
    append_line(tmp_path / runs.ANSWERS, rows[1])  # a kill came between writing and deleting
    run.gather()
    assert sorted(row["id"] for row in run.answers()) == ["q0", "q1", "q2", "q3"]
    assert run.sessions() == [{"answers": 2}]
    assert sorted(path.name for path in tmp_path.iterdir()) == [runs.ANSWERS, runs.SESSIONS]


def test_a_line_cut_short_by_a_kill_costs_that_line_and_no_other(tmp_path):
    for part in (0, 1):
        Run(tmp_path, part=part).append({"id": f"q{part}", "repeat": 0})
    path = tmp_path / "answers.1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id": "q2", "rep')
    Run(tmp_path).mend()
    assert [row["id"] for row in Run(tmp_path).answers()] == ["q0", "q1"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A small study, finetuned and decoded by one process."""
    copy = Copy(tmp_path_factory.mktemp("alone"))
    for stage in ("finetune", "generate"):
        status, printed = copy.run(stage, *PLAIN)
        assert status == 0, printed[-3000:]
    return copy


def without_runs(folder, *, of):
    copy = Copy(folder, of=of)
    for path in copy.record.glob("runs/*"):
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    return copy


@pytest.mark.model
@pytest.mark.parametrize(("processes", "loader"), [(4, "plain"), (2, "unsloth")])
def test_processes_take_the_steps_that_one_takes(alone, tmp_path, processes, loader):
    copy = Copy(tmp_path)
    changes = (*SMALL, "--set", f"train.loader={loader}")
    status, printed = copy.run("finetune", *changes, processes=processes)
    assert status == 0, printed[-3000:]
    (losses, manifest), (expected, single) = copy.losses(), alone.losses()
    assert (manifest["processes"], single["processes"]) == (processes, 1)
    assert manifest["order_sha256"] == single["order_sha256"]
    assert losses["tokens"].equals(expected["tokens"])
    assert losses["loss"].to_numpy() == pytest.approx(expected["loss"].to_numpy(), rel=1e-5)
    assert not (copy.folder / manifest["adapter"]["folder"]).parent.joinpath("checkpoints").exists()


@pytest.mark.model
def test_processes_give_the_answers_that_one_gives_to_the_byte(alone, tmp_path):
    copy = without_runs(tmp_path, of=alone)
    status, printed = copy.run("generate", *PLAIN, processes=4)
    assert status == 0, printed[-3000:]
    assert copy.answers() == alone.answers()
    assert {session["processes"] for session in copy.sessions()} == {4}
    assert {session["rank"] for session in copy.sessions()} == {0, 1, 2, 3}
    assert not list(copy.record.glob("runs/*/*.[0-9]*.jsonl"))


@pytest.mark.model
def test_tables_of_a_study_that_processes_shared_are_those_of_one_process(alone, tmp_path):
    copy, single, tables = Copy(tmp_path / "several"), Copy(tmp_path / "one", of=alone), {}
    for stage in ("finetune", "generate"):
        status, printed = copy.run(stage, *PLAIN, processes=2)
        assert status == 0, printed[-3000:]
    for one in (single, copy):
        record = Record(one.record)
        score.score(study_from_dict(record.index()["spec"]), record=record)
        tables[one] = table_texts.all_texts(record, load(record))
    assert {"main", "temperature", "num_beams", "top_k"} <= set(tables[single])
    assert set(tables[copy]) == set(tables[single])
    for name, expected in tables[single].items():
        left, right = comparable(tables[copy][name]), comparable(expected)
        pd.testing.assert_frame_equal(left, right, rtol=1e-4, atol=1e-4, obj=name)


def comparable(text):
    """Return a table without what its runs are named and took: an adapter differs in its bits."""
    took = ["run", "baseline", "wall_s", "tokens_per_s", "passes_per_step"]
    return from_csv(text).drop(columns=took, errors="ignore")


@pytest.mark.model
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_loses_only_its_unfinished_rows_and_any_number_resumes(
    alone, tmp_path, rank
):
    copy = without_runs(tmp_path, of=alone)
    process = copy.start("generate", *PLAIN, processes=2)
    deadline = time.monotonic() + 120
    while copy.answered() < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    victim = workers(process.pid)[rank]
    os.kill(victim, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    before = copy.answered()
    assert before >= 5
    expected = sum(map(len, alone.answers().values()))
    assert before < expected
    status, printed = copy.run("generate", *PLAIN, processes=1 if rank else 4)
    assert status == 0, printed[-3000:]
    assert copy.answers() == alone.answers()
    resumed = sum(part["answers"] for part in copy.sessions() if part["processes"] != 2)
    assert resumed <= expected - before  # what was there was not decoded again


def workers(launcher):
    """Return the processes that a launcher started, by their rank."""
    found = {}
    for path in os.listdir("/proc"):
        if not path.isdigit():
            continue
        try:
            with open(f"/proc/{path}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{path}/environ", "rb") as file:
                values = dict(
                    part.split(b"=", 1) for part in file.read().split(b"\0") if b"=" in part
                )
        except (OSError, ValueError):
            continue
        if parent == launcher and b"RANK" in values:
            found[int(values[b"RANK"])] = int(path)
    return found


@pytest.mark.model
def test_a_finetune_whose_process_was_killed_resumes_with_another_number_to_the_same_losses(
    alone, tmp_path
):
    copy = Copy(tmp_path)
    longer = (*PLAIN, "--set", "resources.checkpoints=4")
    process = copy.start("finetune", *longer, processes=2)
    deadline = time.monotonic() + 120
    while not list(copy.folder.glob("outputs/*/checkpoints/*/SHA256SUMS")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    status, printed = copy.run("finetune", *longer, processes=1)
    assert status == 0, printed[-3000:]
    losses, expected = copy.losses()[0], alone.losses()[0]
    assert losses["loss"].to_numpy() == pytest.approx(expected["loss"].to_numpy(), rel=1e-5)
