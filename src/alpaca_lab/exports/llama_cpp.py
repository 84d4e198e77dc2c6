"""llama.cpp's converter and server where this machine has them; nothing is ever fetched or built.

Unsloth's way to a GGUF file is not taken: where llama.cpp is missing it downloads and builds it,
with system packages if need be, and it merges into the original 16-bit weights, which is another
model than the study decoded (see `merged`). A llama.cpp that Unsloth once put on this machine is
found, and used.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..config import SettingError

CONVERTER = "convert_hf_to_gguf.py"
SERVER = "llama-server"
VARIABLE = "LLAMA_CPP_DIR"
UNSLOTH = "UNSLOTH_LLAMA_CPP_PATH"
CURE = (
    "git clone https://github.com/ggml-org/llama.cpp && cmake -S llama.cpp -B llama.cpp/build && "
    "cmake --build llama.cpp/build --target llama-server && pip install sentencepiece, and give "
    "--llama-cpp llama.cpp"
)
TYPE = "f16"
"""Of the weights: bfloat16's values fit but for those below 6e-8, and every llama.cpp is fast."""


@dataclass(frozen=True, kw_only=True)
class LlamaCpp:
    """What of llama.cpp an export needs."""

    converter: Path
    server: Path

    def version(self) -> str:
        """Return the server's name and version, as it says it itself."""
        done = subprocess.run([self.server, "--version"], capture_output=True, text=True)
        lines = (done.stderr + done.stdout).splitlines()
        said = next((line for line in lines if line.startswith("version:")), "version: unknown")
        return f"{SERVER} {said.removeprefix('version:').strip()}"

    def convert(self, checkpoint: Path, file: Path, *, name: str) -> None:
        """Write a GGUF file of a checkpoint.

        Args:
            checkpoint: A folder with config.json, safetensors and tokenizer.
            file: What is written.
            name: What the model is called in it.

        Raises:
            SettingError: If the converter cannot; in its own words, or in better ones.
        """
        command = [sys.executable, str(self.converter), str(checkpoint), "--outfile", str(file),
                   "--outtype", TYPE, "--model-name", name]  # fmt: skip
        # It has no business on the hub, and none with its token.
        alone = {key: value for key, value in os.environ.items() if "TOKEN" not in key}
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace",
            env=alone | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        if done.returncode != 0 or not file.is_file():
            raise SettingError(_refusal(done.stdout + done.stderr, name))


def find(folder: Path | None) -> LlamaCpp:
    """Return llama.cpp's converter and server.

    They are looked for in `folder` alone where it is given, else in $LLAMA_CPP_DIR, on the PATH,
    and where Unsloth keeps a llama.cpp; the server also in build/bin and bin below these.

    Raises:
        SettingError: If one of the two is nowhere, with what brings it.
    """
    places = list(_places(folder))
    found = {name: _first(name, places, on_path=folder is None) for name in (CONVERTER, SERVER)}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        where = str(folder) if folder else f"{VARIABLE}, the PATH or Unsloth's folder"
        raise SettingError(
            f"a GGUF file is made by llama.cpp's {CONVERTER} and compared in its {SERVER}; no "
            f"{' and no '.join(missing)} in {where}: {CURE}"
        )
    return LlamaCpp(converter=found[CONVERTER], server=found[SERVER])


def _places(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    if os.environ.get(VARIABLE):
        yield Path(os.environ[VARIABLE])
    yield Path(os.environ.get(UNSLOTH) or Path.home() / ".unsloth" / "llama.cpp")


def _first(name: str, places: list[Path], *, on_path: bool) -> Path | None:
    for place in places[:-1] if on_path else places:
        if (found := _below(place, name)) is not None:
            return found
    if not on_path:
        return None
    found = shutil.which(name)
    return Path(found).resolve() if found else _below(places[-1], name)


def _below(place: Path, name: str) -> Path | None:
    for path in (place / name, place / "build" / "bin" / name, place / "bin" / name):
        if path.is_file():
            return path.absolute()
    return None


def _refusal(said: str, name: str) -> str:
    """Return in one sentence why the converter did not convert."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "nothing was said"
    if "BPE pre-tokenizer was not recognized" in said:
        return (
            f"llama.cpp's converter does not know the tokenizer of {name}: it knows those of "
            "LLaMA-2, Mistral and Phi-2, and no GGUF file can be made of one that it does not know"
        )
    if "No module named" in last:
        package = last.rpartition("No module named")[2].strip(" '\"")
        return (
            f"llama.cpp's converter needs the Python package {package}: "
            f"{sys.executable} -m pip install {package}"
        )
    return f"llama.cpp's converter does not convert {name}: {last[-300:]}; try a newer llama.cpp"
