from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from headstart.core import files
from headstart.core.errors import OutputError
from headstart.core.files import cannot_write, make_folder, replacing, write_all, write_text
from hypothesis import given
from hypothesis import strategies as st


@contextmanager
def file_size_limit(size: int):
    """Let the kernel refuse every write beyond ``size``, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(code: int):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def old(tmp_path) -> Path:
    path = tmp_path / "result.txt"
    path.write_text("old")
    return path


# replacing


def test_new_content_takes_the_name_at_the_end(old):
    with replacing(old) as partial:
        partial.write_text("new")
        assert old.read_text() == "old"
        assert partial.parent == old.parent  # a rename must not cross file systems
    assert old.read_text() == "new"
    assert names(old.parent) == ["result.txt"]


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "new")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), OutputError("said")])
def test_an_error_inside_passes_and_keeps_the_old_file(old, error):
    def write_half() -> None:
        with replacing(old) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    assert caught.value is error
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_failing_disk_keeps_the_old_file(old, monkeypatch, call, code):
    owner, name = {
        "write": (Path, "write_text"),
        "fsync": (os, "fsync"),
        "rename": (Path, "replace"),
    }[call]
    monkeypatch.setattr(owner, name, failing(code))
    with pytest.raises(OutputError) as caught:
        write_text(old, "new")
    monkeypatch.undo()
    assert str(caught.value).startswith(f"cannot write {old}: {os.strerror(code)}; ")
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.txt"]


def test_a_write_that_the_kernel_refuses_keeps_the_old_file(old):
    with file_size_limit(10), pytest.raises(OutputError, match="File too large"):
        write_text(old, "new content, of more than ten bytes")
    assert old.read_text() == "old"
    assert names(old.parent) == ["result.txt"]


def test_content_is_flushed_before_the_rename_and_the_folder_after_it(old, monkeypatch):
    calls = []
    sync, replace = files.sync, Path.replace
    monkeypatch.setattr(files, "sync", lambda path: (calls.append(path.name), sync(path)))
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (calls.append("rename"), replace(self, target))
    )
    write_text(old, "new")
    assert calls == [f".result.txt.{os.getpid()}.partial", "rename", old.parent.name]


def test_a_folder_that_cannot_be_flushed_leaves_a_whole_file(old, monkeypatch):
    sync = files.sync
    monkeypatch.setattr(
        files, "sync", lambda path: failing(errno.EIO)() if path.is_dir() else sync(path)
    )
    with pytest.raises(OutputError):
        write_text(old, "new")
    assert old.read_text() == "new"
    assert names(old.parent) == ["result.txt"]


@pytest.mark.parametrize(
    "name",
    ["folder", "file.txt/below.txt", "x" * 300, ".", "line\nbreak/" + "y" * 300],
    ids=["a folder", "below a file", "too long", "no name", "line break"],
)
def test_an_impossible_place_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("kept")
    with pytest.raises(OutputError) as caught:
        write_text(Path(name), "new")
    assert str(caught.value).isprintable()
    assert [n for n in names(tmp_path) if not n.startswith("line")] == ["file.txt", "folder"]
    assert (tmp_path / "file.txt").read_text() == "kept"


# write_text


def test_text_is_utf8_and_lone_surrogates_are_escaped(tmp_path):
    path = tmp_path / "t.txt"
    write_text(path, "é\r\ncaf\udce9 \ud800\n")
    assert path.read_bytes() == "é\r\ncaf\\udce9 \\ud800\n".encode()


# write_all, make_folder, cannot_write


@given(st.binary(max_size=40), st.integers(1, 7), st.integers(0, 9))
def test_short_writes_are_continued(data, most, offset):
    pwrite = os.pwrite
    handle = os.memfd_create("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, view, at: pwrite(fd, view[:most], at))
        write_all(handle, data, offset)
    assert os.pread(handle, 100, offset) == data
    os.close(handle)


def test_a_folder_is_made_and_left_empty(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/self")):
        with pytest.raises(OutputError, match="cannot write"):
            make_folder(place)


def test_the_cause_is_the_systems_own_words():
    foreign = OSError(errno.ENOSPC, "write failed\n, time = noon")
    assert str(cannot_write(Path("x"), foreign)).startswith("cannot write x: No space left on")
    assert ": no\\nerrno;" in str(cannot_write(Path("x"), OSError("no\nerrno")))
