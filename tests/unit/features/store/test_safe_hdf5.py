from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
from headstart.features.store.safe_hdf5 import create

TEXT = h5py.string_dtype("utf-8")


def fill(file: h5py.File) -> None:
    """Write a bit of everything: numbers in blocks, texts, groups, large attributes."""
    numbers = file.create_dataset("numbers", (500, 16), "<f4")
    for start in range(0, 500, 100):
        numbers[start : start + 100] = np.arange(start * 16, start * 16 + 1600).reshape(100, 16)
    file.create_dataset("group/texts", data=[f"text {at}" for at in range(500)], dtype=TEXT)
    file.attrs.create("names", [f"name {at}" for at in range(8000)], dtype=TEXT)


def sound(path) -> bool:
    with h5py.File(path) as file:
        return (
            file["numbers"][:].ravel().tolist() == list(range(8000))
            and file["group/texts"].asstr()[499] == "text 499"
            and file.attrs["names"][7999] == "name 7999"
        )


def test_a_file_like_any_other(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"what was there before, and longer than a superblock" * 10_000)
    create(path, fill)
    assert sound(path)
    with h5py.File(path) as file:  # nothing is left of what was there before
        assert path.stat().st_size < file["numbers"].nbytes + 2**19


def test_an_error_inside_passes_and_the_file_is_closed(tmp_path):
    files = []

    def fail(file: h5py.File) -> None:
        files.append(file)
        raise ValueError("said")

    with pytest.raises(ValueError, match="said"):
        create(tmp_path / "x.h5", fail)
    assert not files[0]


@pytest.mark.parametrize("place", ["missing/x.h5", "."])
def test_a_file_that_cannot_be_made(tmp_path, place):
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT if "x" in place else errno.EISDIR)):
        create(tmp_path / place, fill)


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("lasting", [True, False], ids=["for good", "once"])
@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "close"])
def test_the_first_error_is_raised_at_the_end(tmp_path, monkeypatch, call, lasting):
    """Every call is made to fail in turn, until one more than there are."""
    real = getattr(os, call)
    failed = []

    def fail(*args):
        count.append(args)
        if len(count) == at or (lasting and len(count) > at):
            if call == "close":
                real(*args)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args)

    for at in range(1, 1000):
        count: list[tuple] = []
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                create(tmp_path / "x.h5", fill)
            except OSError as error:
                failed.append(error.errno)
                continue
        assert len(count) == at - 1
        break
    assert failed == [errno.EIO] * (at - 1)
    assert failed
    assert sound(tmp_path / "x.h5")


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_disk_that_is_full_costs_no_crash_and_says_nothing_else(tmp_path, share):
    """HDF5 by itself would print tracebacks and crash the interpreter at exit."""
    create(tmp_path / "whole.h5", fill)
    limit = int(share * (tmp_path / "whole.h5").stat().st_size)
    script = """
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), hard))
        try:
            tests.create(sys.argv[2], tests.fill)
        except OSError as error:
            print(error.strerror)
    """
    assert run_here(script, tmp_path / "x.h5", limit) == (0, "File too large\n", "")


@pytest.mark.slow
def test_an_interrupt_at_any_write_costs_no_crash(tmp_path):
    script = """
        pwrite = os.pwrite
        done = 0
        while done < 1000:
            writes = []

            def interrupted(*args):
                writes.append(args)
                if len(writes) == done + 1:
                    os.kill(os.getpid(), signal.SIGINT)
                return pwrite(*args)

            os.pwrite = interrupted
            try:
                tests.create(sys.argv[2], tests.fill)
                break
            except KeyboardInterrupt:
                assert threading.active_count() == 1
                done += 1
        print(done == len(writes) > 5)
    """
    assert run_here(script, tmp_path / "x.h5") == (0, "True\n", "")
    assert sound(tmp_path / "x.h5")


def run_here(script: str, *arguments: object) -> tuple[int, str, str]:
    """Run a script, with this module as ``tests``, in an interpreter that ends as it should."""
    head = """
        import importlib.util, os, resource, signal, sys, threading
        spec = importlib.util.spec_from_file_location("tests", sys.argv[1])
        tests = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tests)
    """
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(head) + textwrap.dedent(script),
            __file__,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_many_failures_leave_no_open_file(tmp_path):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that counts
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in range(0, 2000, 100):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                create(tmp_path / "x.h5", fill)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
