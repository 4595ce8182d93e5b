"""Whole processes of `headstart features`, killed, interrupted and starved of disk.

After each: the store, if there is one, is the old or the new one and verifies; the same command
then completes; and the end is what an undisturbed run gives, row for row.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from headstart.core.records import FeatureSet
from headstart.features.store import read, verify

SEED = 20
HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]
pytestmark = pytest.mark.faults


@dataclass
class Place:
    """A folder of images, a place for the store, and what must come out."""

    photos: Path
    folder: Path
    backbone: Path
    server: subprocess.Popen[str]
    old: bytes = b""
    calm: FeatureSet | None = None
    states: Counter[str] = field(default_factory=Counter)

    @property
    def store(self) -> Path:
        return self.folder / "s.h5"

    @property
    def errors(self) -> str:
        return (self.folder.parent / "stderr").read_text()

    def run(self, **how) -> dict:
        """Run ``headstart features`` in a process; returns its exit code and seconds."""
        argv = ["features", self.photos, "--backbone", self.backbone, "--out", self.store]
        task = {
            "argv": list(map(str, argv)),
            "folder": str(self.folder),
            "errors": str(self.folder.parent / "stderr"),
        }
        self.server.stdin.write(json.dumps(task | how) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def start_over(self, old: bool) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        if old:
            self.store.write_bytes(self.old)

    def look(self) -> None:
        """Check what a disturbed run left, and note how far it was."""
        found = sorted(path.name for path in self.folder.iterdir())
        if self.store.exists() and self.store.read_bytes() != self.old:
            assert verify(self.store) == []
            assert same(read(self.store), self.calm)
            self.states["published"] += 1
        elif any(name.endswith(".partial") for name in found):
            self.states["publishing"] += 1
        elif "s.h5.journal" in found:
            self.states["embedding"] += 1
        else:
            self.states["starting"] += 1

    def settle(self) -> None:
        """Check what a disturbed run left, that the next one completes, and what it gives."""
        self.look()
        done = self.run()
        assert done["code"] == 0, self.errors
        assert verify(self.store) == []
        assert same(read(self.store), self.calm)
        assert [path.name for path in self.folder.iterdir()] == ["s.h5"]


def same(ours: FeatureSet, theirs: FeatureSet) -> bool:
    arrays = ("features", "label", "sha256", "pixels")
    facts = ("path", "split", "classes", "failures", "digest")
    return all(np.array_equal(getattr(ours, n), getattr(theirs, n)) for n in arrays) and all(
        getattr(ours, n) == getattr(theirs, n) for n in facts
    )


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("forked.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_image, tiny_backbone, server) -> Place:
    root = tmp_path_factory.mktemp("faults")
    (root / "out").mkdir()
    place = Place(root / "photos", root / "out", tiny_backbone, server)
    for at in range(40):
        if at == 16:  # what the old store holds
            assert place.run()["code"] == 0, place.errors
            place.old = place.store.read_bytes()
        write_image(place.photos / "ab"[at % 2] / f"{at}.png", at)
    (place.photos / "a/bad.jpg").write_bytes(b"no image")
    place.start_over(old=False)
    assert place.run()["code"] == 0, place.errors
    place.calm = read(place.store)
    return place


AIMED = ("embedding", "publishing")  # what a run that is killed must have been doing now and then


def life(place: Place) -> float:
    """Return the seconds that an undisturbed run takes."""
    seconds = []
    for _ in range(3):
        place.start_over(old=True)
        seconds.append(place.run()["seconds"])
    return sorted(seconds)[1]


def test_kills_at_random_moments_lose_nothing(place, level):
    """Six kills, or more until both kinds were met; at the level ``all`` 110."""
    count, enough = (110, 5) if level == "all" else (6, 0)
    draw = random.Random(SEED)
    long = life(place)
    kills = tries = 0
    place.states.clear()
    while kills < count or min(place.states[kind] for kind in AIMED) <= enough:
        tries += 1
        assert tries < 8 * count, f"most runs ended before they were killed: {place.states}"
        if tries % 4:  # anywhere in its life, evenly; a third of these at its very beginning
            how = {"signals": [[signal.SIGKILL, long * ((tries * 0.618) % 1.0)]]}
        else:  # publishing takes little time, so it is aimed at
            after = draw.random() * long / 15
            how = {"signals": [[signal.SIGKILL, after]], "seen": ".s.h5.*.partial"}
        place.start_over(old=bool(tries % 3))
        done = place.run(**how)
        if done["code"] == 0:
            continue
        assert done["code"] == -signal.SIGKILL, place.errors
        kills += 1
        if kills % 5 == 0:  # the run that goes on is killed as well
            place.look()
            kills += place.run(**how)["code"] == -signal.SIGKILL
        place.settle()


def test_a_process_killed_while_python_starts_leaves_nothing(place, level):
    """Real processes, from the first instruction on: these are the moments a fork leaves out."""
    draw = random.Random(SEED)
    words = [*HEADSTART, "features", place.photos, "--backbone", place.backbone, "--out"]
    for _ in range(10 if level == "all" else 2):
        place.start_over(old=True)
        process = subprocess.Popen([*words, place.store], stderr=subprocess.DEVNULL)
        time.sleep(draw.random() * 0.6)
        process.kill()
        process.wait()
        place.settle()


@pytest.mark.cases(1)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_at_random_moments_keep_what_is_done(place, number, code, level):
    """Five signals; at the level ``all`` 24."""
    count = 24 if level == "all" else 5
    draw = random.Random(SEED + number)
    long = life(place)
    stopped = 0
    for at in range(count):
        after = draw.random() * long
        signals = [[number, after]]
        if at % 2:  # twice in a row, by somebody in a hurry
            signals.append([number, after + draw.random() * 0.004])
        how = {"signals": signals}
        if at % 3 == 0:
            how = {"signals": [[n, s / 15] for n, s in signals], "seen": ".s.h5.*.partial"}
        place.start_over(old=True)
        done = place.run(**how)
        assert done["code"] in (0, code), (done, place.errors)
        assert "Traceback" not in place.errors
        if done["code"]:
            stopped += 1
            assert place.errors.splitlines()[-1].endswith("run the same command to resume")
        place.settle()
    assert stopped >= count / 2


@pytest.mark.parametrize(
    ("code", "lasting"),
    [
        pytest.param(errno.ENOSPC, True, id="full for good"),
        pytest.param(errno.EIO, False, id="broken once"),
        pytest.param(errno.ENOSPC, False, id="full once", marks=pytest.mark.long),
        pytest.param(errno.EIO, True, id="broken for good", marks=pytest.mark.long),
    ],
)
def test_a_failing_disk_is_exit_1_and_one_line(place, code, lasting, level):
    """Every 32nd call that changes something, others for each kind of failure; or every fourth.

    `tests/unit/features/store/test_writer.py` lets every single one fail, in its own process.
    """
    failed, step = 0, 4 if level == "all" else 32
    for at in range(1 + lasting + 2 * (code == errno.EIO), 1000, step):
        place.start_over(old=True)
        done = place.run(fault=[at, code, lasting])
        if done["code"] == 0 and failed and at > 40:
            break
        assert done["code"] in (0, 1), place.errors
        if done["code"]:
            failed += 1
            told = [line for line in place.errors.splitlines() if line.startswith("headstart: ")]
            assert len(told) == 1, place.errors
            assert os.strerror(code) in told[0]
            assert "Traceback" not in place.errors
            assert place.store.read_bytes() == place.old or verify(place.store) == []
        place.settle()
    assert failed > 40 / step


def test_two_processes_on_one_store(place):
    """The second fails at once and names the first, which goes on."""
    place.start_over(old=True)
    words = [*HEADSTART, "features", place.photos, "--backbone", place.backbone, "--out"]
    command = list(map(str, [*words, place.store]))
    # Stopped while it holds the lock, the first has all the time that the second may need.
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    lock = place.folder / "s.h5.lock"
    while not (lock.exists() and lock.read_text()):
        assert first.poll() is None
    os.kill(first.pid, signal.SIGSTOP)
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    os.kill(first.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert f"is being written by process {first.pid} on " in second.stderr
    assert first.wait() == 0
    assert same(read(place.store), place.calm)
    assert [path.name for path in place.folder.iterdir()] == ["s.h5"]


def test_a_disk_that_is_really_full(place, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for the old store and half of what a journal of 24 images needs.
    size = len(place.old) + 40_000
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small file system cannot be mounted here")
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    try:
        (disk / "s.h5").write_bytes(place.old)
        full = Place(place.photos, disk, place.backbone, place.server, place.old, place.calm)
        assert full.run()["code"] == 1
        told = full.errors.splitlines()[-1]
        assert told.startswith("headstart: cannot write ")
        assert "No space left on device" in told
        assert full.store.read_bytes() == place.old
        subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
        full.settle()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
