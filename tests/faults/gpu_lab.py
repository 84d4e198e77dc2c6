"""Stages on a GPU: each in a process of its own, with a fault of the GPU in it if one is asked."""

import subprocess
import sys

import gpu_stage
import lab

from alpaca_lab.config import StudySpec, as_dict
from alpaca_lab.files import write_json


def prepared(spec: StudySpec) -> lab.Lab:
    """Return a lab whose study is prepared."""
    made = lab.Lab(lab.new_folder(), spec)
    prepare(made, spec)
    return made


def prepare(there: lab.Lab, spec: StudySpec) -> None:
    """Prepare a study in a lab, in place of the one that is there."""
    write_json(there.root / gpu_stage.SPEC, as_dict(spec))
    must(there, "prepare")


def start(broken: lab.Lab, stage: str, spoil: str = "nothing", call: int = 0) -> subprocess.Popen:
    """Start a stage whose n-th call of what `gpu_stage.spoil` names meets a fault."""
    with (broken.root / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, gpu_stage.__file__, str(broken.root), stage, spoil, str(call)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def must(broken: lab.Lab, stage: str) -> None:
    """Run a stage to its end.

    Raises:
        RuntimeError: If it fails, with what it said.
    """
    if start(broken, stage).wait() != 0:
        raise RuntimeError(f"{stage} failed: {broken.log()[-2000:]}")
