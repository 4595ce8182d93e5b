"""Which settings of the pipeline pay: each one against today's, alternated.

Usage: python benchmarks/variants.py DATA [--network efficientnet-lite0] [--images 256]
           [--rounds 5] [--only static,malloc]

Every setting has a process of its own, since several of them hold for a whole process, and runs
the bare loop of `headstart.features.embed`: threads that take chunks of images, and read, decode
and infer them. No store is written and nothing is hashed, so that differences stand out. A ratio
above 1 means that the setting is faster than the default, which runs right before or after it, in
turn.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import alternate
import networks
import numpy as np
import onnxruntime as ort
import page
import photos
from headstart.backbones.inference.description import INPUT, OUTPUT
from headstart.backbones.inference.runner import Runner
from headstart.core.parallel import available_cores, run_threads
from headstart.datasets import images
from rich.console import Console
from rich.table import Table

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
out = Console()


@dataclass(frozen=True)
class Setting:
    """How a process runs; the defaults are those of the pipeline.

    Attributes:
        batch: images an inference.
        chunk: images a thread takes at once.
        static: fix the graph's batch size, so that onnxruntime can plan with it.
        config: entries of onnxruntime's session configuration.
        options: attributes of its session options.
        sessions: ``shared`` by all threads, or one of its own for ``each``.
        device_output: let onnxruntime write into an array that the thread keeps.
        intra: threads inside one inference.
        workers: threads that read, decode and infer; 0 is one a core.
        pin: bind each thread to a core.
        switch: seconds after which a thread that waits for the interpreter asks for it.
        gc: collect cyclic garbage during the run.
        malloc: keep freed memory, up to this many MiB, instead of giving it back.
        env: environment variables, for what is read when a library is loaded.
    """

    batch: int = 1
    chunk: int = 8
    static: bool = False
    config: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    sessions: str = "shared"
    device_output: bool = False
    intra: int = 1
    workers: int = 0
    pin: bool = False
    switch: float = 0.005
    gc: bool = True
    malloc: int = 0
    env: dict[str, str] = field(default_factory=dict)


SETTINGS = {
    "default": Setting(),
    "default again": Setting(),  # what differs here is noise
    "static batch 1": Setting(static=True),
    "batch 2": Setting(batch=2),
    "batch 4": Setting(batch=4),
    "batch 8": Setting(batch=8),
    "static batch 2": Setting(batch=2, static=True),
    "static batch 4": Setting(batch=4, static=True),
    "static batch 8": Setting(batch=8, static=True),
    "chunk 1": Setting(chunk=1),
    "chunk 4": Setting(chunk=4),
    "chunk 16": Setting(chunk=16),
    "chunk 32": Setting(chunk=32),
    "arena off": Setting(options={"enable_cpu_mem_arena": False}),
    "arena off, malloc keeps 256 MiB": Setting(options={"enable_cpu_mem_arena": False}, malloc=256),
    "memory pattern off": Setting(options={"enable_mem_pattern": False}),
    "arena and pattern off": Setting(
        options={"enable_cpu_mem_arena": False, "enable_mem_pattern": False}
    ),
    "memory reuse off": Setting(options={"enable_mem_reuse": False}),
    "spinning off": Setting(config={"session.intra_op.allow_spinning": "0"}),
    "a session each": Setting(sessions="each"),
    "a static session each": Setting(sessions="each", static=True),
    "output kept": Setting(device_output=True),
    "intra-op threads, one worker": Setting(intra=0, workers=1),
    "intra-op, one worker, batch 8": Setting(intra=0, workers=1, batch=8),
    "one worker more": Setting(workers=available_cores() + 1),
    "twice the workers": Setting(workers=2 * available_cores()),
    "pinned": Setting(pin=True),
    "switch interval 0.1 ms": Setting(switch=1e-4),
    "switch interval 50 ms": Setting(switch=0.05),
    "no garbage collection": Setting(gc=False),
    "malloc keeps 256 MiB": Setting(malloc=256),
    "one malloc arena": Setting(env={"MALLOC_ARENA_MAX": "1"}),
    "Pillow keeps 64 blocks": Setting(env={"PILLOW_BLOCKS_MAX": "64"}),
    "Pillow blocks of 1 MiB": Setting(env={"PILLOW_BLOCK_SIZE": "1m"}),
    "optimisation basic": Setting(options={"graph_optimization_level": "ORT_ENABLE_BASIC"}),
    "optimisation extended": Setting(options={"graph_optimization_level": "ORT_ENABLE_EXTENDED"}),
    "denormals are zero": Setting(config={"session.set_denormal_as_zero": "1"}),
    "prepacking off": Setting(config={"session.disable_prepacking": "1"}),
}


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--network", default=networks.NAMES[0], choices=networks.NAMES)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="parts of settings' names, comma-separated")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "headstart-bench"
    )
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    paths = [str(path) for path in photos.sample(options.data, options.images)]
    model = str(networks.model_file(options.network, options.cache / "models"))
    wanted = [part for part in options.only.split(",") if part]
    chosen = {
        name: setting
        for name, setting in SETTINGS.items()
        if not wanted or name.startswith("default") or any(part in name for part in wanted)
    }
    contenders = {}
    for name, setting in chosen.items():
        request = {"setting": asdict(setting), "model": model, "paths": paths}
        contenders[name] = alternate.Contender(Path(__file__), request, env=setting.env)
    runs = {name: lambda c=c: c.ask({})["speed"] for name, c in contenders.items()}
    speeds: dict[str, list[float]] = {name: [] for name in chosen}
    ratios: dict[str, list[float]] = {name: [] for name in chosen if name != "default"}
    for number in range(options.rounds):
        for name in ratios:
            pair = {"default": runs["default"], name: runs[name]}
            for key in pair if number % 2 == 0 else reversed(pair):
                speeds[key].append(pair[key]())
            ratios[name].append(speeds[name][-1] / speeds["default"][-1])
    for contender in contenders.values():
        contender.close()
    for name, values in speeds.items():
        page.sample(f"{name}, images/s", *values)
    for name, values in ratios.items():
        page.ratio(f"{name} / default", values)
    report(options, len(paths), speeds, ratios)


def report(
    options: argparse.Namespace,
    count: int,
    speeds: dict[str, list[float]],
    ratios: dict[str, list[float]],
) -> None:
    table = Table(
        "setting",
        "images/s",
        "to the default beside it: median (range)",
        title=f"{options.network}, {count} images, {options.rounds} rounds",
    )
    for name, values in speeds.items():
        ratio = alternate.show(ratios[name], 3) if name in ratios else ""
        table.add_row(name, alternate.show(values), ratio)
    out.print(table)


class Process:
    """One setting's process: opened by the first request, measured by each later one."""

    def __init__(self) -> None:
        self.loop: Loop | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the model, or run the loop over all images."""
        if self.loop is None:
            self.loop = Loop(Setting(**request["setting"]), request["model"], request["paths"])
            self.loop.run(self.loop.paths[:16])
            return {}
        started = time.perf_counter()
        self.loop.run(self.loop.paths)
        return {"speed": len(self.loop.paths) / (time.perf_counter() - started)}


class Loop:
    """Threads that take chunks of files, and read, decode and infer them."""

    def __init__(self, setting: Setting, model: str, paths: list[str]) -> None:
        self.setting, self.paths = setting, [Path(path) for path in paths]
        self.workers = setting.workers or available_cores()
        self.preprocess = Runner(Path(model)).backbone.preprocess
        self.bytes = Path(model).read_bytes()
        self.sessions = [self.open() for _ in range(self.workers if self.each else 1)]
        self.local, self.taken = threading.local(), iter(range(sys.maxsize))
        sys.setswitchinterval(setting.switch)
        if not setting.gc:
            gc.disable()
        if setting.malloc:
            libc = ctypes.CDLL(None)
            for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
                if not libc.mallopt(parameter, min(setting.malloc << 20, 2**31 - 1)):
                    raise OSError("mallopt refused")

    @property
    def each(self) -> bool:
        """Say whether every thread has a session of its own."""
        return self.setting.sessions == "each"

    def open(self) -> ort.InferenceSession:
        """Open a session as `headstart.backbones.inference.runner` does, but for the setting."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.setting.intra
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for name, value in self.setting.options.items():
            level = getattr(ort.GraphOptimizationLevel, value) if isinstance(value, str) else value
            setattr(options, name, level)
        for key, value in self.setting.config.items():
            options.add_session_config_entry(key, value)
        if self.setting.static:
            options.add_free_dimension_override_by_name("n", self.setting.batch)
        session = ort.InferenceSession(self.bytes, options, providers=["CPUExecutionProvider"])
        if self.setting.static:
            assert session.get_inputs()[0].shape[0] == self.setting.batch
        return session

    def run(self, paths: list[Path]) -> None:
        """Read, decode and infer every image."""
        usable = len(paths) // self.setting.batch * self.setting.batch  # no smaller last batch
        self.local, self.taken = threading.local(), iter(range(sys.maxsize))
        for _ in run_threads(self.work, self.chunks(paths[:usable]), self.workers):
            pass

    def chunks(self, paths: list[Path]) -> Iterator[list[Path]]:
        """Yield what a thread takes at once; at least a batch."""
        step = max(self.setting.chunk, self.setting.batch)
        for start in range(0, len(paths), step):
            yield paths[start : start + step]

    def work(self, chunk: list[Path]) -> None:
        """Read, decode and infer one chunk."""
        session = self.here()
        for start in range(0, len(chunk), self.setting.batch):
            crops = [
                images.decode(images.read_file(path)[0], self.preprocess)
                for path in chunk[start : start + self.setting.batch]
            ]
            batch = crops[0][np.newaxis] if len(crops) == 1 else np.stack(crops)
            if self.setting.device_output:
                self.bound(session, batch)
            else:
                session.run([OUTPUT], {INPUT: batch})

    def here(self) -> ort.InferenceSession:
        """Return this thread's session, after its first-time settings."""
        if not hasattr(self.local, "session"):
            number = next(self.taken)
            self.local.session = self.sessions[number % len(self.sessions)]
            if self.setting.pin:
                cores = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(threading.get_native_id(), {cores[number % len(cores)]})
        return self.local.session

    def bound(self, session: ort.InferenceSession, batch: np.ndarray) -> None:
        """Infer into this thread's own array."""
        if not hasattr(self.local, "output"):
            dim = session.get_outputs()[0].shape[1]
            self.local.output = np.empty((len(batch), dim), np.float32)
            self.local.binding = session.io_binding()
            self.local.binding.bind_output(
                OUTPUT, "cpu", 0, np.float32, self.local.output.shape, self.local.output.ctypes.data
            )
        self.local.binding.bind_cpu_input(INPUT, batch)
        session.run_with_iobinding(self.local.binding)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main()
    else:  # started by main, as a contender
        alternate.serve(Process().answer)
