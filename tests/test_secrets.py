"""A hub token is in no file, log or message; what is committed holds none, and loads nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from alpaca_lab.config import ROOT
from alpaca_lab.exports.secrets import PATTERNS
from test_notebooks import NOTEBOOKS, read
from test_security import outside

IN_THE_ENVIRONMENT = "hf_" + "Env" * 11 + "E"
IN_THE_FILE = "hf_" + "File" * 8 + "FF"


@pytest.fixture
def project(tmp_path):
    """A clone of the package, whose results/ and outputs/ are its own."""
    shutil.copytree(ROOT / "src" / "alpaca_lab", tmp_path / "src" / "alpaca_lab")
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(IN_THE_FILE)
    return tmp_path


def stage(project, *arguments, **environment):
    """Run a command in that clone, with a token in the environment unless it is told otherwise."""
    ours = {
        "PYTHONPATH": str(project / "src"),
        "HF_HOME": str(project / "home"),
        "HF_TOKEN": IN_THE_ENVIRONMENT,
    }
    command = [sys.executable, "-m", "alpaca_lab", *arguments, "--set", "train.loader=plain"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=project, env=os.environ | ours | environment
    )


def holding(project):
    """Return the files that hold a token, apart from the hub's own."""
    secrets = (IN_THE_ENVIRONMENT.encode(), IN_THE_FILE.encode())
    files = [
        path for path in project.rglob("*") if path.is_file() and path != project / "home" / "token"
    ]
    assert len(files) > 100
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.mark.model
def test_finetune_leaves_no_token_in_any_file_or_line(project):
    changes = ("train.max_steps=1", "train.evaluations=1", "questions=2", "max_new_tokens=2")
    settings = [part for change in changes for part in ("--set", change)]
    done = stage(project, "finetune", "--models", "tiny-llama", *settings)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(project.glob("results/smoke/training/*/manifest.json"))
    assert list(project.glob("outputs/*/manifest.json"))
    assert holding(project) == []
    for secret in (IN_THE_ENVIRONMENT, IN_THE_FILE):
        assert secret not in done.stdout + done.stderr


class Refuses(BaseHTTPRequestHandler):
    """A hub that refuses everyone, and says with which token they came."""

    status = 403
    seen: list = []

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        token = self.headers.get("Authorization", "")
        self.seen.append(token)
        body = json.dumps({"error": f"{token} may not"}).encode()
        self.send_response(self.status)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", f"{token} may not")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    Thread(target=server.serve_forever, daemon=True).start()
    Refuses.seen = []
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.model
def test_hub_that_refuses_and_quotes_the_token_is_told_of_without_it(project, hub):
    environment = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    rows = str(ROOT / "assets" / "tiny" / "rows.jsonl")
    arguments = ("finetune", "--profile", "full", "--models", "llama-2-7b", "--data", rows)
    done = stage(project, *arguments, **environment)
    assert f"Bearer {IN_THE_ENVIRONMENT}" in Refuses.seen, done.stderr[-2000:]
    assert done.returncode == 2
    assert "meta-llama/Llama-2-7b-hf" in done.stderr
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert IN_THE_ENVIRONMENT not in done.stdout + done.stderr
    assert holding(project) == []


# What is committed


def committed():
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True)
    if done.returncode != 0:
        pytest.skip("not a clone: git lists no files")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_nothing_that_is_committed_looks_like_a_secret():
    files = [path for path in committed() if path.is_file()]
    assert len(files) > 300
    found = [
        f"{whose} in {path.relative_to(ROOT)}"
        for path in files
        for data in (path.read_bytes(),)
        for whose, pattern in PATTERNS.items()
        if re.search(pattern, data)
    ]
    assert not found


@pytest.mark.parametrize(
    ("whose", "secret"),
    [
        ("hub token", IN_THE_ENVIRONMENT),
        ("GitHub token", "ghp_" + "a1" * 18),
        ("AWS key", "AKIA" + "A1" * 8),
        ("Slack token", "xoxb-" + "1a" * 12),
        ("OpenAI or Anthropic key", "sk-" + "a1" * 24),
        ("private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
        ("password in an address", "https" + "://me:secret@host/"),
    ],
)
def test_a_secret_would_be_found(whose, secret):
    assert re.search(PATTERNS[whose], f'{{"token": "{secret}"}}'.encode())


BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_loads_nothing_from_outside_but_its_colab_badge(path):
    shown = {"text/plain", "text/html", "text/markdown", "image/png"}
    for cell in read(path)["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            images = re.findall(r"!\[[^\]]*\]\(([^)\s]*)", text)
            assert not [one for one in images if one != BADGE and one[:11] != "attachment:"], images
            assert outside(re.sub(r"`[^`]*`", "", text)) == []  # in code a tag is text
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert data.keys() <= shown, data.keys() - shown
            html = "".join(data.get("text/html", ""))
            assert outside(html, also=("style", "progress")) == []
            assert "url(" not in html and "@import" not in html
            assert "![" not in "".join(data.get("text/markdown", ""))
