from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from headstart.core.errors import OutputError, StoreError
from hypothesis import given
from hypothesis import strategies as st


def contents(journal) -> list[bytes]:
    """Return the content hashes of a journal's records, after checking what it reads of them."""
    rows = journal.read(range(len(journal)))
    ids = [(row["sha256"].tobytes(), row["key"].tobytes()) for row in rows]
    recovered = list(journal.recovered())
    assert ids[: len(recovered)] == recovered
    return [sha256 for sha256, _ in ids]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.h5.journal"


@pytest.fixture(scope="session")
def written(tmp_path_factory, build) -> bytes:
    """Return the bytes of a journal of four records."""
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = build.journal(path)
    journal.append([build.record(content) for content in range(4)])
    journal.close()
    return path.read_bytes()


@pytest.fixture(scope="session")
def geometry(written, build) -> tuple[int, int]:
    """Return where the records start and how long each is."""
    stride = 32 + 16 + 4 * build.dim + 32 * 32 * 3 + 4
    return len(written) - 4 * stride, stride


# Appending and reading


def test_records_come_back_as_they_were(path, build):
    records = [build.record(content, bytes([content]) * 16) for content in range(7)]
    journal = build.journal(path)
    journal.append(records[:3])
    journal.append([])
    journal.append(records[3:])
    journal.close()

    journal = build.journal(path)
    order = [6, 0, 1, 2, 2, 5, 4, 3]  # runs, repeats and backward steps
    rows = journal.read(order)
    for row, at in zip(rows, order, strict=True):
        assert row["sha256"].tobytes() == records[at].sha256
        assert row["key"].tobytes() == records[at].key
        np.testing.assert_array_equal(row["features"], records[at].values["features"])
        np.testing.assert_array_equal(row["pixels"], records[at].values["pixels"])
    assert list(journal.recovered()) == [(record.sha256, record.key) for record in records]
    journal.close()


def test_more_records_than_are_scanned_at_once(path, build, monkeypatch):
    monkeypatch.setattr("headstart.features.store.journal._SCAN", 3)
    for count in (2, 1, 3, 1):  # 2, 3, 6 and 7 in all: around the edges of a scan
        journal = build.journal(path)
        before = len(journal)
        journal.append([build.record(content) for content in range(before, before + count)])
        journal.close()
    journal = build.journal(path)
    assert contents(journal) == [build.sha256(content) for content in range(7)]
    journal.close()


def test_an_empty_journal_is_deleted_and_a_used_one_is_kept(path, build):
    build.journal(path).close()
    assert not path.exists()
    journal = build.journal(path)
    journal.append([build.record(1)])
    journal.close()
    journal.close()  # a second time does nothing
    assert path.exists()
    journal = build.journal(path)
    journal.remove()
    assert not path.exists()


# Damage


@pytest.mark.slow
def test_a_journal_cut_at_any_length_keeps_the_whole_records(path, build, written, geometry, level):
    start, stride = geometry
    every = 1 if level == "all" else 3  # bytes; a record's ends are tried one by one
    ends = {start + record * stride + at for record in range(3) for at in (-1, 0, 1)}
    lengths = {*range(0, start + 2 * stride, every), *ends}
    for length in sorted(length for length in lengths if length <= start + 2 * stride):
        path.write_bytes(written[:length])
        journal = build.journal(path)
        whole = max(0, length - start) // stride
        assert list(journal.recovered()) == [
            (build.sha256(content), bytes(16)) for content in range(whole)
        ]
        journal.close()


@given(data=st.data())
def test_a_changed_byte_costs_its_record_and_what_follows(
    tmp_path_factory, build, written, geometry, data
):
    start, stride = geometry
    at = data.draw(
        st.integers(0, len(written) - 1) | st.integers(0, start - 1)  # the header is small
    )
    damaged = bytearray(written)
    damaged[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(damaged)
    journal = build.journal(path)
    sound = max(0, at - start) // stride
    assert contents(journal) == [build.sha256(content) for content in range(sound)]
    # What is left is a journal like any other.
    journal.append([build.record(9)])
    journal.close()
    journal = build.journal(path)
    assert contents(journal) == [build.sha256(content) for content in [*range(sound), 9]]
    journal.remove()


@given(st.binary(max_size=200))
def test_any_file_is_opened_as_an_empty_journal(tmp_path_factory, build, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    journal = build.journal(path)
    assert list(journal.recovered()) == []
    journal.append([build.record(1)])
    assert contents(journal) == [build.sha256(1)]
    journal.remove()


# Refusals and failing disks


def test_work_of_another_extraction_is_refused_and_kept(path, build):
    journal = build.journal(path, name="first\nnet")
    journal.append([build.record(1)])
    journal.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        build.journal(path, name="second")
    assert "different backbone or preprocessing (first\\nnet)" in str(caught.value)
    assert "choose another --out" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.99])
def test_a_failed_append_costs_nothing_that_was_held(path, build, monkeypatch, code, share):
    journal = build.journal(path)
    journal.append([build.record(1), build.record(2)])
    pwrite = os.pwrite
    left = [1]

    def half(handle, data, offset):
        """Write a part of the data, then fail."""
        if left:
            left.pop()
            return pwrite(handle, data[: max(1, int(len(data) * share))], offset)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        with pytest.raises(OutputError, match=os.strerror(code)):
            journal.append([build.record(3), build.record(4)])
    assert contents(journal) == [build.sha256(1), build.sha256(2)]
    journal.append([build.record(5)])
    journal.close()

    journal = build.journal(path)
    assert contents(journal)[:3] == [build.sha256(1), build.sha256(2), build.sha256(5)]
    journal.close()


@pytest.mark.parametrize("call", ["open", "fstat", "pread", "ftruncate"])
def test_a_journal_that_cannot_be_opened_is_one_line_and_stays(path, build, monkeypatch, call):
    journal = build.journal(path)
    journal.append([build.record(1)])
    journal.close()
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError, match="Input/output error"):
        build.journal(path)
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_a_journal_that_cannot_be_closed_or_deleted_is_one_line(path, build, monkeypatch):
    close = os.close

    def fail(handle):
        close(handle)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal = build.journal(path)
    journal.append([build.record(1)])
    monkeypatch.setattr(os, "close", fail)
    with pytest.raises(OutputError, match="Input/output error"):
        journal.close()
    monkeypatch.undo()

    journal = build.journal(path)
    assert contents(journal) == [build.sha256(1)]
    path.unlink()
    path.mkdir()  # in the way of deleting
    with pytest.raises(OutputError, match="Is a directory"):
        journal.remove()
