"""The package works where the user's own modules have any of its rooms' names."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from headstart.core.parallel.ray_engine import RayEngine
from headstart.core.records import Preprocess
from PIL import Image

pytestmark = pytest.mark.process
NAMES = (
    "artifacts backbones cli core datasets errors evaluation features files finetune heads images"
    " models pipeline records report sandbox workflows"
).split()
MODULE = "VALUE = 7  # of the user's\n"


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with a module or a package of each name, in turn."""
    root = tmp_path / "project"
    root.mkdir()
    for number, name in enumerate(NAMES):
        path = root / (f"{name}.py" if number % 2 else f"{name}/__init__.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(MODULE)
    return root


def tiff() -> bytes:
    """Return an image that is decoded in a process of its own."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(out, "TIFF")
    return out.getvalue()


def python(folder: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a folder, which is the first place that modules are looked for in."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


def test_both_can_be_imported(project):
    code = (
        "import pipeline, datasets, headstart as hs\n"
        "from headstart import datasets as sources\n"
        "from headstart.core import errors\n"
        "assert (pipeline.VALUE, datasets.VALUE) == (7, 7)\n"
        "assert sources.open_source and errors.InputError\n"
        "print(hs.__version__)"
    )
    done = python(project, code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_its_decoder_and_its_sandbox(project, tiny_backbone):
    for label in "ab":
        (project / "photos" / label).mkdir(parents=True)
        (project / "photos" / label / "1.tif").write_bytes(tiff())
    main = "from headstart.cli import main; main()"
    words = ("features", "photos", "--backbone", tiny_backbone, "--out", "s.h5", "--json")
    written = python(project, main, *words)
    assert written.returncode == 0, written.stderr
    summary = json.loads(written.stdout)
    assert (summary["embedded"], summary["failures"]) == (1, {})  # the same image twice
    checked = python(project, main, "verify", "s.h5")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_worker_of_a_cluster(project, ray_cluster):
    folder = str(project)

    def start(_):  # inside the test, so that Ray sends it whole
        import importlib
        import os
        import sys

        os.chdir(folder)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()

        def work(data):
            from headstart.datasets.images import decode_apart

            preprocess = Preprocess(36, 32)
            return importlib.import_module("pipeline").VALUE, decode_apart(data, preprocess).shape

        return work

    assert list(RayEngine(count=1).run(start, [tiff()])) == [(7, (32, 32, 3))]
