"""What ends a process in one sentence, with which exit status, and what keeps its traceback."""

import errno
import subprocess
import sys

import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.endings import DEVICE_LOST, WRONG, ending, is_device_lost, is_out_of_memory


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SettingError("epochs must be above 0"), "epochs must be above 0"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "the disk is full (x)"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x"), "the disk is full (x)"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full (results/)"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x may not be written or read"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x may not be written or read"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "x cannot be used: No such file"),
        (MemoryError(), "this needs more memory than the machine has"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_ends_in_one_sentence(error, says):
    sentence, status = ending(error)
    assert sentence.startswith(says) and "\n" not in sentence
    assert status == WRONG


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RuntimeError("out of memory")])
def test_a_mistake_of_ours_keeps_its_traceback(error):
    assert ending(error) is None
    assert not is_device_lost(error) and not is_out_of_memory(error)


@pytest.mark.model
def test_memory_of_a_gpu_that_cannot_be_divided_further_is_told_apart_from_a_lost_gpu():
    torch = pytest.importorskip("torch")
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to ..."),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ):
        assert is_out_of_memory(error) and not is_device_lost(error)
        sentence, status = ending(error)
        assert "resources.micro_batch_tokens" in sentence and status == WRONG


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: device-side assert triggered\nCUDA kernel errors might be ...",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`",
        "CUDA driver error: unknown error",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "Triton Error [CUDA]: device-side assert triggered",
    ],
)
def test_a_lost_gpu_ends_in_its_first_line_and_a_status_of_its_own(message):
    error = RuntimeError(message)
    sentence, status = ending(error)
    assert is_device_lost(error) and status == DEVICE_LOST
    assert sentence.startswith(f"the GPU failed ({message.splitlines()[0]})")
    assert "\n" not in sentence


def test_a_process_that_lost_its_gpu_ends_at_once():
    """On the way out, torch frees pinned memory, and on a lost GPU that aborts."""
    program = (
        "import atexit, os\n"
        "import alpaca_lab.__main__ as command\n"
        "atexit.register(os.abort)\n"
        "def app():\n"
        "    print('so far')\n"
        "    raise RuntimeError('CUDA error: device-side assert triggered')\n"
        "command.app = app\n"
        "command.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == DEVICE_LOST
    assert done.stdout == "so far\n"
    assert done.stderr.startswith(
        "error: the GPU failed (CUDA error: device-side assert triggered)"
    )
