"""peer_finetune.py, unmodified, with one attention call for all rows of a packed batch.

Unsloth calls torch's `varlen_attn` where it has the parameters `window_size` and `enable_gqa`.
torch 2.11 lacks the second, and Unsloth then makes one attention call per row, though the kernel
underneath takes fewer key heads than query heads anyway. With the parameter added, the comparison
also holds on newer torch, where Unsloth takes that kernel by itself.

Takes the arguments of peer_finetune.py.
"""

import inspect
import runpy
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

PEER = Path(__file__).with_name("peer_finetune.py")


def accepting_enable_gqa(varlen_attn: Callable[..., Any]) -> Callable[..., Any]:
    """Return `varlen_attn` with one more parameter, `enable_gqa`, which is ignored."""

    @wraps(varlen_attn)
    def attend(*args: Any, enable_gqa: bool = False, **options: Any) -> Any:
        return varlen_attn(*args, **options)

    own = inspect.signature(varlen_attn)
    more = inspect.Parameter("enable_gqa", inspect.Parameter.KEYWORD_ONLY, default=False)
    # Unsloth reads the signature, and `wraps` would show that of the wrapped function.
    attend.__signature__ = own.replace(parameters=[*own.parameters.values(), more])
    return attend


def extend(varlen: ModuleType) -> None:
    """Give the module's `varlen_attn` the parameter `enable_gqa` where it lacks it.

    Raises:
        RuntimeError: If it has no `window_size` either: Unsloth would not call it, and this arm
            would measure what the arm beside it measures.
    """
    parameters = inspect.signature(varlen.varlen_attn).parameters
    if "window_size" not in parameters:
        raise RuntimeError("torch's varlen_attn has no window_size: torch 2.11 or newer is needed")
    if "enable_gqa" not in parameters:
        varlen.varlen_attn = accepting_enable_gqa(varlen.varlen_attn)


def main() -> None:
    """Extend torch's module, then run the peer's script with the same arguments."""
    # Ahead of Unsloth, which reads `varlen_attn` once, as it is imported. torch reads the
    # allocator's settings, which Unsloth writes into the environment, when CUDA is first used.
    from torch.nn.attention import varlen

    extend(varlen)
    runpy.run_path(str(PEER), run_name="__main__")


if __name__ == "__main__":
    main()
