"""Without the extra [torch], what builds no network works, and the rest says why it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = "torch torchvision timm onnxscript huggingface_hub safetensors cleanlab pandas"
LARGEST = 450 * 2**20  # bytes, without compiled Python files


def test_everything_but_building_networks_works_without_torch(
    fresh_python, image_folder, tiny_backbone, tmp_path
):
    photos = image_folder("photos", per_class=8)
    script = """
        import json, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name in sys.argv[1].split():
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Absent())
        from headstart.cli import run

        photos, backbone, folder = sys.argv[2:]
        store, model = f"{folder}/store.h5", f"{folder}/out/model.onnx"
        heads = ["--heads", "logistic-regression,knn"]
        commands = [
            ["features", photos, "--backbone", backbone, "--out", store],
            ["train-heads", store, *heads, "--repeats", "1", "--out", f"{folder}/out"],
            ["report", f"{folder}/out"],
            ["predict", model, photos, "--out", f"{folder}/answers.csv"],
            ["verify", store],
            ["export-features", store, "--to", "csv", "--out", f"{folder}/t.csv"],
            ["backbones", "lite"],
            ["backbones", "--shortlist", "pathology"],
        ]
        codes = [run([*words, "--quiet"]) for words in commands]
        print(json.dumps([codes, [name for name in sys.argv[1].split() if name in sys.modules]]))
    """
    assert fresh_python(script, ABSENT, photos, tiny_backbone, tmp_path) == [[0] * 8, []]


@pytest.mark.parametrize("words", ["features", "features --weights random:5", "finetune"])
def test_what_needs_torch_names_the_extra(headstart, image_folder, monkeypatch, words, tmp_path):
    photos = image_folder("photos", per_class=2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no exported network
    for name in ABSENT.split():
        monkeypatch.setitem(sys.modules, name, None)
    command, *options = words.split()
    done = headstart(command, photos, *options, "--out", tmp_path / "out.h5", code=1)
    assert "torch is not installed" in done.stderr
    assert "[torch]" in done.stderr


@pytest.mark.long
def test_a_wheel_in_a_fresh_environment_is_small_and_works(
    image_folder, tiny_backbone, tmp_path, record_property
):
    def call(*words: object, record: str = "") -> str:
        started = time.perf_counter()
        words = [os.fspath(word) if isinstance(word, Path) else str(word) for word in words]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if record:
            record_property(record, time.perf_counter() - started)
        return done.stdout

    source = tmp_path / "source"
    kept = shutil.ignore_patterns(".*", "node_modules", "tests", "out", "data", "build")
    shutil.copytree(ROOT, source, ignore=kept)
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    try:
        call(*pip, "wheel", "-q", "--no-deps", "-w", tmp_path, source)
        wheel = next(tmp_path.glob("headstart-*.whl"))
        call(*pip, "install", "-q", "-c", ROOT / "constraints.txt", f"{wheel}[serve]")
    except AssertionError as error:
        if "No matching distribution" in str(error) or "connection" in str(error).lower():
            pytest.skip("no package index here")
        raise
    installed = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    tools = ("pip", "setuptools", "pkg_resources")
    size = sum(
        path.lstat().st_size
        for path in installed.rglob("*")
        if "__pycache__" not in path.parts and path.relative_to(installed).parts[0] not in tools
    )
    record_property("bytes", size)
    assert size < LARGEST, f"{size / 2**20:.0f} MiB"
    assert not [name for name in ABSENT.split() if (installed / name).exists()]

    photos = image_folder("photos", per_class=8)
    headstart = python.with_name("headstart")
    call(headstart, "features", photos, "--backbone", tiny_backbone, "--out", "store.h5")
    call(headstart, "train-heads", "store.h5", "--out", "out", "--heads", "logistic-regression")
    answers = call(headstart, "predict", "out/model.onnx", photos, record="seconds of predict")
    call(python, "-c", "import headstart", record="seconds of import headstart")
    assert len(answers.splitlines()) == 1 + len([*photos.rglob("*.*")])
    call(headstart, "report", "out")
    call(headstart, "verify", "store.h5")
    call(headstart, "serve", "--help")
    call(python, "-c", "import headstart as hs; hs.load_model('out/model.onnx')")
