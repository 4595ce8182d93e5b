"""What the tests share: levels, a cache for exported networks, fixtures around `factories`.

``--level quick`` runs what needs no torch, no exported network, no browser and no other process;
``--level test``, the default, all but the longest; ``--level all`` everything. `make quick`,
`make test` and `make test-all` pass them.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import factories
import hypothesis
import pytest
from headstart.core import sandbox

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Not TIFF: each thread that meets one starts a process to decode it in.
IMAGE_SUFFIXES = ("jpg", "png", "webp", "bmp", "jpeg", "gif")


# What a fixture costs is a mark of every test that uses it.
FIXTURE_MARKS = {
    "fresh_python": "process",
    "browser": "browser",
    "ray_cluster": "ray",
    "clothing": "acceptance",
    "colour_results": "slow",
}
NOT_TEST = {"long", "breadth", "further"}
NOT_QUICK = NOT_TEST | {"slow", "process", "browser", "ray", "faults", "acceptance"}
LEVELS = {"quick": NOT_QUICK, "test": NOT_TEST, "all": set()}
TESTS = Path(__file__).parent
NOT_QUICK_FOLDERS = {TESTS / "acceptance", TESTS / "faults"}
ON_A_CLUSTER = {
    "tests/cli/test_privacy.py",
    "tests/contract/test_engines.py",
    "tests/unit/core/test_import_name.py",
    "tests/unit/features/embed/test_shard_driver.py",
}
# What loads the libraries around torch and its exporter, which takes a process eight seconds.
WITH_TORCH = (
    "tests/cli/test_backbones.py",
    "tests/cli/test_external_data.py",
    "tests/cli/test_multilabel.py",
    "tests/cli/test_shortlist.py",
    "tests/contract/test_providers.py",
    "tests/unit/backbones/",
    "tests/unit/core/test_torchvision_import.py",
    "tests/unit/datasets/test_torchvision_sets.py",
    "tests/unit/evaluation/test_backbone_choice.py",
    "tests/unit/features/embed/test_former_policy.py",
    "tests/unit/features/test_image_embedder.py",
    "tests/unit/finetune/",
)
# Seconds of the files that take longest, for the first run on a machine.
SECONDS: dict[str, float] = {
    "tests/unit/backbones/test_keras_zoo.py": 20,
    "tests/contract/test_providers.py": 17,
    "tests/unit/backbones/test_layers.py": 16,
    "tests/unit/features/embed/test_shard_driver.py": 15,
    "tests/acceptance/test_clothing.py": 14,
    "tests/unit/finetune/test_stage.py": 14,
    "tests/faults/test_processes.py": 13,
    "tests/unit/backbones/test_hub.py": 13,
    "tests/unit/backbones/test_export.py": 12,
    "tests/unit/features/embed/test_stage.py": 12,
    "tests/contract/test_heads.py": 11,
    "tests/unit/backbones/test_onnx_import.py": 11,
    "tests/unit/evaluation/compare/test_stage.py": 10,
    "tests/unit/evaluation/test_preprocess_choice.py": 9,
    "tests/unit/features/test_image_embedder.py": 9,
    "tests/cli/test_train_heads.py": 8,
    "tests/unit/heads/multilabel/test_families.py": 8,
    "tests/unit/evaluation/compare/test_multilabel.py": 7,
    "tests/unit/datasets/test_mirror.py": 7,
    "tests/unit/backbones/test_weights.py": 7,
    "tests/unit/backbones/inference/test_single_layer.py": 7,
    "tests/unit/core/test_torchvision_import.py": 6,
    "tests/unit/models/explain/test_collage.py": 6,
    "tests/unit/models/bundle/test_example.py": 6,
    "tests/unit/models/serve/test_page.py": 6,
    "tests/cli/test_other_systems.py": 6,
    "tests/cli/test_multilabel.py": 6,
    "tests/docs/test_tutorial.py": 6,
}
NOT_IN_QUICK = ("torch", "ray", "keras", "playwright")  # libraries
MEMORY = Path("/dev/shm")  # files in memory, where there is room for those of a whole run
ROOM = 4 << 30  # bytes

# The same examples in every run, so that a change is judged by what it changes; new ones are
# looked for where there is time to look into what they find.
hypothesis.settings.register_profile("quick", max_examples=10, deadline=None, derandomize=True)
hypothesis.settings.register_profile("test", max_examples=10, deadline=None, derandomize=True)
hypothesis.settings.register_profile("all", max_examples=1000, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--level", choices=LEVELS, default="test", help="How much of the tests to run")


def pytest_configure(config: pytest.Config) -> None:
    level = config.getoption("--level")
    hypothesis.settings.load_profile(level)
    _keep_files_in_memory()
    config.pluginmanager.register(_Collection())
    if level == "quick":
        sys.meta_path.insert(0, _Refusal())
        if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
            sys.addaudithook(_refuse_processes)
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers report to this process
        config.pluginmanager.register(_Seconds(config))


def _keep_files_in_memory() -> None:
    """Write temporary files where nothing waits for a disk, unless a folder for them is set."""
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    disk = os.statvfs(MEMORY)
    if os.access(MEMORY, os.W_OK) and disk.f_bavail * disk.f_frsize > ROOM:
        os.environ["TMPDIR"] = str(MEMORY)  # for the processes that tests start as well
        tempfile.tempdir = None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave whole folders out at the level ``quick``: their imports alone take seconds."""
    quick = config.getoption("--level") == "quick"
    return True if quick and collection_path in NOT_QUICK_FOLDERS else None


class _Collection:
    """Hooks for the package's files too: those of this module are asked about ``tests`` alone."""

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(self, file_path: Path) -> Iterator[Any]:
        """Look for doctests in the package alone, where there are any."""
        collectors = yield
        if file_path.is_relative_to(TESTS):
            return [collector for collector in collectors if type(collector) is pytest.Module]
        doctests = file_path.suffix == ".py" and ">>> " in file_path.read_text(encoding="utf-8")
        return collectors if doctests else []

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[Any]:
        """Forget a module that pytest could not import: it leaves it half made, for all to find."""
        report = yield
        if not report.passed:
            for name, module in list(sys.modules.items()):
                if getattr(module, "__file__", None) == str(collector.path):
                    del sys.modules[name]
        return report


def cases_left_out(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """Return the cases beyond as many as a test's mark ``cases`` says; evenly spaced ones stay."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("cases"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out: set[pytest.Item] = set()
    for cases in tests.values():
        (count,) = cases[0].get_closest_marker("cases").args
        kept = {number * len(cases) // count for number in range(count)}
        left_out |= {case for number, case in enumerate(cases) if number not in kept}
    return left_out


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    level = config.getoption("--level")
    left_out = LEVELS[level]
    cases = set() if level == "all" else cases_left_out(items)
    kept, dropped = [], []
    for item in items:
        for fixture, mark in FIXTURE_MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        away = item in cases or any(mark.name in left_out for mark in item.iter_markers())
        (dropped if away else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
    # Two processes end together if the files that took longest start first.
    seconds = SECONDS | config.cache.get(seconds_key(config), {})
    items[:] = sorted(kept, key=lambda item: -seconds.get(file_of(item.nodeid), 0))


def seconds_key(config: pytest.Config) -> str:
    return f"headstart/seconds/{config.getoption('--level')}"


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


class _Seconds:
    """Keeps how long the tests of each file took, for the order of the next run."""

    def __init__(self, config: pytest.Config) -> None:
        self.cache, self.key = config.cache, seconds_key(config)
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Keep the longest time: a run may be of one test of a file."""
        known = self.cache.get(self.key, {})
        longest = {
            file: max(round(spent, 1), known.get(file, 0.0)) for file, spent in self.seconds.items()
        }
        self.cache.set(self.key, known | longest)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole files; those on a Ray cluster as one, for it takes ten seconds to start."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = file_of(nodeid)
            return "Ray" if file in ON_A_CLUSTER else file

        def _assign_work_unit(self, node: Any) -> None:
            """Give the first process what needs torch, the others the rest, as far as it goes."""
            first = node is self.nodes[0]
            own = (file for file in self.workqueue if file.startswith(WITH_TORCH) is first)
            if file := next(own, None):
                self.workqueue.move_to_end(file, last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    """Skip whatever starts an interpreter at the level ``quick``."""
    if event == "subprocess.Popen" and os.fspath(arguments[0]) == sys.executable:
        raise pytest.skip.Exception("a process of its own is left out", allow_module_level=True)


class _Refusal:
    """Skips whatever imports a heavy library at the level ``quick``."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in NOT_IN_QUICK:
            raise pytest.skip.Exception(f"{name} is left out", allow_module_level=True)


@pytest.fixture(scope="session")
def level(request) -> str:
    """Give ``quick``, ``test`` or ``all``: how much a test that can be short or long does."""
    return request.config.getoption("--level")


@pytest.fixture(scope="session", autouse=True)
def cache_home(request) -> Iterator[Path]:
    """Keep exported networks from one run to the next, processes that tests start included.

    An export costs 6 to 25 seconds, and its file name holds all that it depends on. Tests of the
    cache itself take `fresh_cache_home`.
    """
    home = Path(os.environ.get("HEADSTART_TEST_CACHE") or request.config.cache.mkdir("headstart"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture
def fresh_cache_home(tmp_path, monkeypatch) -> Path:
    """Give the test an empty cache folder."""
    home = tmp_path / "cache-home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give Chromium; tests that need it are skipped where it or Playwright is missing.

    Not for the session: Playwright keeps an event loop running, and other tests run their own.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> Iterator[None]:
    """Let all exports share torch's table of ONNX operators: building it takes over a second."""
    from headstart.backbones import torch_graph

    export = torch_graph.to_onnx

    def with_shared_table(*arguments: Any) -> Any:
        from torch.onnx._internal.exporter._registration import ONNXRegistry as Table

        if not hasattr(Table.from_torchlib, "cache_info"):
            Table.from_torchlib = staticmethod(functools.cache(Table.from_torchlib))
        return export(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_graph, "to_onnx", with_shared_table)
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Let interrupts through, to processes of tests too: shells keep them off jobs with &."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def no_sandbox() -> Iterator[None]:
    """Do in this process what `sandbox.call` does in another: for many files, and tame ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "call", factories.call_here)
        yield


@pytest.fixture
def no_curve(monkeypatch) -> None:
    """Leave the learning curve out of comparisons, a quarter of what each of them costs.

    For tests of clean data that look at heads alone: odd data must not break the curve either.
    """
    from headstart.evaluation.compare import stage

    monkeypatch.setattr(stage, "learn_curve", lambda *_: None)


@pytest.fixture
def one_division(monkeypatch) -> None:
    """Divide few images into folds once, not ten times: for tests that do not ask about repeats."""
    from headstart.evaluation.splits import config

    monkeypatch.setattr(config, "MAX_REPEATS", 1)


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory) -> Path:
    """Give `factories.write_tiny_backbone`'s file."""
    return factories.write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_classifier(tiny_backbone, tmp_path_factory) -> Path:
    """Give `factories.write_tiny_classifier`'s file."""
    path = tmp_path_factory.mktemp("classifier") / "model.onnx"
    return factories.write_tiny_classifier(path, tiny_backbone)


@pytest.fixture(scope="session")
def write_image() -> Callable[..., Path]:
    """Give `factories.write_image`."""
    return factories.write_image


@pytest.fixture
def image_folder(tmp_path, write_image) -> Callable[..., Path]:
    """Give ``image_folder(name, classes, splits, per_class)``: images in five formats.

    No two images are equal, and those of one class are not alike.
    """

    def make(
        name: str | Path = "photos",
        classes: Sequence[str] = ("bark", "cloth"),
        splits: Sequence[str] = ("train", "test"),
        per_class: int = len(IMAGE_SUFFIXES),
    ) -> Path:
        root = tmp_path / name
        seed = 0
        for split in splits:
            for label in classes:
                for index in range(per_class):
                    suffix = IMAGE_SUFFIXES[index % len(IMAGE_SUFFIXES)]
                    write_image(root / split / label / f"{index}.{suffix}", seed)
                    seed += 1
        return root

    return make


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., object]:
    """Give ``fresh_python(script, *arguments)``: run it in a new interpreter.

    The last line that the script prints is a JSON document, which is returned.
    """

    def run(script: str, *arguments: object) -> object:
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def clothing() -> Path:
    """Return the folder of the clothing photos; tests that need them are skipped without it."""
    default = Path(__file__).parents[2] / "shared" / "data" / "clothing"
    folder = Path(os.environ.get("HEADSTART_CLOTHING") or default)
    if not folder.is_dir():
        pytest.skip(f"no clothing photos at {folder}; set HEADSTART_CLOTHING to their folder")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Start one Ray cluster of two processors, which every `RayEngine` of the session then uses."""
    from headstart.core.parallel.ray_engine import RayEngine

    engine = RayEngine(count=2)
    assert engine.workers() == 2
    yield
    engine.close()
