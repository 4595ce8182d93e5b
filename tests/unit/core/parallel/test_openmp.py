"""Threads that wait asleep: set before torch is loaded, and left to the user."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from headstart.workflows import finetuning
assert "torch" not in sys.modules
try:
    finetuning.finetune("nowhere", "out", backbone="no such network")
except Exception:
    pass
assert "torch" in sys.modules
print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("own", [None, "ACTIVE"])
def test_threads_of_fine_tuning_wait_asleep_unless_told_otherwise(own, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == (own or "PASSIVE"), done.stderr
