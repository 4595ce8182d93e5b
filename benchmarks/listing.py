"""Memory and time of listing many images, without one image: only names are made.

    python benchmarks/listing.py
    python benchmarks/listing.py --names 300000 1000000 --files 300000 600000

Each listing is made by a process of its own, which then does what the driver of a sharded run does
with it: the summary, the digest and the division into shards. Seconds are processor time (user and
system); memory is the peak of resident memory less that of the imports. Names of a CSV are
scattered; folders hold a thousand empty files each. What 10^8 and 10^9 names would take lies on the
line through the two sizes that are measured: both must be longer than 262,144, from where on
listings are packed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import page

FOLDER = 1000  # files in one
# Multiples of a prime visit every name once in scattered order. A shuffled list in this process
# would count as memory of the one that lists: Linux hands the peak on.
PRIME = 2_654_435_761
MEASURED = """
    import json, resource, sys
    from headstart import datasets
    from headstart.features.embed.partition import divide, listing_digest

    def usage():
        now = resource.getrusage(resource.RUSAGE_SELF)
        return now.ru_utime + now.ru_stime, now.ru_maxrss * 1024

    seconds, peaks = [], []
    def note():
        second, peak = usage()
        seconds.append(second)
        peaks.append(peak)

    note()
    listing = datasets.open_source(sys.argv[1])
    note()
    datasets.summary(listing)
    datasets.describe(listing)
    note()
    digest = listing_digest(listing)
    note()
    shards = sum(1 for _ in divide(listing.images, 4096))
    note()
    blocks = getattr(listing.images, "blocks", ())
    print(json.dumps({
        "images": len(listing.images), "digest": digest, "shards": shards,
        "seconds": [b - a for a, b in zip(seconds, seconds[1:])],
        "bytes": max(peaks) - peaks[0], "table": sum(map(len, blocks)),
    }))
"""
STEPS = ("list", "summary", "digest", "division")


def name(number: int) -> str:
    """Return the path of an image in one of the classes."""
    return f"train/class{number // FOLDER % 100_000:05d}/{number:010d}.jpg"


def make_csv(folder: Path, names: int) -> Path:
    """Write a CSV of scattered names, of which the first file exists."""
    file = folder / f"{names}.csv"
    with file.open("w") as table:
        table.write("path,label,split\n")
        for row in range(names):
            path = name(row * PRIME % names)
            table.write(f"{path},{path.split('/')[1]},train\n")
    first = folder / name(0)
    first.parent.mkdir(parents=True, exist_ok=True)
    first.touch()
    return file


def make_folders(folder: Path, names: int) -> Path:
    """Make folders of empty files."""
    root = folder / str(names)
    for number in range(names):
        path = root / name(number)
        if number % FOLDER == 0:
            path.parent.mkdir(parents=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return root


def measure(source: Path) -> dict[str, object]:
    """Return what one process needs to list a source."""
    code = "\n".join(line[4:] for line in MEASURED.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", code, str(source)], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def extrapolated(facts: list[dict[str, object]], images: int) -> tuple[float, float]:
    """Return the bytes and the seconds that so many images would take."""
    few, many = facts
    share = (images - few["images"]) / (many["images"] - few["images"])
    return tuple(
        of_few + share * (of_many - of_few)
        for of_few, of_many in (
            (few["bytes"], many["bytes"]),
            (sum(few["seconds"]), sum(many["seconds"])),
        )
    )


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("--names", type=int, nargs=2, default=[1_000_000, 10_000_000])
    parser.add_argument("--files", type=int, nargs=2, default=[500_000, 2_000_000])
    options = parser.parse_args()
    with page.recorded(options, markdown=True):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    heads = [f"{step}, µs" for step in STEPS]
    print(f"| images | from | {' | '.join(heads)} | all, µs | peak, MB | bytes an image | packed |")
    print("|---|---|" + "--:|" * (len(heads) + 4))
    kinds = {"a CSV": (make_csv, options.names), "folders": (make_folders, options.files)}
    facts = {
        kind: [fact(kind, make, size) for size in sizes] for kind, (make, sizes) in kinds.items()
    }
    print("\n| images, extrapolated | from | peak, GB | processor time, minutes |")
    print("|---|---|--:|--:|")
    for images, kind in product((10**8, 10**9), kinds):
        size, seconds = extrapolated(facts[kind], images)
        exponent = len(str(images)) - 1
        print(f"| 10^{exponent} | {kind} | {size / 1e9:.1f} | {seconds / 60:,.0f} |")


def fact(kind: str, make: Callable[[Path, int], Path], names: int) -> dict[str, object]:
    """Measure one source, and print its row."""
    with tempfile.TemporaryDirectory() as folder:
        fact = measure(make(Path(folder), names))
    page.sample(f"{names} images from {kind}", fact)
    each = [1e6 * seconds / names for seconds in fact["seconds"]]
    cells = [f"{value:.1f}" for value in (*each, sum(each))]
    cells += [f"{fact['bytes'] / 1e6:,.0f}", f"{fact['bytes'] / names:.0f}"]
    print(f"| {names:,} | {kind} | {' | '.join(cells)} | {fact['table'] / names:.1f} |", flush=True)
    return fact


if __name__ == "__main__":
    main()
