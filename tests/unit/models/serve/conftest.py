"""What the tests of the server share: a store of training images, and a server in a process."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from headstart.features.embed import EmbedConfig, embed

CLASSES = ("bark", "cloth", "drain")
N_TEST = 3


class Served:
    """``headstart serve`` in a process of its own, on a port that was free."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-c", "from headstart.cli import main; main()", "serve"]
        self.process = subprocess.Popen(
            [*command, "--port", "0", *map(str, words)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))
            if ready := re.match(r"serving .* at (http://(\S+):(\d+)) \(press Ctrl", line):
                self.url, self.host, self.port = ready[1], ready[2], int(ready[3])
                break
        else:
            self.process.wait()
            raise AssertionError(self.said)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(line.rstrip("\n") for line in self.process.stderr)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, http.client.HTTPResponse]:
        """Return status, content (JSON parsed) and the response, on a connection of its own."""
        connection = http.client.HTTPConnection(self.host.strip("[]"), self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            content: Any = reply.read()
            if reply.headers.get_content_type() == "application/json":
                content = json.loads(content)
            return reply.status, content, reply
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        assert not [line for line in self.said if "Traceback" in line or "Exception" in line]


@pytest.fixture(scope="session")
def photos(tmp_path_factory, write_image) -> Path:
    root = tmp_path_factory.mktemp("served") / "photos"
    for number in range(12):
        split = "test" if number < N_TEST else "train"
        write_image(root / split / CLASSES[number % 3] / f"{number}.png", number)
    return root


@pytest.fixture(scope="session")
def training(photos, tiny_backbone) -> Path:
    """A store of nine training and three test images, by the tiny classifier's backbone."""
    path = photos.parent / "store.h5"
    embed(str(photos), path, EmbedConfig(str(tiny_backbone)))
    return path


@pytest.fixture(scope="session")
def served(tiny_classifier, training) -> Iterator[Served]:
    server = Served(tiny_classifier, "--store", training, "--max-mb", "1")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Served]]:
    """Give ``start(*words)``: a further server, ended with the session."""
    servers: list[Served] = []

    def begin(*words: object) -> Served:
        servers.append(Served(*words))
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()
