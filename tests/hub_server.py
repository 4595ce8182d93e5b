"""A server that speaks the protocol of the Hugging Face hub, for repositories in memory.

It answers as huggingface.co does: the commit in ``X-Repo-Commit``, large files by a redirect to
another host, with their hash in ``X-Linked-Etag``, and what went wrong in ``X-Error-Code`` and
``X-Error-Message``. Like that host's, the other one refuses requests with a token.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_of_a_user"
STRANGER = "hf_of_a_user_without_access"
LARGE = (".safetensors", ".bin", ".pth")
_PATH = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_STORAGE = "/storage/"


@dataclass(frozen=True)
class File:
    """A file of a commit, hashed once: by SHA-256 if it is large, as by Git otherwise."""

    content: bytes
    digest: str


@dataclass
class Hub:
    """Repositories by name; of each the commits, oldest first, with their files.

    Attributes:
        refs: commits by the names of branches and tags, of each repository.
        gated: names that need `TOKEN`.
        forbidden: names that `TOKEN` may not read.
        busy: a status that answers every request; 0 for none.
        requests: paths that were asked for.
        address: of the server while it runs.
    """

    repositories: dict[str, dict[str, dict[str, File]]] = field(default_factory=dict)
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    busy: int = 0
    requests: list[str] = field(default_factory=list)
    address: str = ""
    storage: str = ""

    def push(self, name: str, **files: Any) -> str:
        """Add a commit and return its name; ``__`` in a file's name stands for a dot."""
        commits = self.repositories.setdefault(name, {})
        commit = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[commit] = {}
        for key, value in files.items():
            path = key.replace("__", ".")
            content = value if isinstance(value, bytes) else as_bytes(value)
            kind = hashlib.sha256 if path.endswith(LARGE) else hashlib.sha1
            commits[commit][path] = File(content, kind(content).hexdigest())
        return commit

    def answer(self, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for a path."""
        if self.busy:
            return self.busy, {}, b""
        if token and token not in (f"Bearer {TOKEN}", f"Bearer {STRANGER}"):
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b""
        parts = _PATH.fullmatch(path)
        if parts is None or parts[1] not in self.repositories:
            return 404 if token else 401, {"X-Error-Code": "RepoNotFound"}, b""
        name, revision, file = (unquote(part) for part in parts.groups())
        if name in self.gated and token != f"Bearer {TOKEN}":
            return 403 if token else 401, {"X-Error-Code": "GatedRepo"}, b""
        if name in self.forbidden:
            return 403, {"X-Error-Message": "Your token lacks a permission"}, b""
        commits = self.repositories[name]
        refs = {"main": list(commits)[-1], **self.refs.get(name, {})}
        commit = refs.get(revision, revision)
        if commit not in commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        headers = {"X-Repo-Commit": commit}
        stored = commits[commit].get(file)
        if stored is None:
            return 404, headers | {"X-Error-Code": "EntryNotFound"}, b""
        if not file.endswith(LARGE):
            return 200, headers | {"ETag": f'"{stored.digest}"'}, stored.content
        headers |= {"X-Linked-Etag": f'"{stored.digest}"'}
        headers |= {"X-Linked-Size": str(len(stored.content))}
        return 302, headers | {"Location": f"{self.storage}{_STORAGE}{stored.digest}"}, b""

    def store(self, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        """Return what the other host answers, which keeps large files by their hashes."""
        every = (files for commits in self.repositories.values() for files in commits.values())
        bodies = {file.digest: file.content for files in every for file in files.values()}
        body = bodies.get(path.removeprefix(_STORAGE))
        if token or body is None:
            return 400 if token else 404, {}, b""
        return 200, {}, body


def as_bytes(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the repositories on this machine, and large files under another of its names."""

    def answer(path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        hub.requests.append(path)
        return hub.answer(path, token)

    with _listening(answer) as port, _listening(hub.store) as other:
        hub.address, hub.storage = f"http://127.0.0.1:{port}", f"http://localhost:{other}"
        yield hub


@contextlib.contextmanager
def _listening(
    answer: Callable[[str, str], tuple[int, dict[str, str], bytes]],
) -> Iterator[int]:
    """Answer requests on a port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path, self.headers.get("Authorization", ""))
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
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
