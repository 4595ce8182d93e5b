"""No file can hang or end a run: bombs of every format, and a decoder that dies."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from headstart.core.errors import ImageError
from headstart.core.records import Preprocess
from headstart.datasets.images import decode, is_ordinary, isolated, pixels
from PIL import Image

pytestmark = pytest.mark.process
SMALL = Preprocess(40, 32)
LONG = pytest.mark.long  # other formats, the same limits
SLOW = "takes longer than 1 s to decode"


def encode(kind: str, size=(64, 48), mode="RGB", **options) -> bytes:
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(entries: list[tuple[int, int, int, int]], rest: bytes = b"") -> bytes:
    """Write a TIFF of tags as (tag, type, count, value or offset)."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4) + rest


GREY = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]


def jpeg_of_many_scans(count: int, size=(64, 48)) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encode("JPEG", size, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def bomb(name: str) -> bytes:
    """Build a file that would keep Pillow busy for long."""
    jpeg, png, gif = encode("JPEG"), encode("PNG"), encode("GIF")
    match name:
        case "JPEG of many scans":
            return jpeg_of_many_scans(10_000, (1200, 900))
        case "JPEG of fill bytes":
            return jpeg[:2] + b"\xff" * (64 << 20) + jpeg[2:]
        case "JPEG of empty comments":
            return jpeg[:2] + b"\xff\xfe\0\2" * (12 << 20) + jpeg[2:]
        case "PNG of empty chunks":
            return png[:33] + chunk(b"teSt", b"") * 4_000_000 + png[33:]
        case "PNG of profiles":
            profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000)))
            return png[:33] + profile * 20_000 + png[33:]
        case "GIF of extensions":
            return gif.replace(b"\x2c\0\0\0\0", b"\x21\xfe\1x\0" * (8 << 20) + b"\x2c\0\0\0\0", 1)
        case "BMP of run lengths":
            header = struct.pack("<IHHI", 0, 0, 0, 1078)
            header += struct.pack("<IiiHHIIiiII", 40, 9000, 9000, 1, 8, 1, 0, 0, 0, 256, 0)
            return b"BM" + header + bytes(1024) + b"\1\7" * (40 << 20)
        case "TIFF of one-byte strips":
            count = 4 << 20
            entries = [*GREY[2:], (256, 4, 1, 1), (257, 4, 1, count), (278, 4, 1, 1)]
            at = 8 + 2 + 12 * 8 + 4
            entries += [(273, 4, count, at), (279, 4, count, at + 4 * count)]
            return tiff(entries, struct.pack("<I", 0) * count + struct.pack("<I", 1) * count)
    raise ValueError(name)


@pytest.fixture
def one_second(monkeypatch):
    """Quarantine with tight limits, in a process of its own."""
    monkeypatch.setattr(isolated, "MAX_SECONDS", 1)
    monkeypatch.setattr(isolated, "MAX_MEMORY", 2 << 30)
    monkeypatch.setattr(isolated, "_local", threading.local())


BOMBS = [
    "JPEG of many scans",
    "JPEG of fill bytes",
    "JPEG of empty comments",
    "PNG of empty chunks",
    "PNG of profiles",
    "GIF of extensions",
    "BMP of run lengths",
    "TIFF of one-byte strips",
]


@pytest.mark.cases(4)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_not_decoded_in_this_process(name):
    assert not is_ordinary(bomb(name))


@pytest.mark.cases(1)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", [BOMBS[0], BOMBS[-1], *(pytest.param(n, marks=LONG) for n in BOMBS[1:-1])]
)
def test_a_bomb_ends_as_an_error(name, one_second):
    data = bomb(name)
    with pytest.raises(ImageError, match=f"^({SLOW}|not enough memory to decode it)$"):
        decode(data, SMALL)
    assert decode(encode("TIFF"), SMALL).shape == (32, 32, 3)  # and the next file is decoded


@pytest.mark.further("test_a_bomb_ends_as_an_error")
def test_a_caller_may_allow_less_time(monkeypatch):
    monkeypatch.setattr(isolated, "_local", threading.local())
    with pytest.raises(ImageError, match=r"^takes longer than 1 s to decode$"):
        decode(bomb("JPEG of many scans"), SMALL, seconds=1)
    assert decode(encode("TIFF"), SMALL, seconds=2).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_it_makes_no_difference_where_a_file_is_decoded(kind):
    for mode in ("RGB", "L"):
        data = encode(kind, (300, 200), mode)
        assert is_ordinary(data) == (kind != "TIFF")
        assert (isolated.decode(data, SMALL) == pixels.decode(data, SMALL)).all()


def test_an_error_is_the_same_too():
    data = encode("PNG")[:300]
    with pytest.raises(ImageError) as here:
        pixels.decode(data, SMALL)
    with pytest.raises(ImageError) as there:
        isolated.decode(data, SMALL)
    assert str(here.value) == str(there.value)


def worker() -> isolated._Worker:
    return isolated._local.worker


def test_one_process_serves_many_files_and_each_thread_has_its_own():
    data = encode("TIFF")
    isolated.decode(data, SMALL)
    first = worker()._process.pid
    isolated.decode(data, SMALL)
    assert worker()._process.pid == first
    others = []

    def elsewhere() -> None:
        isolated.decode(data, SMALL)
        others.append(worker()._process)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert others[0].pid != first
    assert others[0].poll() is not None  # it ended with its thread


@pytest.mark.cases(1)
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_decoder_that_crashes_costs_one_file(number, one_second):
    data = encode("TIFF")
    isolated.decode(data, SMALL)
    os.kill(worker()._process.pid, number)
    with pytest.raises(ImageError, match=r"^the decoder crashed on it$"):
        isolated.decode(data, SMALL)
    assert isolated.decode(data, SMALL).shape == (32, 32, 3)


def test_a_process_that_stands_still_is_given_up(one_second, monkeypatch):
    data = encode("TIFF")
    isolated.decode(data, SMALL)
    process = worker()._process
    monkeypatch.setattr(isolated, "MAX_WAIT", 0.2)
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(ImageError, match=r"^gave up decoding it: no answer in time$"):
        isolated.decode(data, SMALL)
    assert process.poll() is not None
    monkeypatch.undo()
    assert isolated.decode(data, SMALL).shape == (32, 32, 3)


def test_no_process_can_be_had(one_second, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ImageError, match=r"decode it in: No such file or directory$"):
        isolated.decode(encode("TIFF"), SMALL)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ImageError, match=r"^no process to decode it in$"):
        isolated.decode(encode("TIFF"), SMALL)


def test_nothing_is_printed_and_nothing_is_left_behind(tmp_path):
    """A damaged TIFF makes libtiff talk; a killed run must leave no process."""
    data = bytearray(encode("TIFF", compression="tiff_lzw"))
    data[20:400] = bytes(380)
    (tmp_path / "bad.tif").write_bytes(data)
    (tmp_path / "good.tif").write_bytes(encode("TIFF"))
    script = """
import sys, time
from pathlib import Path
from headstart.core.errors import ImageError
from headstart.datasets.images import decode, isolated
from headstart.core.records import Preprocess
for name in sys.argv[1:]:
    try:
        decode(Path(name).read_bytes(), Preprocess(40, 32))
    except ImageError:
        pass
print(isolated._local.worker._process.pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", script, tmp_path / "bad.tif", tmp_path / "good.tif"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        child = int(run.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        run.kill()
        assert run.stderr.read() == b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.05)
                continue
        break
    else:
        pytest.fail("the process outlived its parent")
