"""`python3.13 tests/colab VENV [--install-only] [--first CODE]`: the notebook on what Colab ships.

Makes VENV, where there is none, with the packages of shipped.txt (some GB, torch's CUDA among
them), and a stand-in for google.colab. Then runs master_file.ipynb in a kernel of it, from an empty
folder, as on Colab: the cell clones this repository's HEAD, and installs. Prints what pip says was
there before and after. Exit status 1 when something shipped was changed that should not have been,
or when a cell fails; what pip check complains of since is printed.

What it cannot show: a GPU, Colab's page, and its Drive.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ADDRESS = "https://github.com/alpaca-lab/alpaca-lab"
MAY_CHANGE = {"datasets", "pyarrow", "torchao"}
"""Unsloth excludes datasets 4.0, a later one needs a later pyarrow, and PEFT torchao 0.16."""
GOOGLE_COLAB = """\
Metadata-Version: 2.1
Name: google-colab
Version: 1.0.0
Requires-Dist: ipykernel==6.17.1
Requires-Dist: ipython==7.34.0
Requires-Dist: notebook==6.5.7
Requires-Dist: pandas==2.2.3
Requires-Dist: tornado==6.5.7
"""
"""What the real one is tied to, of what shipped.txt lists."""
EXECUTE = """
import sys, time, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
if sys.argv[2]:
    cells = [n for n, cell in enumerate(book.cells) if cell.cell_type == "code"][:2]
    book.cells = book.cells[: cells[-1] + 1]
if sys.argv[3]:
    book.cells.insert(0, nbformat.v4.new_code_cell(sys.argv[3]))
began = time.time()
client = NotebookClient(book, timeout=None, kernel_name="python3", allow_errors=False)
try:
    client.execute()
finally:
    nbformat.write(book, "executed.ipynb")
print(f"notebook: {len(book.cells)} cells in {time.time() - began:.0f} s")
code = [cell for cell in book.cells if cell.cell_type == "code"]
print("".join(out.get("text", "") for cell in code[:2] for out in cell.outputs))
print("last cell:", "".join(out["data"]["text/plain"] for out in code[-1].outputs if "data" in out))
"""


def main() -> int:
    """Make the environment, run the notebook in it, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--install-only", action="store_true", help="the first two code cells")
    parser.add_argument("--first", default="", help='a cell before all, such as "import pyarrow"')
    asked = parser.parse_args()
    python = asked.venv.resolve() / "bin" / "python"
    if not python.exists():
        _ship(asked.venv)
    before, complaints = _listed(python), _complaints(python)
    with tempfile.TemporaryDirectory() as folder:
        status = _execute(python, Path(folder), asked.first, install_only=asked.install_only)
    after = _listed(python)
    for name in sorted(before | after):
        if before.get(name) != after.get(name):
            print(f"{name:28} {before.get(name, 'none'):>12} -> {after.get(name, 'none')}")
    changed = {name for name in before if after.get(name) != before[name]}
    print(f"{len(before)} shipped, {len(changed)} changed, {len(after.keys() - before)} added")
    wrong = changed - MAY_CHANGE - {"alpaca-lab"}
    new = [line for line in _complaints(python) if line not in complaints]
    print(f"changed for no reason: {sorted(wrong)}; pip check since: {new}")
    return int(status != 0 or bool(wrong))


def _ship(folder: Path) -> None:
    """Make an environment with what Colab ships."""
    venv.create(folder, with_pip=True)
    python = folder.resolve() / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "pip==24.1.2"], check=True)
    shipped = str(HERE / "shipped.txt")
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", shipped], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    (site / "google" / "colab").mkdir(parents=True)
    (site / "google" / "colab" / "__init__.py").touch()
    info = site / "google_colab-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(GOOGLE_COLAB)
    (info / "RECORD").touch()


def _listed(python: Path) -> dict[str, str]:
    listed = subprocess.check_output([python, "-m", "pip", "list", "--format", "json"])
    return {item["name"].lower(): item["version"] for item in json.loads(listed)}


def _complaints(python: Path) -> list[str]:
    command = [python, "-m", "pip", "check"]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def _execute(python: Path, folder: Path, first: str, *, install_only: bool) -> int:
    """Run the notebook from an empty folder, its address on the internet being this clone."""
    here, home = folder / "content", folder / "home"
    here.mkdir()
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[url "file://{ROOT}"]\n  insteadOf = {ADDRESS}\n[safe]\n  directory = *\n'
    )
    given = {"HOME": str(home), "COLAB_RELEASE_TAG": "release-colab-stand-in", "MPLBACKEND": "agg"}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        os.environ.pop(name, None)
    notebook = str(ROOT / "master_file.ipynb")
    command = [python, "-c", EXECUTE, notebook, "1" if install_only else "", first]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(command, cwd=here, env=os.environ | given | {"PATH": path}).returncode


if __name__ == "__main__":
    sys.exit(main())
