"""The example of docs/onnx.md runs as it stands, and its table names the presets that there are."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from headstart.backbones.onnx_import.recipe import PRESETS

TEXT = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_example_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)[1]
    lines = re.findall(r"^\$ (headstart .*)$", TEXT, flags=re.MULTILINE)
    assert len(lines) == 5
    start = "from headstart.cli import main; main()"
    for command in [[code], *([start, *shlex.split(line)[1:]] for line in lines)]:
        done = subprocess.run(
            [sys.executable, "-c", *command], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert (tmp_path / "textures.h5").is_file()


def test_every_preset_is_in_the_table():
    assert set(re.findall(r"^\| `([a-z]+)` \|", TEXT, flags=re.MULTILINE)) == set(PRESETS)
