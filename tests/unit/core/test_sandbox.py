"""Child processes with limits: what they answer, and how they end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from headstart.core import sandbox
from headstart.core.errors import StoreError

pytestmark = pytest.mark.process


def answer(path: Path, other: Path) -> list[object]:
    return [path.name, other.name, os.getpid()]


def refuse(path: Path) -> None:
    raise StoreError(f"{path.name} is not for us")


def loop(path: Path) -> None:
    while True:
        pass


def crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def mistake(path: Path) -> None:
    raise ZeroDivisionError("what was\nnot meant")


def gobble(path: Path) -> None:
    bytearray(sandbox.BYTES + (1 << 30))


def loop_on(data: bytes, options: object) -> bytes:
    while True:
        pass


def crash_on(data: bytes, options: object) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Give ``call(function)``: call a function of this module for a small file."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    path = tmp_path / os.fsdecode(b"caf\xe9\n.h5")
    path.write_bytes(b"x")
    return lambda function, *rest: sandbox.call(f"test_sandbox:{function.__name__}", path, *rest)


def test_it_answers_from_another_process(call):
    name, other, process = call(answer, Path("other"))
    assert (name, other) == (os.fsdecode(b"caf\xe9\n.h5"), "other")
    assert process != os.getpid()


def test_what_it_says_to_the_user_is_said(call):
    with pytest.raises(StoreError, match="is not for us"):
        call(refuse)


@pytest.mark.parametrize(
    ("function", "ending"),
    [
        (loop, "is damaged so that reading it does not end"),
        (crash, "is damaged so that reading it ended the process (signal 11)"),
        (mistake, "ended the process (not meant)"),
        (gobble, "claims more data than it can hold"),
    ],
)
def test_whatever_becomes_of_it_is_one_line(call, monkeypatch, function, ending):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    with pytest.raises(StoreError) as caught:
        call(function)
    assert ending in str(caught.value)
    assert str(caught.value).isprintable()


def double(data: bytes, options: dict[str, int]) -> bytes:
    if not data:
        raise StoreError("nothing to double")
    return data * options["times"]


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return lambda function: sandbox.Worker(f"test_sandbox:{function.__name__}", 1, 4 << 30)


def test_a_worker_answers_one_request_after_another(worker):
    process = worker(double)
    big = os.urandom(1 << 20)
    assert process.ask(b"ab", {"times": 3}, 60) == (True, b"ababab")
    assert process.ask(b"", {"times": 3}, 60) == (False, b"nothing to double")
    assert process.ask(big, {"times": 2}, 60) == (True, big * 2)


@pytest.mark.parametrize(
    ("function", "reason"), [(loop_on, sandbox.Ended.TIME), (crash_on, sandbox.Ended.CRASH)]
)
def test_why_a_worker_ended(worker, function, reason):
    with pytest.raises(sandbox.Ended, match=reason):
        worker(function).ask(b"x", None, 60)


def test_a_worker_whose_module_is_missing(monkeypatch):
    with pytest.raises(sandbox.Ended, match=sandbox.Ended.START):
        sandbox.Worker("no_such_module:f", 1, 4 << 30).ask(b"", None, 60)
