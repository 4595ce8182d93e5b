"""A run that is interrupted, killed, or writes to a failing disk loses nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from headstart.core.errors import HeadstartError, OutputError, StoreError
from headstart.features.store import read, verify
from headstart.features.store.columns import Failure
from headstart.features.store.writer import StoreWriter, state_key
from hypothesis import given
from hypothesis import strategies as st

CALLS = ("open", "pwrite", "ftruncate", "fsync", "replace", "unlink", "close")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bad(count: int) -> list[Failure]:
    return [Failure(f"bad/{at}.jpg", f"reason {at % 3}", b"") for at in range(count)]


def same(ours, theirs) -> bool:
    """Say whether two stores hold the same rows and failures, bit for bit."""
    columns = ("features", "label", "sha256", "pixels")
    facts = ("path", "split", "classes", "failures", "digest", "extraction")
    return all(
        getattr(ours, name).tobytes() == getattr(theirs, name).tobytes() for name in columns
    ) and all(getattr(ours, name) == getattr(theirs, name) for name in facts)


# Interruptions


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, build):
    path = tmp_path / "s.h5"
    assert build.run(path, build.listing(10), stop_after=4).published is None
    assert names(tmp_path) == ["s.h5.journal"]
    assert build.run(path, build.listing(10), stop_after=3).embedded == 3
    with StoreWriter(path, build.extraction()) as writer:
        assert (writer.journalled_before, writer.published_before) == (7, 0)
        image = build.listing(10)[6]
        assert writer.hash_of(state_key(image.path, image.state)) == build.sha256(image.content)
    assert build.run(path, build.listing(10)).embedded == 3
    assert build.matches(read(path), build.listing(10))
    assert names(tmp_path) == ["s.h5"]


def test_what_a_killed_writer_left_half_written_is_removed(tmp_path, build):
    path = tmp_path / "s[1].h5"
    for stale in (".s[1].h5.123.partial", ".s1.h5.123.partial", ".s[1].h5.partial"):
        (tmp_path / stale).write_bytes(b"half")
    build.run(path, build.listing())
    # A store of another name keeps its own.
    assert names(tmp_path) == [".s1.h5.123.partial", ".s[1].h5.partial", "s[1].h5"]


LISTINGS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.integers(0, 5), st.integers(-1, 1), st.sampled_from(["train", "test", ""])),
    min_size=1,
)
RUNS = st.tuples(
    LISTINGS,
    st.integers(0, 2),  # failures
    st.none() | st.integers(0, 4),  # images after which the run ends, if it does
    st.integers(0, 4000),  # bytes that the journal then loses at its end
)


@pytest.mark.slow
@given(st.lists(RUNS, min_size=1, max_size=5), st.permutations("abcdef"))
def test_any_history_ends_in_the_store_of_an_undisturbed_run(build, runs, order):
    with TemporaryDirectory() as folder:
        path, calm = Path(folder) / "s.h5", Path(folder) / "calm.h5"
        for number, (listing, failures, stop_after, torn) in enumerate(runs):
            images = [build.image(name, *listing[name]) for name in order if name in listing]
            last = number == len(runs) - 1
            build.run(path, images, bad(failures), stop_after=None if last else stop_after)
            journal = path.with_name("s.h5.journal")
            if journal.exists():
                os.truncate(journal, max(0, journal.stat().st_size - torn))
        build.run(calm, images, bad(failures))
        assert same(read(path), read(calm))
        assert verify(path) == []
        assert build.matches(read(path), images)
        assert names(Path(folder)) == ["calm.h5", "s.h5"]


# Kills and failing disks, at every call that changes something


@contextmanager
def intercepted(patch: pytest.MonkeyPatch, react) -> Iterator[list[str]]:
    """Let ``react(number, call, real, arguments)`` stand for each call that changes a file."""
    made: list[str] = []

    def stand_in(call: str):
        real = getattr(os, call)

        def function(*args, **kwargs):
            made.append(call)
            return react(len(made), call, lambda *args: real(*args, **kwargs), args)

        return function

    with patch.context() as inner:
        for call in CALLS:
            inner.setattr(os, call, stand_in(call))
        yield made


def grown(build) -> list:
    """Return a listing that an old store of six images must grow and change to say."""
    return [*build.listing(6)[1:], *(build.image(f"new/{at}.jpg", 20 + at) for at in range(4))]


@pytest.fixture
def old(tmp_path, build) -> Path:
    """Return a published store with work in its journal, as a run finds it that goes on."""
    path = tmp_path / "s.h5"
    build.run(path, build.listing(6))
    build.run(path, grown(build), stop_after=2)
    (tmp_path / ".s.h5.1.partial").write_bytes(b"half")
    return path


def restore(path: Path, files: dict[str, bytes]) -> None:
    for child in path.parent.iterdir():
        child.unlink()
    for name, content in files.items():
        path.with_name(name).write_bytes(content)


def settled(path: Path, before: bytes, build) -> None:
    """Check that the store is the old or the new one, and that a calm run ends as it must."""
    if path.read_bytes() != before:
        assert verify(path) == []
        assert build.matches(read(path), grown(build))
    ran = build.run(path, grown(build))
    assert ran.embedded <= 2  # what was in the journal or the store is there still
    assert verify(path) == []
    assert build.matches(read(path), grown(build))
    assert names(path.parent) == ["s.h5"]


@pytest.fixture
def step(level) -> int:
    """Of how many calls one is tried: of each at the level ``all``."""
    return 1 if level == "all" else 8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child runs no thread
def test_a_kill_at_any_call_loses_nothing(old, build, monkeypatch, step):
    files = {path.name: path.read_bytes() for path in old.parent.iterdir()}

    def run_until(kill_at: int) -> int:
        """Run in another process, which kills itself in the middle of a call."""

        def react(number, call, real, args):
            if number == kill_at:
                if call == "pwrite":
                    real(args[0], args[1][: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        child = os.fork()
        if child == 0:
            code = 1
            try:
                with intercepted(monkeypatch, react):
                    build.run(old, grown(build))
                code = 0
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    kill_at = 1
    while (code := run_until(kill_at)) != 0:
        assert code == -signal.SIGKILL
        settled(old, files["s.h5"], build)
        restore(old, files)
        kill_at += step
    assert kill_at > 30
    assert build.matches(read(old), grown(build))


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["for good", "once"]
)
def test_a_failing_disk_at_any_call_is_one_line_and_loses_nothing(
    old, build, monkeypatch, code, lasting, step
):
    files = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    told = 0
    for at in range(1, 1000, step):

        def react(number, call, real, args, at=at):
            if number == at or (lasting and number > at):
                if call == "close":
                    real(*args)  # Linux closes a file even if it reports an error
                raise OSError(code, os.strerror(code))
            return real(*args)

        with intercepted(monkeypatch, react) as made:
            try:
                build.run(old, grown(build))
            except HeadstartError as error:
                # Or no error at all; an old store that cannot be read is another kind of error.
                assert isinstance(error, OutputError | StoreError)  # noqa: PT017
                assert os.strerror(code) in str(error)  # noqa: PT017
                assert str(error).isprintable()  # noqa: PT017
                told += 1
        if len(made) < at:
            break
        settled(old, files["s.h5"], build)
        restore(old, files)
    assert told * step > 30


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(small_disk, build):
    path = small_disk / "s.h5"
    build.run(path, build.listing(6))
    before = path.read_bytes()
    filler = small_disk / "filler"
    page = 4096
    failed = []
    for free in range(0, 400_000, 8 * page):
        filler.write_bytes(b"")
        disk = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, disk.f_bavail * disk.f_frsize - free)))
        try:
            build.run(path, grown(build))
        except OutputError as error:
            failed.append(str(error))
            assert path.read_bytes() == before
            assert set(names(small_disk)) <= {"filler", "s.h5", "s.h5.journal"}
        else:
            break
    assert len(failed) >= 2
    assert all("No space left on device" in message for message in failed)
    assert build.matches(read(path), grown(build))
    filler.unlink()
    assert build.run(path, grown(build)).published is False
    assert names(small_disk) == ["s.h5"]
