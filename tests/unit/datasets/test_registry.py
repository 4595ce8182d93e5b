"""Names that are no source."""

from __future__ import annotations

import subprocess
import sys

import pytest
from image_files import (
    plant,
    refused,
)


@pytest.mark.parametrize("name", ["missing", "", "~nobody", "a\nb", "a\0b", "x" * 5000, "a.csv"])
def test_a_source_that_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(name)


def test_a_single_file_is_no_source(tmp_path):
    plant(tmp_path, "1.jpg")
    assert "give a folder" in refused(tmp_path / "1.jpg")


def test_listing_loads_no_torch(tmp_path):
    plant(tmp_path, "cat/1.jpg")
    script = (
        "import sys; from headstart.datasets import describe, open_source; "
        "print(describe(open_source(sys.argv[1]))); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 image, 1 class\n"
