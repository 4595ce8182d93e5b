from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from headstart.core.errors import OutputError, StoreError, StoreInUse
from headstart.features.store.lock import WriterLock

HOLD = """
import sys
from pathlib import Path
from headstart.features.store.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
lock.close()
"""


@pytest.fixture
def holder(tmp_path):
    """Start another process that holds the lock of ``s.h5``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "s.h5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "s.h5"


@pytest.mark.slow
def test_a_second_writer_is_refused_at_once_and_told_who_writes(holder, store):
    started = time.perf_counter()
    with pytest.raises(StoreError) as caught:
        WriterLock(store)
    assert time.perf_counter() - started < 1
    assert str(caught.value) == (
        f"{store} is being written by process {holder.pid} on {socket.gethostname()}; "
        "wait for it or choose another --out"
    )
    holder.communicate("")  # it ends and gives the lock back
    WriterLock(store).close()


@pytest.mark.slow
def test_a_killed_holder_is_no_obstacle(holder, store):
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    assert store.with_name("s.h5.lock").exists()
    with closing(WriterLock(store)):
        assert store.with_name("s.h5.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list(store.parent.iterdir()) == []


def test_the_same_process_is_refused_too(store):
    with closing(WriterLock(store)), pytest.raises(StoreError, match=f"process {os.getpid()} on"):
        WriterLock(store)


def test_release_is_idempotent_and_takes_no_other_lock_away(store):
    first = WriterLock(store)
    first.close()
    with closing(WriterLock(store)):
        first.close()
        with pytest.raises(StoreError):
            WriterLock(store)
    assert list(store.parent.iterdir()) == []


def test_a_lock_file_that_is_removed_while_it_is_taken(store, monkeypatch):
    """The former holder removes its file after our open and before our lock."""
    lock = store.with_name("s.h5.lock")
    flock = fcntl.flock
    calls = []

    def late(handle, flags):
        if not calls:
            lock.unlink()
        calls.append(handle)
        flock(handle, flags)

    monkeypatch.setattr(fcntl, "flock", late)
    with closing(WriterLock(store)):
        assert len(calls) == 2
        with pytest.raises(StoreError):
            WriterLock(store)


def test_what_a_lock_file_says_is_quoted_on_one_line(store):
    with closing(WriterLock(store)):
        store.with_name("s.h5.lock").write_bytes(b"a\nb\xff" + b"x" * 1000)
        with pytest.raises(StoreError) as caught:
            WriterLock(store)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_full_disk_costs_the_name_and_not_the_lock(store, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with closing(WriterLock(store)), pytest.raises(StoreError, match="by another process"):
        WriterLock(store)
    assert list(store.parent.iterdir()) == []


def test_a_folder_is_no_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, Path(), Path("..")):
        with pytest.raises(StoreError, match="is a folder"):
            WriterLock(folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/s.h5", "x" * 300])
def test_an_impossible_place_is_one_line(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        WriterLock(tmp_path / name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
class TestAFileSystemWithoutLocks:
    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch, number):
        def refuse(handle, flags):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)

    def test_a_file_stands_for_the_lock(self, store):
        lock = WriterLock(store)
        with pytest.raises(StoreInUse, match=r"no locks.*delete .*s\.h5\.lock-file"):
            WriterLock(store)
        lock.close()
        WriterLock(store).close()
        assert not list(store.parent.glob("s.h5.lock*"))

    def test_a_process_of_this_machine_that_has_ended_blocks_nobody(self, store):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        file = store.with_name("s.h5.lock-file")
        file.write_text(f"process {ended.pid} on {socket.gethostname()}")
        WriterLock(store).close()

    def test_a_process_elsewhere_may_still_run(self, store):
        file = store.with_name("s.h5.lock-file")
        file.write_text(f"process {os.getpid()} on another-machine")
        with pytest.raises(StoreInUse, match="on another-machine"):
            WriterLock(store)
        assert file.exists()
