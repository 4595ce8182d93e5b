"""A real `headstart features` process, killed at a hundred moments of its life.

Whatever the moment: a store under its final name opens and verifies, the same command finishes the
work, and the rows are those of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import store

KILLS = 104  # half of first runs, half of updates
IMAGES = 40
ADDED = 12

pytestmark = pytest.mark.slow

# Starting Python and importing takes longer than the run, so the runs are forked from a process
# that has done both; each is a process of its own, that really dies.
SERVER = """
    import json, os, sys
    import pipeline.cli, pipeline.cli.features
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            arguments, log = json.loads(line)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (handle, 1), (handle, 2)):
                os.dup2(source, target)
            sys.argv = ["headstart", *arguments]
            code = 1
            try:
                pipeline.cli.main()
            except SystemExit as end:
                code = end.code or 0
            finally:
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    """Starts runs of ``headstart features`` and tells how they end."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdout.readline() == "ready\n"

    def run(self, data: Path, out: Path, backbone: Path, kill_after: float | None = None) -> int:
        """Run to the end, or kill after some seconds; returns the exit code, negative if killed."""
        arguments = ["features", data, "--backbone", backbone, "--out", out]
        self._process.stdin.write(json.dumps([[*map(str, arguments)], str(self._log)]) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it has come to its end already
                os.kill(pid, signal.SIGKILL)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    @property
    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "log")
    yield server
    server.close()


def rows(path: Path) -> dict[str, list]:
    """Return all that a store says of images."""
    assert store.verify(path) == []
    with h5py.File(path) as file:
        names = ("features", "pixels", "path", "label", "split", "sha256", "size", "mtime_ns")
        return {name: file[name][:].tolist() for name in names}


def test_killed_at_a_hundred_moments(server, image_folder, write_image, tiny_backbone, tmp_path):
    before = image_folder(per_class=IMAGES // 4)
    after = tmp_path / "more"
    shutil.copytree(before, after)
    for number in range(ADDED):
        write_image(after / f"train/bark/new-{number}.jpg", 500 + number)

    life = {}
    for name, data in (("first", before), ("update", after)):
        if name == "update":
            shutil.copy(tmp_path / "first.h5", tmp_path / "update.h5")
        started = time.perf_counter()
        assert server.run(data, tmp_path / f"{name}.h5", tiny_backbone) == 0, server.said
        life[name] = time.perf_counter() - started
    expected = {name: rows(tmp_path / f"{name}.h5") for name in life}
    assert len(expected["update"]["path"]) == len(expected["first"]["path"]) + ADDED

    rng = np.random.default_rng(7)
    moments = rng.permutation((np.arange(KILLS) + 0.5) / KILLS)  # all over its life
    found = Counter()
    for number, moment in enumerate(moments):
        name, data = ("first", before) if number % 2 else ("update", after)
        folder = tmp_path / str(number)
        folder.mkdir()
        out = folder / "store.h5"
        if name == "update":
            shutil.copy(tmp_path / "first.h5", out)
        code = server.run(data, out, tiny_backbone, kill_after=float(moment * life[name]))
        assert code in (0, -signal.SIGKILL), server.said
        found["killed" if code else "too late"] += 1
        found["journal"] += (folder / "store.h5.journal").exists()
        if out.exists():
            assert rows(out) in (expected["first"], expected[name])  # the old one or the new one
        assert server.run(data, out, tiny_backbone) == 0, server.said
        assert rows(out) == expected[name]
        assert [path.name for path in folder.iterdir()] == ["store.h5"]  # nothing is left behind
        shutil.rmtree(folder)
    assert found["killed"] >= 0.8 * KILLS, found  # a run may be faster than the one measured
    assert found["journal"] >= 5, found
