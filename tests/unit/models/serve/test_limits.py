"""What a server does when clients are many or slow: the application behind a real socket."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from headstart.models import serve
from headstart.models.predict import Model
from headstart.models.serve import app
from headstart.models.serve.batching import Batcher


@contextmanager
def serving(path: Path, limits: app.Limits) -> Iterator[tuple[str, int]]:
    """Serve a model on one thread within these limits."""
    model = Model(path)
    batcher = Batcher(model, 1)
    listener = serve.listen("127.0.0.1", 0)
    application = app.build(app.Service(model, "m", batcher, limits=limits))
    ready = threading.Event()
    server = serve.server(application, ready.set, silence=1)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert ready.wait(30)
    try:
        yield listener.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(30)
        batcher.close()


@pytest.fixture(scope="module")
def address(tiny_classifier) -> Iterator[tuple[str, int]]:
    """A server that bears two requests at once, for half a second each."""
    with serving(tiny_classifier, app.Limits(seconds=0.5, requests=2)) as where:
        yield where


def begun(address: tuple[str, int]) -> socket.socket:
    line = socket.create_connection(address, timeout=30)
    line.sendall(b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\nx")
    return line


def answer(line: socket.socket) -> tuple[int, dict[str, str]]:
    reply = http.client.HTTPResponse(line)
    reply.begin()
    return reply.status, json.loads(reply.read())


def test_a_body_that_does_not_arrive(address):
    with begun(address) as line:
        status, document = answer(line)
    assert (status, document) == (408, {"error": "the image did not arrive within 0.5 s"})


def test_one_request_too_many(address):
    lines = [begun(address) for _ in range(2)]
    time.sleep(0.2)
    with begun(address) as line:
        status, document = answer(line)
    assert status == 503
    assert "too many requests" in document["error"]
    for line in lines:
        assert answer(line)[0] == 408
        line.close()
    with begun(address) as line:  # there is room again
        line.sendall(b"x" * 98)
        assert answer(line)[0] == 422


@pytest.mark.parametrize("said", [b"", b"POST /predict HTTP/1.1\r\nhost: "])
def test_a_client_that_says_nothing(address, said):
    with socket.create_connection(address, timeout=30) as line:
        line.sendall(said)
        assert line.recv(9) == b""  # closed by the server


def test_a_client_that_says_nothing_more(address):
    with begun(address) as line:
        line.sendall(b"x" * 98)
        assert answer(line)[0] == 422
        line.sendall(b"GET /mod")
        assert line.recv(9) == b""


def large_png() -> bytes:
    """Return a small file of 177 million grey pixels, which take seconds to decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    side = 13_300
    rows = zlib.compress(bytes(side * (side + 1)), 1)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def posted(address: tuple[str, int], body: bytes) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("POST", "/predict", body)
    reply = connection.getresponse()
    status, document = reply.status, json.loads(reply.read())
    connection.close()
    return status, document


@pytest.mark.process
def test_images_that_take_long_hold_up_nobody_else(tiny_classifier, tmp_path, write_image):
    large, photo = large_png(), write_image(tmp_path / "a.png", 1).read_bytes()
    limits = app.Limits(doubtful=2)
    with (
        serving(tiny_classifier, limits) as where,
        ThreadPoolExecutor(2) as clients,
    ):
        slow_ones = [clients.submit(posted, where, large) for _ in range(2)]
        time.sleep(0.5)
        assert posted(where, photo)[0] == 200
        status, document = posted(where, large)
        assert status == 503
        assert document["error"].startswith("too many unusual images at once")
        assert not any(one.done() for one in slow_ones)  # all that was while they were decoded
        assert [one.result()[0] for one in slow_ones] == [200, 200]
