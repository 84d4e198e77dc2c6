"""The files in launch/: what they start is what Accelerate, Slurm and SkyPilot understand."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[1] / "launch"
CONFIGS = {
    "gpus_1": (1, 1),
    "gpus_2": (1, 2),
    "gpus_4": (1, 4),
    "gpus_8": (1, 8),
    "nodes_2": (2, 16),
}


def read(*words):
    """Return how accelerate launch reads a command line, its configuration file with it."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(list(words)))
    return args


@pytest.mark.model
@pytest.mark.parametrize(("name", "sizes"), CONFIGS.items())
def test_configuration_starts_as_many_processes_as_its_name_says(name, sizes):
    args = read("--config_file", str(LAUNCH / f"{name}.yaml"), "-m", "alpaca_lab", "finetune")
    assert (args.num_machines, args.num_processes) == sizes
    assert args.multi_gpu is (sizes[1] > 1)  # what starts them, also without a GPU
    assert not args.cpu and not args.use_cpu  # which would start a single one


def test_configuration_shows_the_command_that_takes_it():
    for name, (_, processes) in CONFIGS.items():
        text = (LAUNCH / f"{name}.yaml").read_text()
        comment = "".join(line for line in text.splitlines() if line.startswith("#"))
        assert f"launch/{name}.yaml" in comment
        assert f"--world-size {processes}" in comment


def commands_of(script, folder, *arguments, **environment):
    """Run a script with stand-ins for what it starts; return the command lines in their order."""
    stand_in = folder / "bin"
    stand_in.mkdir()
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(stand_in)
    (folder / "launch").symlink_to(LAUNCH)
    said = folder / "said"
    for name in ("accelerate", "python"):
        (stand_in / name).write_text(f'#!/usr/bin/env bash\necho "{name} ${{*@Q}}" >> "{said}"\n')
    # One task on each machine, as Slurm starts them.
    (stand_in / "srun").write_text(
        '#!/usr/bin/env bash\nshift\nfor SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done\n'
    )
    (stand_in / "scontrol").write_text('#!/usr/bin/env bash\nprintf "first\\nsecond\\n"\n')
    for path in stand_in.iterdir():
        path.chmod(0o755)
    done = subprocess.run(
        ["bash", str(folder / "launch" / script), *arguments],
        cwd=folder,
        env={"PATH": f"{stand_in}:{os.environ['PATH']}", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in said.read_text().splitlines()]


@pytest.mark.model
def test_slurm_launches_both_stages_on_every_machine_and_scores_on_the_first(tmp_path):
    found = commands_of(
        "slurm.sh", tmp_path, "--profile", "full", "--models", "phi-2,  mistral-7b",
        SLURM_SUBMIT_DIR=str(tmp_path), SLURM_JOB_NUM_NODES="2", SLURM_GPUS_ON_NODE="4",
        SLURM_JOB_NODELIST="node[1-2]",
    )  # fmt: skip
    assert [line[0] for line in found] == ["accelerate"] * 2 + ["python"] + ["accelerate"] * 2
    choices = ["--profile", "full", "--models", "phi-2,  mistral-7b"]
    assert found[2] == ["python", "-m", "alpaca_lab", "run", *choices]
    for machine, lines in ((0, found[:2]), (1, found[3:])):
        for stage, line in zip(("finetune", "generate"), lines, strict=True):
            args = read(*line[2:])
            assert line[1] == "launch"
            assert (args.num_machines, args.num_processes, args.machine_rank) == (2, 8, machine)
            assert (args.main_process_ip, args.main_process_port) == ("first", 29500)
            rest = [args.training_script, *args.training_script_args]
            assert rest == ["alpaca_lab", stage, *choices, "--world-size", "8"]


def test_sky_runs_what_slurm_runs():
    task = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    assert task["setup"] == "make install"
    assert task["run"].rstrip().endswith("launch/node.sh $STUDY")
    for name in ("NODES", "GPUS", "NODE_RANK", "HEAD"):
        assert f"{name}=" in task["run"]
    assert not any(task["secrets"].values())  # named here, and given on the command line


@pytest.mark.parametrize("script", ["node.sh", "slurm.sh"])
def test_script_is_executable_and_stops_at_the_first_error(script):
    path = LAUNCH / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()
