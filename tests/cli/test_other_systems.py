"""What only some systems have is replaced where it is absent: here it is taken away from Linux."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from headstart import features
from headstart.features.embed import EmbedConfig, embed

pytestmark = pytest.mark.process

# Python runs this file at the start of every process, of ours and of the sandbox's.
ELSEWHERE = """
import os, signal, sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
for name in (
    *("pread", "pwrite", "O_CLOEXEC", "O_NONBLOCK", "sched_getaffinity", "fork", "link", "sysconf"),
    *("getuid", "geteuid", "sched_setaffinity", "statvfs", "mkfifo", "posix_fallocate"),
):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGXCPU", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM", "alarm", "setitimer"):
    if hasattr(signal, name):
        delattr(signal, name)
"""
# Several commands in one process, for the import of scikit-learn takes seconds.
COMMANDS = """
import json, sys
from headstart.cli import run

for words in json.loads(sys.argv[1]):
    if code := run(words):
        sys.exit(code)
"""


@pytest.fixture
def elsewhere(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(ELSEWHERE)
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    def call(*commands: Sequence[object], code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps([[*map(str, c)] for c in commands])],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done

    return call


def test_features_heads_and_predictions_are_the_same(
    elsewhere, image_folder, tiny_backbone, write_image, tmp_path
):
    photos = image_folder("photos", per_class=6)
    write_image(photos / "train" / "bark" / "scan.tiff", 3)  # decoded in the sandbox
    stores = [tmp_path / "here.h5", tmp_path / "elsewhere.h5"]
    embed(str(photos), stores[0], EmbedConfig(str(tiny_backbone)))
    elsewhere(
        ("features", photos, "--backbone", tiny_backbone, "--out", stores[1]),
        ("verify", stores[1]),
        (
            "train-heads",
            stores[1],
            "--heads",
            "logistic-regression",
            "--repeats",
            1,
            "--out",
            "out",
        ),
        ("predict", "out/model.onnx", photos, "--summary", "--explain", "maps"),
        ("evaluate", "out/model.onnx", photos, "--report", "scores.html"),
        ("drift", "out/model.onnx", photos),
        ("report", "out"),
        ("export-features", stores[1], "--to", "csv", "--out", "rows.csv"),
    )
    here, there = (features.store.read(path) for path in stores)
    assert here.path == there.path
    assert np.array_equal(here.features[:], there.features[:])
    assert not [*Path(tmp_path).glob("*.lock*")]


def test_two_writers_are_kept_apart_by_a_file(elsewhere, image_folder, tiny_backbone, tmp_path):
    photos = image_folder("photos", per_class=1)
    store = tmp_path / "store.h5"
    lock = tmp_path / "store.h5.lock-file"
    lock.write_text(f"process {os.getpid()} on {os.uname().nodename}")
    command = ("features", photos, "--backbone", tiny_backbone, "--out", store)
    done = elsewhere(command, code=1)
    assert f"process {os.getpid()}" in done.stderr
    lock.write_text(f"process 4194304 on {os.uname().nodename}")  # above the largest number
    elsewhere(command)


def test_a_damaged_store_is_refused_without_limits(elsewhere, tmp_path):
    (tmp_path / "store.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8)
    assert "store.h5" in elsewhere(("verify", "store.h5"), code=1).stderr
