"""A hub on this machine that repositories are created on and folders uploaded to."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_" + "Push" * 9
COMMIT = "b" * 40


class UploadHub(ThreadingHTTPServer):
    """The endpoints that creating a repository and uploading a folder call."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.private: dict[str, bool] = {}
        """Of each repository, whether it is private."""
        self.files: dict[str, bytes] = {}
        self.refuses: int | None = None
        self.always_public = False


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.server.refuses:
            self._send(self.server.refuses, {"error": self.headers.get("Authorization")})
        elif found := re.fullmatch(
            r"/api/models/([^/]+/[^/?]+)(/revision/[^/?]+)?(\?.*)?", self.path
        ):
            name = found[1]
            if name not in self.server.private:
                self._send(404, {}, **{"X-Error-Code": "RepoNotFound"})
                return
            about = {"id": name, "sha": COMMIT, "private": self.server.private[name]}
            self._send(200, about | {"siblings": []})
        else:
            self._send(404, {}, **{"X-Error-Code": "EntryNotFound"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuses:
            self._send(self.server.refuses, {"error": self.headers.get("Authorization")})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            known = name in self.server.private
            private = asked.get("visibility") == "private" and not self.server.always_public
            self.server.private.setdefault(name, private)
            self._send(409 if known else 200, {"url": f"{self.server.url}/{name}"})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self._send(200, {"files": [{"path": name, **modes} for name in names]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[line["value"]["path"]] = content
            made = {"commitUrl": f"{self.server.url}/me/tiny/commit/{COMMIT}", "commitOid": COMMIT}
            self._send(200, made)
        else:
            self._send(200, {"errors": [], "warnings": []})

    def _send(self, status, answer, **headers):
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass
