"""The command line in this process, and in one of its own; a small store to work on."""

import io
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

import numpy as np
import pytest
from headstart.cli import run

COMMAND = [sys.executable, "-c", "from headstart.cli import main; main()"]


class Done(NamedTuple):
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def checked(done: Done, code: int) -> Done:
    assert done.returncode == code, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.splitlines()[-1].startswith("headstart: ")
    return done


@pytest.fixture
def headstart(tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, code: int = 0) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as the process does
            returned = run([str(word) for word in words])
        return checked(Done(returned, out.getvalue(), err.getvalue()), code)

    return call


@pytest.fixture
def process(tmp_path):
    """Run a command in a process of its own, in an empty folder."""

    def call(*words: object, code: int = 0) -> Done:
        done = subprocess.run(
            [*COMMAND, *map(str, words)], capture_output=True, text=True, cwd=tmp_path
        )
        return checked(Done(done.returncode, done.stdout, done.stderr), code)

    call.command = COMMAND
    return call


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, write_image, tiny_backbone):
    """A folder with ``photos`` and their store, written once a module."""
    folder = tmp_path_factory.mktemp("embedded")
    seed = 0
    for split in ("train", "test"):
        for label in ("bark", "cloth"):
            # No TIFF: every command that meets one starts a process for each thread.
            for index, suffix in enumerate(("jpg", "png", "webp", "bmp", "jpeg", "gif")):
                write_image(folder / "photos" / split / label / f"{index}.{suffix}", seed)
                seed += 1
    words = ["features", folder / "photos", "--backbone", tiny_backbone]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert run([*map(str, words), "--out", str(folder / "store.h5")]) == 0
    return folder


@pytest.fixture
def features(embedded, tmp_path):
    """A copy of the store of a small labelled folder, with the folder beside it."""
    shutil.copytree(embedded, tmp_path, dirs_exist_ok=True)
    return tmp_path / "store.h5"


def _quietly(*words):
    """Run a command in this process; it must end well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run([str(word) for word in words]) == 0


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """Give a folder of images whose channels are their labels: ``photos.csv``, ``columns.csv``."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("colours")
    names = ("red", "green", "blue")
    rng = np.random.default_rng(0)
    lines, columns = ["path,labels,split"], [f"path,{','.join(names)},split"]
    for number in range(90):
        present = rng.random(3) < 0.4
        pixels = rng.integers(0, 60, (40, 40, 3)) + 190 * present
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        labels = "|".join(name for name, has in zip(names, present, strict=True) if has)
        split = "test" if number < 30 else "train"
        lines.append(f"{number}.png,{labels},{split}")
        columns.append(f"{number}.png,{','.join(str(int(has)) for has in present)},{split}")
    (folder / "photos.csv").write_text("\n".join(lines))
    (folder / "columns.csv").write_text("\n".join(columns))
    return folder


@pytest.fixture(scope="session")
def colour_results(colours, tiny_backbone, tmp_path_factory):
    """Give a folder with the store ``photos.h5`` and the folder ``results`` of a head."""
    folder = tmp_path_factory.mktemp("run")
    store, out = folder / "photos.h5", folder / "results"
    _quietly("features", colours / "photos.csv", "--backbone", tiny_backbone, "--out", store)
    heads = ("--heads", "logistic-regression", "--repeats", 1, "--no-near-duplicates")
    _quietly("train-heads", store, "--out", out, *heads)
    return out
