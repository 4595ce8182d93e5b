"""Workers on Ray against threads of one process, in turn.

    python benchmarks/scaling.py PHOTOS [--images 480] [--rounds 3] [--shard-size 40]

Every round embeds the same photos four times into new stores: one file by 1 and 2 threads of this
process, and a folder by 1 and 2 workers on Ray. The cluster is started once. What workers need
to get ready is measured by a run over two images and printed separately; images per second exclude
it, because it does not grow with the number of images.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import alternate
import page
from headstart import backbones
from headstart.core.parallel.ray_engine import RayEngine
from headstart.features.embed import EmbedConfig, Hooks, Sharding, embed
from headstart.features.store import manifest

KINDS = [("threads", 1), ("threads", 2), ("ray", 1), ("ray", 2)]


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shard-size", type=int, default=40)
    options = parser.parse_args()
    with page.recorded(options, markdown=True), tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    photos = sorted(path for path in options.photos.rglob("*.jpg"))
    chosen = random.Random(0).sample(photos, options.images)
    for name, some in (("some", chosen), ("two", chosen[:2])):
        for number, path in enumerate(some):
            (folder / name / "x").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name / "x" / f"{number}.jpg")

    started = time.perf_counter()
    cluster = RayEngine(count=2)
    cluster.workers()
    print(f"starting a cluster on this machine: {time.perf_counter() - started:.1f} s")
    seconds = {kind: [] for kind in KINDS}
    ready, memory = {kind: [] for kind in KINDS}, []
    for number in range(options.rounds):
        for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
            if kind[0] == "ray":
                ready[kind].append(run(folder / "two", folder / "out", *kind, 1)[0])
            took, held = run(folder / "some", folder / "out", *kind, options.shard_size)
            seconds[kind].append(took)
            memory.append(held)
    cluster.close()
    for kind, took in seconds.items():
        page.sample(f"{kind[0]}, {kind[1]}: seconds", *took)
        page.sample(f"{kind[0]}, {kind[1]}: seconds until ready", *ready[kind])
    page.sample("bytes of a worker", *memory)
    starts = [*ready["ray", 1], *ready["ray", 2]]
    print(f"workers on Ray are ready after {statistics.median(starts):.2f} s")
    print(f"most memory of a worker: {max(memory) / 2**20:.0f} MiB")
    table(seconds, ready, options.images)


def run(data: Path, out: Path, engine: str, workers: int, size: int) -> tuple[float, int]:
    """Return the seconds of a run, from its plan to its last image, and a worker's memory."""
    marks: list[float] = []
    hooks = Hooks(
        notice=lambda line: marks.append(time.perf_counter()),
        progress=lambda done, total: marks.append(time.perf_counter()),
    )
    sharding = Sharding("ray", shard_size=size) if engine == "ray" else None
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    store = out / ("folder" if sharding else "one.h5")
    summary = embed(
        str(data),
        store,
        EmbedConfig(backbones.DEFAULT, workers=workers, sharding=sharding),
        hooks,
    )
    if not sharding:
        return summary.seconds, 0
    # The plan's notice is the second one, behind the listing's.
    return marks[-1] - marks[1], manifest.read(store).run["memory"]


def table(seconds: dict, ready: dict, images: int) -> None:
    rates = {}
    for kind, took in seconds.items():
        less = statistics.median(ready[kind]) if ready[kind] else 0.0
        rates[kind] = [images / (one - less) for one in took]
    print("\n| engine | workers | images/s | range | of 1 thread × workers | of as many threads |")
    print("|---|---|---|---|---|---|")
    for engine, workers in KINDS:
        own = rates[engine, workers]
        alone = ratio(own, rates["threads", 1]) / workers
        same = ratio(own, rates["threads", workers])
        if engine == "ray":
            threads = rates["threads", workers]
            page.ratio(f"{workers} workers: ray / threads", alternate.paired(own, threads))
        middle = statistics.median(own)
        print(
            f"| {engine} | {workers} | {middle:.1f} | {min(own):.1f}–{max(own):.1f} | "
            f"{alone:.3f} | {same:.3f} |"
        )
    print(f"\nRay, 1 to 2 workers: {ratio(rates['ray', 2], rates['ray', 1]) / 2:.3f} of twice")
    for workers in (1, 2):
        pairs = zip(rates["ray", workers], rates["threads", workers], strict=True)
        each = statistics.median(workers / a - workers / b for a, b in pairs)
        print(f"overhead of Ray with {workers}: {each * 1000:.2f} ms of a core an image")


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


if __name__ == "__main__":
    main()
