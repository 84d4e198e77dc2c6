"""A hub on this machine: the endpoints that its client calls, with faults to order, and a log.

with Hub() as hub:
    hub.add("model", "lab/tiny", COMMIT, {"config.json": b"{}"})
    hub.breaks("config.json", Fault(status=503), times=2)
    subprocess.run(..., env=os.environ | hub.environment(home))
    hub.requests("GET", "config.json")
"""

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0de"
LARGE = (".safetensors", ".parquet")
"""Kept as LFS files: named by sha256, and served by another host under a signed address."""
SIGNATURE = "X-Amz-Signature=not-for-your-eyes"
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request. Without a field set, nothing does."""

    status: int | None = None
    """Answer this instead."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with that status, such as X-Error-Code."""
    body: bytes | None = None
    """Answer this instead, with status 200."""
    stall_at: int | None = None
    """Send nothing more after so many bytes of the body, and keep the line open."""
    reset_at: int | None = None
    """Reset the connection after so many bytes of the body."""
    flip_at: int | None = None
    """Send this byte of the file with a bit flipped."""
    ignore_range: bool = False
    """Answer a Range with the whole file."""


@dataclass(kw_only=True)
class Request:
    """A line of the log."""

    method: str
    path: str
    range: str | None
    has_token: bool
    host: str
    status: int
    sent: int = 0
    """Bytes of the body that left before it ended or broke."""


def git_sha1(data: bytes) -> str:
    """Return git's name of a blob, 40 hex digits."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(name: str, data: bytes) -> str:
    """Return the hub's checksum of a file: sha256 if it is large, else git's sha1."""
    return hashlib.sha256(data).hexdigest() if name.endswith(LARGE) else git_sha1(data)


class Hub(ThreadingHTTPServer):
    """The stub. Use it as a context; `url` is its address."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        """Listen on a free port of this machine."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.log: list[Request] = []
        self._repositories: dict[tuple[str, str], dict[str, dict[str, bytes]]] = {}
        self._blobs: dict[str, bytes] = {}
        self._faults: list[tuple[str, Fault, list[int]]] = []
        self._lock = threading.Lock()
        self.closing = threading.Event()

    def server_bind(self) -> None:
        """Bind without asking a name server who this machine is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def add(self, kind: str, name: str, commit: str, files: Mapping[str, bytes]) -> None:
        """Put a commit on the hub. `kind` is "model" or "dataset"."""
        self._repositories.setdefault((kind, name), {})[commit] = dict(files)
        for path, data in files.items():
            self._blobs[etag(path, data)] = data

    def breaks(self, where: str, fault: Fault, *, times: int = 10**9) -> None:
        """Order a fault for the next so many requests whose path holds `where`."""
        self._faults.append((where, fault, [times]))

    def mend(self) -> None:
        """Take back all faults, and forget the log."""
        self._faults.clear()
        self.log.clear()

    def requests(self, method: str = "", where: str = "") -> list[Request]:
        """Return the log's requests with this method, whose path holds `where`."""
        return [r for r in self.log if r.method.startswith(method) and where in r.path]

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return the variables under which a process takes this for the hub, with its own cache."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1,localhost",
            **more,
        }

    def fault_of(self, path: str) -> Fault:
        """Return what is to go wrong with a request, and count it."""
        with self._lock:
            for where, fault, left in self._faults:
                if where in path and left[0] > 0:
                    left[0] -= 1
                    return fault
        return Fault()

    def commits(self, kind: str, name: str) -> dict[str, dict[str, bytes]] | None:
        """Return {commit: {path: bytes}} of a repository; None if there is none."""
        return self._repositories.get((kind, name))

    def blob(self, name: str) -> bytes:
        """Return the file that has this checksum."""
        return self._blobs[name]

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent when a client goes away."""


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """The log is ours."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        fault = self.server.fault_of(path)
        if fault.status is not None:
            self._send(fault.status, b"", headers=fault.headers)
        elif fault.body is not None:
            self._send(200, fault.body, fault=fault)
        elif found := re.fullmatch(r"/cdn/([0-9a-f]+)/(.+)", path):
            self._send_file(self.server.blob(found[1]), fault)
        elif found := re.fullmatch(r"/api/(model|dataset)s/(.+?)/revision/([^/]+)", path):
            self._describe(found[1], found[2], commit=found[3])
        elif found := re.fullmatch(r"/api/(model|dataset)s/(.+?)/tree/([^/]+)/?(.*)", path):
            self._list(found[1], found[2], commit=found[3], below=found[4])
        elif found := re.fullmatch(r"/api/(model|dataset)s/(.+?)/paths-info/([^/]+)", path):
            self._list(found[1], found[2], commit=found[3], paths=self._asked_paths())
        elif found := re.fullmatch(r"/(datasets/)?(.+?)/resolve/([^/]+)/(.+)", path):
            kind = "dataset" if found[1] else "model"
            self._resolve(kind, found[2], commit=found[3], name=found[4], fault=fault)
        else:
            self._send(404, b"")

    def _files(self, kind: str, name: str, commit: str) -> dict[str, bytes] | None:
        """Return a commit's files, or answer that there is no such repository or commit."""
        commits = self.server.commits(kind, name)
        if commits is None:  # a hub does not tell a stranger what is private and what is not there
            status = 404 if "Authorization" in self.headers else 401
            self._send(status, b"", headers={"X-Error-Code": "RepoNotFound"})
        elif commit not in commits:
            self._send(404, b"", headers={"X-Error-Code": "RevisionNotFound"})
        else:
            return commits[commit]
        return None

    def _describe(self, kind: str, name: str, *, commit: str) -> None:
        """Answer what a commit is, and which files it has."""
        files = self._files(kind, name, commit)
        if files is not None:
            rows = [_row(path, data, keys=INFO_KEYS) for path, data in files.items()]
            answer = {"id": name, "sha": commit, "siblings": rows}
            self._send(200, json.dumps(answer).encode())

    def _list(
        self, kind: str, name: str, *, commit: str, below: str = "", paths: Sequence[str] = ()
    ) -> None:
        """Answer with the files of a folder, or with those of `paths` that there are."""
        files = self._files(kind, name, commit)
        if files is None:
            return
        rows = [
            _row(path, data, keys=TREE_KEYS) | {"type": "file"}
            for path, data in files.items()
            if path.startswith(f"{below}/" if below else "") and (not paths or path in paths)
        ]
        if below and not rows:
            self._send(404, b"", headers={"X-Error-Code": "EntryNotFound"})
        else:
            self._send(200, json.dumps(rows).encode())

    def _asked_paths(self) -> list[str]:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        return json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]

    def _resolve(self, kind: str, where: str, *, commit: str, name: str, fault: Fault) -> None:
        files = self._files(kind, where, commit)
        if files is None:
            return
        if name not in files:
            missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            self._send(404, b"", headers=missing)
            return
        mark = etag(name, files[name])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{mark}"'}
        if not name.endswith(LARGE):
            self._send_file(files[name], fault, headers=headers)
            return
        headers |= {
            "X-Linked-Etag": f'"{mark}"',
            "X-Linked-Size": str(len(files[name])),
            "Location": f"http://localhost:{self.server.server_port}/cdn/{mark}/{name}?{SIGNATURE}",
        }
        self._send(302, b"", headers=headers)

    def _send_file(
        self, data: bytes, fault: Fault, *, headers: Mapping[str, str] | None = None
    ) -> None:
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status, headers = 200, dict(headers or {}) | {"Accept-Ranges": "bytes"}
        if asked and not fault.ignore_range:
            start = int(asked[1])
            if start >= len(data):
                self._send(416, b"", headers={"Content-Range": f"bytes */{len(data)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if fault.flip_at is not None:
            data = (
                data[: fault.flip_at] + bytes([data[fault.flip_at] ^ 1]) + data[fault.flip_at + 1 :]
            )
        self._send(status, data[start:], headers=headers, fault=fault)

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        fault: Fault = Fault(),
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        noted = self._note(status)
        self.end_headers()
        stop = None
        if self.command != "HEAD":
            stops = [at for at in (fault.stall_at, fault.reset_at) if at is not None]
            stop = min(stops, default=None)
            end = len(body) if stop is None else min(stop, len(body))
            try:
                while noted.sent < end:
                    piece = body[noted.sent : min(noted.sent + CHUNK_BYTES, end)]
                    noted.sent += len(piece)  # before: whoever has the last byte may read the log
                    self.wfile.write(piece)
            except OSError:
                stop = None
                self.close_connection = True
        if stop is None:
            return
        self.close_connection = True
        if fault.stall_at is not None:
            self.server.closing.wait(60)
            return
        time.sleep(0.05)  # what was sent arrives before the reset does
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _note(self, status: int) -> Request:
        request = Request(
            method=self.command,
            path=unquote(urlsplit(self.path).path),
            range=self.headers.get("Range"),
            has_token="Authorization" in self.headers,
            host=self.headers.get("Host", ""),
            status=status,
        )
        self.server.log.append(request)
        return request


INFO_KEYS = ("rfilename", "blobId", "sha256")
TREE_KEYS = ("path", "oid", "oid")
"""What the two endpoints call a file's path, its git sha1, and a large file's sha256."""


def _row(path: str, data: bytes, *, keys: tuple[str, str, str]) -> dict:
    row = {keys[0]: path, "size": len(data), keys[1]: git_sha1(data)}
    large = {"size": len(data), keys[2]: etag(path, data), "pointerSize": 134}
    return row | ({"lfs": large} if path.endswith(LARGE) else {})
