"""The tutorial runs as it stands, and its table has every public name."""

import re
import subprocess
import sys
from pathlib import Path

import headstart as hs
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_block_runs_in_order_in_one_folder(tmp_path):
    blocks = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.S)
    assert {kind for kind, _ in blocks} == {"python"}
    (tmp_path / "tutorial.py").write_text("\n".join(body for _, body in blocks))
    done = subprocess.run(
        [sys.executable, "tutorial.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "120 images, 120 embedded now" in done.stdout
    assert "logistic-regression" in done.stdout
    assert (tmp_path / "results" / "report.html").is_file()
    assert done.stderr == ""


def test_the_table_has_every_name():
    table = TEXT[TEXT.index("## The names") :]
    assert set(hs.__all__) <= set(re.findall(r"`(\w+)", table))
