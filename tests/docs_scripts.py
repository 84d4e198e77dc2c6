"""The scripts of docs/, imported as when `make docs` runs them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

DOCS = Path(__file__).parents[1] / "docs"
PAGES = DOCS / "pages"


def load(place: str) -> ModuleType:
    """Import a script of docs/ by its place there; it finds its neighbours as when it is run."""
    path = DOCS / place
    spec = importlib.util.spec_from_file_location(f"docs_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with patch.object(sys, "path", [str(path.parent), *sys.path]):
        spec.loader.exec_module(module)
    return module
