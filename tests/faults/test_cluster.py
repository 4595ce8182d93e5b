"""Whole runs of `headstart features --engine ray` whose workers, nodes and drivers are killed.

After each: nothing of a store, or a whole one; the same command completes; and the end is what one
undisturbed process gives, row for row, with nothing twice. Workers are made slow by a module that
every Python of the run imports first, so that there is something to kill and no core is busy.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from headstart.core.records import FeatureSet
from headstart.features.embed import EmbedConfig, embed
from headstart.features.store import manifest, read, verify

KILLS = int(os.environ.get("HEADSTART_KILLS", "2"))  # 50 and more by hand: a minute or two
IMAGES = int(os.environ.get("HEADSTART_KILL_IMAGES", "80"))
SEED = 8
LIMIT = 240
HEADSTART = [sys.executable, "-c", "from headstart.cli import main; main()"]
HERE, THERE = "10.213.77.1", "10.213.77.2"
# A cluster finds out that a node is lost, and a node that the cluster is, in seconds.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_AUTH_MODE": "disabled",
}
pytestmark = [pytest.mark.faults, pytest.mark.ray]
long = pytest.mark.long

FIRST = """
import os, signal, time
from headstart.datasets.images import pixels
decode = pixels.decode
def slow(data, preprocess):
    if data.endswith(b"POISON"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ["SECONDS_AN_IMAGE"]))
    return decode(data, preprocess)
pixels.decode = slow
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory, write_image) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(IMAGES):
        write_image(root / f"class{number % 3}/{number}.png", number)
    return root


@pytest.fixture(scope="module")
def calm(photos, tiny_backbone, tmp_path_factory) -> FeatureSet:
    out = tmp_path_factory.mktemp("calm") / "s.h5"
    embed(str(photos), out, EmbedConfig(str(tiny_backbone)))
    return read(out)


@pytest.fixture
def first(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FIRST)
    paths = [
        str(folder),
        str(Path(__file__).parents[2] / "pipeline"),
        os.environ.get("PYTHONPATH", ""),
    ]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("SECONDS_AN_IMAGE", "0.03")


class Run:
    """A driver in a process of its own, and the folder that it writes to."""

    def __init__(self, photos: Path, folder: Path, backbone: Path, *options: object) -> None:
        words = ["features", photos, "--backbone", backbone, "--out", folder, "--engine", "ray"]
        words += ["--workers", 2, "--shard-size", 20, "--json", *options]
        self.folder = folder
        self.process = subprocess.Popen(
            [*HEADSTART, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder.parent,
        )

    def finished(self) -> int:
        """Count the shards that are finished."""
        return len(list(self.folder.glob("shard-*.h5")))

    def wait_for(self, condition) -> bool:
        """Wait until something is the case; False if the run ended before."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return True

    def end(self, code: int = 0) -> dict:
        out, errors = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == code, errors
        assert "Traceback" not in errors
        self.errors = errors
        return json.loads(out) if code == 0 else {}


def workers(ancestor: int) -> list[int]:
    """Return the processes below another one that have an item of Ray's in hand."""
    parent, named = {}, []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if (path / "cmdline").read_bytes().startswith(b"ray::Actor.work"):
                named.append(int(path.name))
        except OSError:
            continue
    found = []
    for pid in named:
        at = pid
        while at in parent and at != ancestor:
            at = parent[at]
        if at == ancestor:
            found.append(pid)
    return found


def assert_whole(folder: Path, calm: FeatureSet, without: str = "") -> None:
    """Compare with the undisturbed store: nothing lost, nothing twice, nothing else left."""
    assert verify(folder) == []
    found = read(folder)
    rows = [row for row, path in enumerate(calm.path) if path != without]
    assert found.path == [calm.path[row] for row in rows]
    for name in ("features", "label", "sha256", "pixels"):
        assert np.array_equal(getattr(found, name), getattr(calm, name)[rows]), name
    assert set(Counter(found.path).values()) == {1}
    names = {shard.file for shard in manifest.read(folder).shards}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}


@pytest.mark.usefixtures("first")
class TestKilled:
    @pytest.mark.further(
        "tests/contract/test_engines.py::test_a_dead_workers_item_is_done_by_another_one"
    )
    def test_workers_at_random(self, photos, calm, tiny_backbone, tmp_path):
        draw = random.Random(SEED)
        run = Run(photos, tmp_path / "s", tiny_backbone)
        kills = 0
        while kills < KILLS and run.wait_for(lambda: workers(run.process.pid)):
            time.sleep(draw.random() * 0.6)
            for pid in draw.sample(found := workers(run.process.pid), min(1, len(found))):
                os.kill(pid, signal.SIGKILL)
                kills += 1
        summary = run.end()
        print(f"{kills} kills, {summary['lost']} at work")  # noqa: T201 - of the long version
        assert kills == KILLS
        assert summary["lost"] > KILLS // 2  # the others had just finished what they had
        assert summary["rows"] == IMAGES
        assert_whole(tmp_path / "s", calm)

    @long
    def test_the_driver(self, photos, calm, tiny_backbone, tmp_path):
        run = Run(photos, tmp_path / "s", tiny_backbone)
        assert run.wait_for(lambda: run.finished() > 2)
        run.process.kill()
        run.process.communicate()
        assert not (tmp_path / "s/manifest.json").exists()
        summary = Run(photos, tmp_path / "s", tiny_backbone).end()
        assert 0 < summary["embedded"] < IMAGES  # what was finished was not done again
        assert_whole(tmp_path / "s", calm)

    @long
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted(self, photos, calm, tiny_backbone, tmp_path, number, code):
        run = Run(photos, tmp_path / "s", tiny_backbone)
        assert run.wait_for(lambda: run.finished() > 0)
        kept = run.finished()
        run.process.send_signal(number)
        run.end(code)
        assert run.errors.splitlines()[-1].endswith("run the same command to resume")
        assert run.finished() >= kept
        summary = Run(photos, tmp_path / "s", tiny_backbone).end()
        assert summary["embedded"] < IMAGES
        assert_whole(tmp_path / "s", calm)

    @long
    def test_by_an_image(self, photos, calm, tiny_backbone, tmp_path):
        """It kills the worker, and then the process that decodes it apart; the rest are rows."""
        poison = photos / "class1/100.png"
        data = poison.read_bytes()
        try:
            poison.write_bytes(data + b"POISON")
            summary = Run(photos, tmp_path / "s", tiny_backbone).end()
        finally:
            poison.write_bytes(data)
        assert summary["failed"] == [["class1/100.png", "the decoder crashed on it"]]
        assert (summary["rows"], summary["lost"]) == (IMAGES - 1, 1)
        assert_whole(tmp_path / "s", calm, without="class1/100.png")


@pytest.fixture
def cluster() -> Iterator:
    """Start a cluster of a head without room for work and a node for two workers."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield made
    made.shutdown()


@long
@pytest.mark.usefixtures("first")
def test_a_node_is_lost(photos, calm, tiny_backbone, tmp_path, cluster):
    lost = cluster.add_node(num_cpus=2)
    run = Run(photos, tmp_path / "s", tiny_backbone, "--address", cluster.address)
    assert run.wait_for(lambda: run.finished() > 1)
    cluster.remove_node(lost, allow_graceful=False)  # SIGKILL for its raylet
    cluster.add_node(num_cpus=2)
    summary = run.end()
    assert summary["lost"] >= 1
    assert_whole(tmp_path / "s", calm)


@pytest.fixture
def wire() -> Iterator[str]:
    """Give the name of a network namespace that one cable connects with this machine."""
    name = f"headstart-{os.getpid()}"
    cable = [f"hs{os.getpid() % 10**6}{end}" for end in "ab"]
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("only root makes network namespaces, with ip of iproute2")
    for words in (
        f"netns add {name}",
        f"link add {cable[0]} type veth peer name {cable[1]} netns {name}",
        f"addr add {HERE}/30 dev {cable[0]}",
        f"link set {cable[0]} up",
        f"-n {name} addr add {THERE}/30 dev {cable[1]}",
        f"-n {name} link set {cable[1]} up",
        f"-n {name} link set lo up",
    ):
        done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
        if done.returncode:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            pytest.skip(f"no network namespace here: {done.stderr.strip()}")
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def ray_node(*words: str, before: tuple[str, ...] = ()) -> Iterator[None]:
    """Have a node of a cluster, in a session of its own, until the end of the block."""
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
    node = subprocess.Popen(
        [*before, *ray],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | IMPATIENT,
    )
    try:
        yield
    finally:
        node.terminate()  # ends what the node has started
        try:
            node.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()


@long
def test_a_cluster_that_wants_a_token(photos, tiny_backbone, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = "0123456789abcdef" * 4
    monkeypatch.setitem(IMPATIENT, "RAY_AUTH_MODE", "token")
    monkeypatch.setitem(IMPATIENT, "RAY_AUTH_TOKEN", token)
    words = ("--head", "--port", str(port), "--num-cpus", "2", "--include-dashboard", "false")
    with ray_node(*words, "--node-ip-address=127.0.0.1"):
        wait_for_port("127.0.0.1", port)
        address = ("--address", f"127.0.0.1:{port}")
        run = Run(photos, tmp_path / "s", tiny_backbone, *address)
        run.end(1)
        assert len(run.errors.splitlines()) == 2, run.errors  # what there is to do, and why not
        assert "set RAY_AUTH_MODE=token" in run.errors
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        assert Run(photos, tmp_path / "s", tiny_backbone, *address).end()["rows"] == IMAGES


@long
@pytest.mark.usefixtures("first")
def test_a_node_is_cut_off(photos, calm, tiny_backbone, tmp_path, wire):
    """Its processes live on behind a cable that is unplugged, and hold the files they write."""
    with socket.socket() as free:
        free.bind((HERE, 0))
        port = free.getsockname()[1]
    head = ("--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false")
    here = (f"--address={HERE}:{port}", f"--node-ip-address={HERE}", "--num-cpus=2")
    there = (f"--address={HERE}:{port}", f"--node-ip-address={THERE}", "--num-cpus=2")
    with ExitStack() as nodes:
        nodes.enter_context(ray_node(*head, f"--node-ip-address={HERE}"))
        wait_for_port(HERE, port)
        nodes.enter_context(ray_node(*there, before=("ip", "netns", "exec", wire)))
        wait_for_processors(f"{HERE}:{port}")
        run = Run(photos, tmp_path / "s", tiny_backbone, "--address", f"{HERE}:{port}")
        assert run.wait_for(lambda: run.finished() > 1)
        subprocess.run(["ip", "-n", wire, "link", "set", "lo", "down"], check=True)
        for link in json.loads(subprocess.check_output(["ip", "-n", wire, "-j", "link"])):
            subprocess.run(["ip", "-n", wire, "link", "set", link["ifname"], "down"], check=True)
        nodes.enter_context(ray_node(*here))
        summary = run.end()
    assert summary["lost"] >= 1
    assert_whole(tmp_path / "s", calm)


def wait_for_processors(address: str) -> None:
    """Wait until a node with two processors has joined a cluster."""
    status = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    deadline = time.monotonic() + LIMIT
    while "/2.0 CPU" not in subprocess.run(status, capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def wait_for_port(host: str, port: int) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            return socket.create_connection((host, port), 1).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@long
def test_workers_that_run_another_headstart(photos, tiny_backbone, tmp_path, monkeypatch):
    """The cluster was started with other code than the driver has: refused before any work."""
    from ray.cluster_utils import Cluster

    root = Path(__file__).parents[2] / "pipeline"
    shutil.copytree(root, tmp_path / "other")
    with (tmp_path / "other/headstart/core/errors.py").open("a") as file:
        file.write("# changed\n")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "other"))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        monkeypatch.setenv("PYTHONPATH", str(root))
        run = Run(photos, tmp_path / "s", tiny_backbone, "--address", made.address)
        run.end(1)
    finally:
        made.shutdown()
    assert "runs a different Headstart (version 0.1.0, code " in run.errors.splitlines()[-1]
    assert run.errors.splitlines()[-1].endswith("install the same on every node")
    assert not (tmp_path / "s/manifest.json").exists()
