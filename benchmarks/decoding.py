"""What an image costs before the network: each step alone, other decoders, and large photos.

Usage: python benchmarks/decoding.py DATA [--images 256] [--large 24] [--rounds 5]

Three tables, in processor time of one thread. Steps: an image of DATA, each step alone, and what
two threads reach together. Decoders: Pillow beside simplejpeg and OpenCV where they are installed.
Large photos: JPEG files of 4,000 × 3,000 pixels made of DATA in several ways (enlarged; mosaics of
photos at their own size, with detail up to the last pixel; other subsamplings and sizes), speed of
scaled against full decoding, alternated, and the cosine of the default backbone's features.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import page
from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.inference.runner import Runner
from headstart.core.records import Preprocess
from headstart.datasets import images
from headstart.datasets.images import dct_scaling, pixels
from PIL import Image
from rich.console import Console
from rich.table import Table

FULL = 10**6  # of scaled.KEPT: nothing is that large
out = Console()


def sample(data: str, count: int) -> list[Path]:
    listing = datasets.open_source(data)
    step = max(1, len(listing.images) // count)
    return [listing.root / ref.path for ref in listing.images[::step]][:count]


def seconds(function: Callable, items: list, rounds: int) -> float:
    """Median over rounds of the processor seconds that an item takes in this thread."""
    times = []
    for _ in range(rounds):
        started = time.thread_time()
        for item in items:
            function(item)
        times.append((time.thread_time() - started) / len(items))
    return statistics.median(times)


def loaded(data: bytes, mode: str | None = None) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=images.FORMATS)
    if mode:
        image.draft(mode, image.size)
    image.load()
    return image


def steps(paths: list[Path], preprocess: Preprocess, rounds: int) -> dict[str, float]:
    contents = [path.read_bytes() for path in paths]
    photos = [loaded(data).convert("RGB") for data in contents]
    crops = [images.decode(data, preprocess) for data in contents]
    side = preprocess.size[::-1]  # Pillow's order

    def resize(photo: Image.Image) -> Image.Image:
        box = images.crop_box(*photo.size, preprocess)
        return photo.resize(side, Image.Resampling.BICUBIC, box=box)

    resized = [resize(photo) for photo in photos]
    return {
        "read": seconds(images.read_file, paths, rounds),
        "hash (SHA-256)": seconds(lambda data: hashlib.sha256(data).digest(), contents, rounds),
        "look at the header": seconds(images.is_ordinary, contents, rounds),
        "decode": seconds(loaded, contents, rounds),
        "resize": seconds(resize, photos, rounds),
        "to an array": seconds(np.asarray, resized, rounds),
        "miniature": seconds(images.miniature, crops, rounds),
        "images.decode, all of it": seconds(partial(once, preprocess), contents, rounds),
    }


def once(preprocess: Preprocess, data: bytes) -> np.ndarray:
    return images.decode(data, preprocess)


def two_threads(paths: list[Path], preprocess: Preprocess, rounds: int) -> float:
    """Speed of two threads over twice that of one."""
    contents = [path.read_bytes() for path in paths]
    ratios = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            alone = seconds(partial(once, preprocess), contents, 1)
            started = time.perf_counter()
            list(pool.map(partial(once, preprocess), contents, chunksize=8))
            ratios.append(alone * len(contents) / 2 / (time.perf_counter() - started))
    return statistics.median(ratios)


def decoders(paths: list[Path], preprocess: Preprocess, rounds: int) -> dict[str, float]:
    """Other ways to the pixels, or the crop: none of them gives Pillow's pixels bit for bit."""
    contents = [path.read_bytes() for path in paths]
    found: dict[str, Callable] = {
        "Pillow": loaded,
        "Pillow, to an array": lambda data: np.asarray(loaded(data)),
    }
    try:
        import simplejpeg

        found["simplejpeg"] = simplejpeg.decode_jpeg
        found["simplejpeg, fast IDCT"] = partial(simplejpeg.decode_jpeg, fastdct=True)
    except ImportError:
        out.print("simplejpeg is not installed")
    try:
        import cv2

        cv2.setNumThreads(1)
        found["OpenCV"] = lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    except ImportError:
        out.print("OpenCV is not installed")
    return {name: seconds(function, contents, rounds) for name, function in found.items()}


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **({"quality": 90} | options))
    return file.getvalue()


def enlarged(path: Path, width: int, height: int) -> Image.Image:
    with Image.open(path) as photo:
        size = (height, width) if photo.height > photo.width else (width, height)
        scale = max(size[0] / photo.width, size[1] / photo.height)
        grown = (
            max(size[0], round(photo.width * scale)),
            max(size[1], round(photo.height * scale)),
        )
        whole = photo.convert("RGB").resize(grown, Image.Resampling.BICUBIC)
        return whole.crop((0, 0, *size))


def mosaic(paths: Iterator[Path], width: int, height: int) -> Image.Image:
    """Lay photos side by side at their own size: as much detail as pixels can hold."""
    whole = Image.new("RGB", (width, height))
    for y in range(0, height, 500):
        x = 0
        while x < width:
            with Image.open(next(paths)) as photo:
                whole.paste(photo.convert("RGB"), (x, y))
                x += photo.width
    return whole


def large_photos(paths: list[Path], count: int) -> Iterator[tuple[str, list[bytes]]]:
    size = (4000, 3000)
    some = paths[:count]
    few = paths[: max(2, count // 4)]
    yield "enlarged, 4:2:0", [jpeg(enlarged(path, *size)) for path in some]
    supply = itertools.cycle(paths)
    yield "mosaics, 4:2:0", [jpeg(mosaic(supply, *size)) for _ in few]
    yield "enlarged, 4:2:2", [jpeg(enlarged(path, *size), subsampling=1) for path in few]
    yield "mosaics, 4:2:2", [jpeg(mosaic(supply, *size), subsampling=1) for _ in few]
    yield "enlarged, 4:4:4", [jpeg(enlarged(path, *size), subsampling=0) for path in few]
    yield "enlarged, grey", [jpeg(enlarged(path, *size).convert("L")) for path in few]
    yield "enlarged, progressive", [jpeg(enlarged(path, *size), progressive=True) for path in few]
    yield "enlarged, quality 98", [jpeg(enlarged(path, *size), quality=98) for path in few]
    for short in (1280, 1600, 2100, 2560, 4200, 5120, 6000):
        sized = (short * 4 // 3, short)
        yield f"enlarged to {short:,}, 4:2:0", [jpeg(enlarged(path, *sized)) for path in few]


def large(paths: list[Path], runner: Runner, count: int) -> list[dict]:
    preprocess, kept = runner.backbone.preprocess, dct_scaling.KEPT
    rows = []
    for name, contents in large_photos(paths, count):
        cosines, ratios, times = [], [], []
        for data in contents:
            vectors, spent = {}, {}
            for keep in (FULL, kept, FULL, kept):  # the second time counts
                dct_scaling.KEPT = keep
                started = time.thread_time()
                crop = pixels.decode(data, preprocess)  # here, where KEPT is set
                spent[keep] = time.thread_time() - started
                vectors[keep] = crop
            first, second = (runner.embed(vectors[k][np.newaxis])[0] for k in (FULL, kept))
            cosines.append(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
            ratios.append(spent[FULL] / spent[kept])
            times.append(spent[kept])
        dct_scaling.KEPT = kept
        row = {"set": name, "photos": len(contents), "minimum": float(min(cosines))}
        row |= {"mean": float(np.mean(cosines)), "times as fast": statistics.median(ratios)}
        row |= {"ms": 1000 * statistics.median(times)}
        row |= {"megabytes": statistics.median(map(len, contents)) / 1e6}
        rows.append(row)
        out.print(row)
    return rows


def show(title: str, rows: dict[str, float]) -> None:
    table = Table("step", "µs an image", title=title)
    for name, value in rows.items():
        table.add_row(name, f"{value * 1e6:,.0f}")
    out.print(table)


def main() -> None:
    parser = page.parser(__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--large", type=int, default=24, help="photos of the largest set; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with page.recorded(options):
        benchmark(options)


def benchmark(options: argparse.Namespace) -> None:
    runner = Runner(export.model_file(backbones.DEFAULT)[0])
    preprocess = runner.backbone.preprocess
    paths = sample(options.data, options.images)
    document: dict = {}
    if options.rounds:
        document["steps"] = steps(paths, preprocess, options.rounds)
        show(f"{len(paths)} images, one thread", document["steps"])
        document["two_threads"] = two_threads(paths, preprocess, options.rounds)
        out.print(f"two threads / twice one thread: {document['two_threads']:.3f}")
        document["decoders"] = decoders(paths, preprocess, options.rounds)
        show("to pixels", document["decoders"])
    document["large"] = large(paths, runner, options.large) if options.large else []
    page.sample("seconds an image", document)


if __name__ == "__main__":
    main()
