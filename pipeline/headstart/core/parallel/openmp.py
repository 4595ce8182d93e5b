"""How the threads of OpenMP wait for each other, with which torch shares out a layer."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Let threads sleep while they wait, in libraries that are loaded from now on.

    By default, libgomp's spin first. If other programs use the cores, a spinning thread keeps one
    from the thread that it waits for, several times in each layer. Settings of the user stay.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
