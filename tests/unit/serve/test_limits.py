"""What a server does when clients are many or slow: the application behind a real socket."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline import serve
from pipeline.classifier import Model
from pipeline.serve import app
from pipeline.serve.batching import Batcher


@pytest.fixture(scope="module")
def address(tiny_classifier) -> Iterator[tuple[str, int]]:
    """A server that bears two requests at once, for half a second each."""
    model = Model(tiny_classifier)
    batcher = Batcher(model, 1)
    limits = app.Limits(seconds=0.5, requests=2)
    listener = serve.listen("127.0.0.1", 0)
    application = app.build(model, "m", batcher, (None, ""), limits)
    ready = threading.Event()
    server = serve.server(application, ready.set, silence=1)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    assert ready.wait(30)
    yield listener.getsockname()[:2]
    server.should_exit = True
    thread.join(30)
    batcher.close()


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
    assert (status, document) == (503, {"error": "too many requests at once; try again"})
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
