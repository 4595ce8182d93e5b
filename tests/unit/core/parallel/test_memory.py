"""How much memory a process may still take, by the kernel, by control groups, and elsewhere."""

import sys
from types import SimpleNamespace

import pytest
from headstart.core.parallel import available_memory, cores, memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give ``machine(files)``: the bytes that are free on a machine with these files."""
    monkeypatch.setattr(cores, "ROOT", tmp_path)

    def measure(files: dict[str, str]) -> int:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return available_memory()

    return measure


MEMINFO = {"proc/meminfo": "MemTotal: 20971520 kB\nMemFree: 1 kB\nMemAvailable: 10485760 kB\n"}
POD = {"proc/self/cgroup": "0::/pod/c\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 10 * GIB),
        (POD, 10 * GIB),
        (POD | {"sys/fs/cgroup/pod/memory.max": "max\n"}, 10 * GIB),
        (
            POD
            | {
                "sys/fs/cgroup/pod/memory.max": f"{4 * GIB}\n",
                "sys/fs/cgroup/pod/memory.current": f"{GIB}\n",
            },
            3 * GIB,
        ),
    ],
)
def test_the_least_of_kernel_and_groups(machine, files, expected):
    assert machine(MEMINFO | files) == expected


def test_other_systems_ask_psutil_or_count_all(machine, monkeypatch):
    psutil = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=5 * GIB))
    monkeypatch.setitem(sys.modules, "psutil", psutil)
    assert machine({}) == 5 * GIB
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert machine({}) > 0
    monkeypatch.delattr(memory.os, "sysconf")
    assert machine({}) == 0


def test_here_something_is_free():
    assert available_memory() > 2**20
