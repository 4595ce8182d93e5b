"""Simulate a cluster: how long 10^6 to 10^9 images take, and what breaks first.

    python benchmarks/cluster.py --record PHOTOS          # costs of single images on this machine
    python benchmarks/cluster.py                          # tables for 10^6 to 10^9 images

Real: the planner that divides listings, the size of manifests, what a listing of folders takes (as
`listing.py` has recorded it), the seconds an image costs (recorded, below). Simulated: the workers,
the driver that serves one after the other, and their failures. A shard's cost is drawn from the
recorded images' mean and deviation.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import listing
import numpy as np
import page
from headstart.core.records import ImageRef
from headstart.features.embed.partition import divide
from headstart.features.store import manifest
from headstart.features.store.manifest import Manifest, Shard

COSTS = Path(__file__).with_name("costs.json")
SAMPLE = 1_000_000  # images of the listing that is really made, divided and measured
ENTRY = 157  # bytes of a shard in a manifest
ROW = 8300  # bytes of a store, with 1,280 features and a miniature


@dataclass(frozen=True)
class World:
    """What the simulated cluster is like.

    Attributes:
        image: mean and deviation of one image's seconds on one core.
        driver: seconds of the driver for each shard, in which nobody else is served.
        ready: seconds until a worker can work.
        failure: seconds between two deaths of the same worker, on average; 0 for none.
        slow: share of the workers that take twice the time.
        publish: seconds to flush and rename a shard.
    """

    image: tuple[float, float]
    driver: float = 0.01
    ready: float = 4.0
    failure: float = 0.0
    slow: float = 0.0
    publish: float = 0.1


def simulate(sizes: np.ndarray, workers: int, world: World, seed: int = 0) -> tuple[float, float]:
    """Return the seconds of a run, and the least that they could be.

    A worker takes the largest shard that is left when it is free and the driver has time for it. A
    worker that dies goes on with the same shard from its journal, once another one is ready.

    Args:
        sizes: images of each shard.
        workers: how many there are.
        world: see `World`.
        seed: of the costs and misfortunes.
    """
    rng = np.random.default_rng(seed)
    mean, deviation = world.image
    ordered = np.sort(sizes)[::-1]
    cost = ordered * mean + np.sqrt(ordered) * deviation * rng.normal(size=len(ordered))
    cost = np.maximum(cost, 0) + world.publish
    factor = np.where(rng.random(workers) < world.slow, 2.0, 1.0)
    free = [(world.ready, number) for number in range(workers)]
    heapq.heapify(free)
    served, end = 0.0, 0.0
    for one in cost:
        at, number = heapq.heappop(free)
        served = max(at, served) + world.driver
        took = one * factor[number]
        if world.failure:
            took += rng.poisson(took / world.failure) * world.ready
        heapq.heappush(free, (served + took, number))
        end = max(end, served + took)
    speed = (1 / factor).sum()
    return end, float(ordered.sum() * mean / speed)


def shard_sizes(images: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return how the planner divides: its own sizes, or as many drawn from them for a long listing.

    >>> int(shard_sizes(10_000, 100, np.random.default_rng(0)).sum())
    10000
    """
    listed = min(images, max(SAMPLE, 250 * size))
    refs = [ImageRef(f"class{n % 1000}/{n:010d}.jpg", "", "") for n in range(listed)]
    found = np.array([len(part) for part in divide(refs, size)])
    if listed == images:
        return found
    drawn = rng.choice(found, int(1.2 * images / found.mean()) + 100)
    ends = np.cumsum(drawn)
    count = int(np.searchsorted(ends, images)) + 1
    drawn[count - 1] -= ends[count - 1] - images
    return drawn[:count]


def measure() -> dict[str, float]:
    """Measure what a manifest costs, on a real one."""
    shards = tuple(
        Shard(manifest.file_name(f"{n:016x}", 1), 4096, 0, f"{n:064x}") for n in range(10_000)
    )
    held = Manifest({}, "", (), shards, {"images": 1, "digest": "", "shard_size": 4096})
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        manifest.write(Path(folder), held)
        manifest.read(Path(folder))
        both = (time.perf_counter() - started) / len(shards)
        size = (Path(folder) / manifest.NAME).stat().st_size / len(shards)
    return {
        "manifest_bytes": size,
        "manifest_seconds": both,
    }


def record(photos: Path, count: int = 300) -> None:
    """Write down what single images cost on one core: reading, decoding, inference."""
    from headstart import backbones
    from headstart.backbones import export
    from headstart.backbones.inference.runner import Runner
    from headstart.datasets import images

    model, _ = export.model_file(backbones.DEFAULT)
    runner = Runner(model)
    paths = random.Random(0).sample(sorted(photos.rglob("*.jpg")), count)
    costs = []
    for path in paths:
        started = time.perf_counter()
        data, _ = images.read_file(path)
        crop = images.decode(data, runner.backbone.preprocess)
        images.miniature(crop)
        runner.embed(crop[np.newaxis])
        costs.append(round(1000 * (time.perf_counter() - started), 3))
    COSTS.write_text(json.dumps({"milliseconds": costs}) + "\n")
    print(f"{count} images: {statistics.mean(costs):.1f} ms, median {statistics.median(costs):.1f}")


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--record", type=Path, metavar="PHOTOS")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour")
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return
    with page.recorded(options, markdown=True):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    costs = np.array(json.loads(COSTS.read_text())["milliseconds"]) / 1000
    world = World((float(costs.mean()), float(costs.std())))
    page.sample("milliseconds an image", *(1000 * costs))
    print(f"an image: {world.image[0] * 1000:.2f} ms ± {world.image[1] * 1000:.2f} of a core\n")
    scale(world, options.price)
    stragglers(world)
    sizes(world)


def scale(world: World, price: float) -> None:
    facts = measure()
    page.sample("measured here", facts)
    recorded = json.loads((page.DATA / "listing.json").read_text())["results"]["samples"]
    listed = [fact for key, (fact,) in recorded.items() if key.endswith("folders")]
    print(
        "| images | workers | hours | of the ideal | driver busy | core hours | at "
        f"{price}/h | store | listing in memory | listing | manifest |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for images in (10**6, 10**7, 10**8, 10**9):
        sizes = shard_sizes(images, 4096, rng)
        memory, seconds = listing.extrapolated(listed, images)
        for workers in (10, 100, 1000):
            if images / workers > 10**7 or len(sizes) < workers:
                continue
            end, ideal = simulate(sizes, workers, world)
            hours = end * workers / 3600
            cells = [
                f"10^{len(str(images)) - 1}",
                f"{workers:,}",
                f"{end / 3600:.2f}",
                f"{ideal / end:.3f}",
                f"{len(sizes) * world.driver / end:.1%}",
                f"{hours:,.0f}",
                f"{hours * price:,.0f}",
                f"{images * ROW / 1e9:,.0f} GB",
                f"{memory / 1e9:,.1f} GB",
                f"{seconds / 60:,.1f} min",
                f"{len(sizes) * facts['manifest_bytes'] / 1e6:,.1f} MB",
            ]
            print(f"| {' | '.join(cells)} |")


def stragglers(world: World) -> None:
    """10^7 images on 100 workers, and what goes wrong."""
    print("\n| 10^7 images, 100 workers | hours | of the ideal |\n|---|---|---|")
    sizes = shard_sizes(10**7, 4096, np.random.default_rng(0))
    for name, changes in (
        ("nothing goes wrong", {}),
        ("5 % of the workers at half speed", {"slow": 0.05}),
        ("20 % at half speed", {"slow": 0.2}),
        ("a worker dies every hour", {"failure": 3600.0, "ready": 30.0}),
        ("a worker dies every ten minutes", {"failure": 600.0, "ready": 30.0}),
        ("both, 5 % and every ten minutes", {"slow": 0.05, "failure": 600.0, "ready": 30.0}),
    ):
        end, ideal = simulate(sizes, 100, World(**(vars(world) | changes)))
        print(f"| {name} | {end / 3600:.2f} | {ideal / end:.3f} |")


def sizes(world: World) -> None:
    """What another size of the shards would do."""
    print(
        "\n| images a shard | files of 10^7 | of the ideal, 100 workers | 1,000 workers | "
        "driver busy with 1,000 | manifest of 10^9 |\n|---|---|---|---|---|---|"
    )
    for size in (256, 1024, 4096, 16384):
        found = shard_sizes(10**7, size, np.random.default_rng(0))
        row = [simulate(found, workers, world) for workers in (100, 1000)]
        busy = len(found) * world.driver / row[1][0]
        large = 10**9 / found.mean() * ENTRY / 1e6
        print(
            f"| {size:,} | {len(found):,} | {row[0][1] / row[0][0]:.3f} | "
            f"{row[1][1] / row[1][0]:.3f} | {busy:.1%} | {large:,.0f} MB |"
        )


if __name__ == "__main__":
    main()
