"""How many processors a process may use: affinity, container quotas, OMP_NUM_THREADS, a limit."""

import os

import pytest
from headstart.core.parallel import available_cores, cores, limited

NUMBER = 64  # processors of the machine
V1 = "sys/fs/cgroup/cpu"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give ``machine(cgroup, files)``: a machine of 64 processors with these control groups."""
    monkeypatch.setattr(cores, "ROOT", tmp_path)
    monkeypatch.setattr(cores, "_affinity", lambda: NUMBER)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def make(cgroup: str, files: dict[str, str]) -> int:
        for name, text in {"proc/self/cgroup": cgroup, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return available_cores()

    return make


def v1(folder: str, quota: int) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


def test_affinity(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, NUMBER),
        ("0::/pod/c\n", {"sys/fs/cgroup/pod/cpu.max": "400000 100000\n"}, 4),  # of a parent
        ("0::/host/path\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),  # mounted as root
        ("3:cpu,cpuacct:/docker/1\n", v1(f"{V1},cpuacct/docker/1", 300_000), 3),
        ("3:cpuacct:/\n2:cpu:/docker/1\n0::/\n", v1(V1, 600_000), 6),
        ("2:cpu:/\n", v1(V1, -1), NUMBER),
        ("", {}, NUMBER),
        ("nonsense\n", {"sys/fs/cgroup/cpu.max": "nonsense"}, NUMBER),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": ""}, NUMBER),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "100000\n"}, NUMBER),
    ],
)
def test_the_quota_of_a_container(machine, cgroup, files, expected):
    assert machine(cgroup, files) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("3", 3), ("3,2", 3), ("", NUMBER), ("0", NUMBER), ("many", NUMBER)]
)
def test_omp_num_threads(machine, monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert cores.available_cores() == expected


def test_a_limit_holds_inside_its_block(machine):
    with limited(2):
        assert machine("", {}) == 2
        with limited(None):
            assert available_cores() == 2
    assert available_cores() == NUMBER
