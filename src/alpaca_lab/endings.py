"""How a process ends that cannot go on: one sentence and an exit status for what a user can mend.

What has no sentence here is a mistake of ours, and keeps its traceback.
"""

import errno
import os
import sys

from .characters import sentence

WRONG = 2
"""The exit status of what a user can mend."""
DEVICE_LOST = os.EX_TEMPFAIL
"""The exit status when the GPU failed under a process: another one may go on."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_OF_GPU = ("CUDA error", "CUDA driver error", "Triton Error [CUDA]", "cuBLAS error",
           "CUBLAS_STATUS", "cuDNN error")  # fmt: skip
"""Words of an error of the GPU: of torch, of the driver, of a kernel that is launched."""
_FILLED = ("out of memory", "ALLOC_FAILED")
"""Words of one that memory is the cause of."""


class OneSentence(Exception):
    """An error whose message says all: what is wrong, where, and what mends it.

    Whatever the message quotes, it is one printable line and not long: no terminal and no
    notebook obeys what stands in somebody else's file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows in place of a traceback; a protocol of IPython."""
        return [f"{type(self).__name__}: {self}"]


def ending(error: BaseException) -> tuple[str, int] | None:
    """Return the sentence and the exit status of an error; None where it is a mistake of ours.

    Example:
        >>> ending(OSError(errno.ENOSPC, "No space left on device", "results/x"))[0][:30]
        'the disk is full (results/x): '
    """
    if isinstance(error, OneSentence):
        return str(error), WRONG
    if isinstance(error, OSError):
        return _of_file(error), WRONG
    if isinstance(error, MemoryError):
        return "this needs more memory than the machine has; what was finished is kept", WRONG
    if is_out_of_memory(error):
        return (
            "the GPU's memory ran out where it cannot be divided further: free what else holds "
            "it, or set resources.micro_batch_tokens (finetune) or slots (decode) lower; what was "
            "finished is kept, run the same command again"
        ), WRONG
    if is_device_lost(error):
        first = str(error).strip().splitlines()[0]
        return (
            f"the GPU failed ({first[:200]}); what was finished is kept, run the same command again"
        ), DEVICE_LOST
    return None


def is_device_lost(error: BaseException) -> bool:
    """Return True for an error after which a process can use its GPU no more."""
    return _is_of_gpu(error) and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True where the GPU's memory ran out, under torch or under a library beside it."""
    torch = sys.modules.get("torch")  # who never imported it has no such error
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return _is_of_gpu(error) and any(word in str(error) for word in _FILLED)


def _is_of_gpu(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _OF_GPU)


def _of_file(error: OSError) -> str:
    """Return the sentence of a file or folder that cannot be used."""
    place = error.filename if error.filename is not None else "results/"
    if error.errno in _FULL:
        return (
            f"the disk is full ({place}): free some space and run the same command again; "
            "what was finished is kept"
        )
    if error.errno in _CLOSED:
        return (
            f"{place} may not be written or read ({error.strerror}): change its permissions, or "
            "work in a folder that is yours"
        )
    return f"{place} cannot be used: {error.strerror or error}"
