"""A server that speaks the protocol of the Hugging Face hub, for repositories in memory.

It answers as huggingface.co does: the commit in ``X-Repo-Commit``, the hash of a large file in
``X-Linked-Etag``, and what went wrong in ``X-Error-Code``.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_of_a_user"
LARGE = (".safetensors", ".bin", ".pth")
_PATH = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Hub:
    """Repositories by name; of each the commits, oldest first, with their files.

    Attributes:
        gated: names that need `TOKEN`.
        requests: paths that were asked for.
        address: of the server while it runs.
    """

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def push(self, name: str, **files: Any) -> str:
        """Add a commit and return its name; ``_`` in a file's name stands for a dot at its end."""
        contents = {
            key.replace("__", "."): value if isinstance(value, bytes) else as_bytes(value)
            for key, value in files.items()
        }
        commits = self.repositories.setdefault(name, {})
        commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[commit] = contents
        return commit

    def answer(self, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for a path."""
        parts = _PATH.fullmatch(unquote(path))
        if parts is None or parts[1] not in self.repositories:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        name, revision, file = parts.groups()
        if name in self.gated and token != f"Bearer {TOKEN}":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        commits = self.repositories[name]
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        headers = {"X-Repo-Commit": commit}
        body = commits[commit].get(file)
        if body is None:
            return 404, headers | {"X-Error-Code": "EntryNotFound"}, b""
        if file.endswith(LARGE):
            headers |= {"X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"'}
            headers |= {"X-Linked-Size": str(len(body))}
        return 200, headers | {"ETag": f'"{hashlib.sha1(body).hexdigest()}"'}, body


def as_bytes(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the repositories on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(self.path)
            status, headers, body = hub.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
