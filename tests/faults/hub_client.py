"""A process that takes the stub for the hub: the study's own functions, with short waits.

    python hub_client.py FIRST_WAIT_S OUTPUTS model NAME COMMIT
    python hub_client.py FIRST_WAIT_S OUTPUTS dataset NAME COMMIT
    python hub_client.py FIRST_WAIT_S OUTPUTS command ARGUMENT ...

A model's files are printed as JSON, {name: sha256}; a dataset's rows as JSON; a command does what
`python -m alpaca_lab` does. Our memory of checksums goes to OUTPUTS, not to the checkout's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub_stub import Hub


def start(
    hub: "Hub", home: Path, *arguments: str, first_wait_s: float = 0.01, **variables: str
) -> subprocess.Popen:
    """Start this file in a process of its own, and return it.

    Args:
        hub: The stub.
        home: The process's cache, and its outputs/.
        *arguments: "model", NAME, COMMIT and so on.
        first_wait_s: The first wait between two tries; as it is, and not 2 s.
        **variables: More of its environment, such as HF_HUB_OFFLINE="1".
    """
    without = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.Popen(
        [sys.executable, __file__, str(first_wait_s), str(home / "outputs"), *arguments],
        env=without | hub.environment(home, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def main() -> None:
    """Do what the arguments say; end as `python -m alpaca_lab` does."""
    from alpaca_lab import __main__ as command_line
    from alpaca_lab.config import ModelSpec
    from alpaca_lab.hub import cache, patience

    first_wait_s, outputs, task, *rest = sys.argv[1:]
    patience.FIRST_WAIT_S = float(first_wait_s)
    cache.OUTPUTS = Path(outputs)
    if task == "command":
        sys.argv[1:] = rest
        command_line.main()
        return
    name, commit = rest

    def fetch() -> None:
        if task == "dataset":
            from alpaca_lab.rows.sources import read_hub

            print(json.dumps(read_hub(name, commit)))
            return
        from alpaca_lab.files import sha256_file
        from alpaca_lab.weights import checkpoints

        spec = ModelSpec(key="tiny", title="Tiny", source=name, revision=commit)
        folder = checkpoints.locate(spec)
        print(json.dumps({path.name: sha256_file(path) for path in folder.iterdir()}))

    command_line.app = fetch
    command_line.main()


if __name__ == "__main__":
    main()
