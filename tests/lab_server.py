"""A real Jupyter server for tests: its own port, token and settings, and gone when they end."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import psutil

PATIENCE_S = 60
OWN_FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
}
"""So that a user's settings, extensions and start-up files are neither read nor changed."""
NOT_OURS = ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_TOKEN", "JPY_PARENT_PID")
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"adaptive-theme": True},  # dark where the browser asks for it
}


@dataclass(frozen=True, kw_only=True)
class LabServer:
    """A running server."""

    url: str
    """With a slash at its end."""
    token: str
    root: Path
    """The folder that it serves."""

    def page(self, path: str) -> str:
        """Return the address of a page, such as "lab/tree/x.ipynb", with the token."""
        return f"{self.url}{path}?token={self.token}"

    def ask(self, path: str, *, method: str = "GET") -> object:
        """Ask the REST API; return the JSON that it answers, None for no content."""
        headers = {"Authorization": f"token {self.token}"}
        request = Request(f"{self.url}api/{path}", method=method, headers=headers)
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or "null")


@contextmanager
def lab_server(folder: Path) -> Iterator[LabServer]:
    """Serve `folder`/notebooks, and end the server and its kernels whatever happens.

    A server that outlives a killed test run ends itself when nobody has used it for five minutes.

    Args:
        folder: An empty folder; settings, runtime files and the log go beside the notebooks.
    """
    root = folder / "notebooks"
    own = {name: folder / place for name, place in OWN_FOLDERS.items()}
    for path in (root, *own.values()):
        path.mkdir(parents=True, exist_ok=True)
    for name, values in SETTINGS.items():
        path = own["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    token = secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    environment |= {name: str(path) for name, path in own.items()} | {"JUPYTER_TOKEN": token}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.root_dir={root}", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    command += ["--ServerApp.shutdown_no_activity_timeout=300"]
    command += ["--MappingKernelManager.cull_idle_timeout=300"]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            url = _url_of(process, own["JUPYTER_RUNTIME_DIR"], log=folder / "server.log")
            yield LabServer(url=url, token=token, root=root)
        finally:
            _end(process)


def _url_of(process: subprocess.Popen, runtime: Path, *, log: Path) -> str:
    """Wait until the server listens, and return its address."""
    last = time.monotonic() + PATIENCE_S
    while time.monotonic() < last and process.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            with suppress(json.JSONDecodeError):  # half written
                return json.loads(path.read_text())["url"]  # its port is bound by then
        time.sleep(0.05)
    raise RuntimeError(f"no Jupyter server started:\n{log.read_text()[-3000:]}")


def _end(process: subprocess.Popen) -> None:
    """Kill a server and its kernels, which are children with sessions of their own."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for member in [process, *family]:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
