"""The scripts of benchmarks/, imported as when they are run there."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    """Import a script of benchmarks/ afresh; it finds its neighbours as when it is run."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    with patch.object(sys, "path", [str(BENCHMARKS), *sys.path]):
        spec.loader.exec_module(module)
    return module
