"""What an image costs before the network: each step alone, other decoders, and large photos.

Usage: python benchmarks/decoding.py DATA [--images 256] [--large 24] [--rounds 5]

Four tables, in processor time of one thread. Steps: an image of DATA, each step alone, all by this
and the former policy in turn, and what two threads reach together. Resizing: the ways to the crop,
and how the features differ from those of the reference pipeline (the whole image by Pillow, then
cropped). Decoders: Pillow beside simplejpeg and OpenCV where they are installed.
Large photos: JPEG files of 4,000 × 3,000 pixels made of DATA in several ways (enlarged; mosaics of
photos at their own size, with detail up to the last pixel; other subsamplings and sizes), speed of
scaled against full decoding, alternated, and the cosine of the default backbone's features.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from headstart.datasets.images import dct_scaling, fixed_point, pixels
from PIL import Image
from rich.console import Console
from rich.table import Table

FULL = 10**6  # of scaled.KEPT: nothing is that large
out = Console()
if not out.is_terminal:
    out = Console(width=110)  # a file or a pipe has room for the tables


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


def crop_by_pillow(photo: Image.Image, preprocess: Preprocess) -> np.ndarray:
    box = images.crop_box(*photo.size, preprocess)
    side = preprocess.size[::-1]  # Pillow's order
    return np.asarray(photo.resize(side, Image.Resampling.BICUBIC, box=box))


def crop_by_policy(photo: Image.Image, preprocess: Preprocess) -> np.ndarray:
    box = images.crop_box(*photo.size, preprocess)
    return fixed_point.resize(photo, box, preprocess.size, preprocess.interpolation)


def crop_by_products(photo: Image.Image, preprocess: Preprocess) -> np.ndarray:
    rules = preprocess.size, preprocess.interpolation
    part = fixed_point.region(photo, images.crop_box(*photo.size, preprocess), *rules)
    return fixed_point.by_products(photo, part, *rules)


def crop_by_torch(photo: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize by torch's own arithmetic for uint8, antialiased, the whole image."""
    import torch

    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    height, width = whole_size(photo, preprocess)
    out = torch.nn.functional.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    return middle(out[0].permute(1, 2, 0).numpy(), preprocess)


def reference(photo: Image.Image, preprocess: Preprocess) -> np.ndarray:
    size = whole_size(photo, preprocess)[::-1]
    return middle(np.asarray(photo.resize(size, Image.Resampling.BICUBIC)), preprocess)


def whole_size(photo: Image.Image, preprocess: Preprocess) -> tuple[int, int]:
    shorter = min(photo.size)
    return tuple(int(preprocess.resize * side / shorter) for side in photo.size[::-1])


def middle(pixels: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    (high, wide), (height, width) = preprocess.size, pixels.shape[:2]
    top, left = round((height - high) / 2), round((width - wide) / 2)
    return np.ascontiguousarray(pixels[top : top + high, left : left + wide])


def resizing(paths: list[Path], runner: Runner, rounds: int) -> list[dict]:
    """Each way to the crop: time, levels from Pillow's, cosine to the reference's features."""
    preprocess = runner.backbone.preprocess
    photos = [loaded(path.read_bytes()).convert("RGB") for path in paths]
    ways = {
        "Pillow (the former policy)": crop_by_pillow,
        "16-bit weights": crop_by_policy,
        "16-bit weights, matrix products": crop_by_products,
        "torch, uint8, whole image": crop_by_torch,
    }
    expected = np.stack([crop_by_pillow(photo, preprocess) for photo in photos]).astype(int)
    aim = unit(runner, np.stack([reference(photo, preprocess) for photo in photos]))
    rows = []
    for name, way in ways.items():
        crops = np.stack([way(photo, preprocess) for photo in photos])
        levels = np.abs(crops - expected)
        cosines = (unit(runner, crops) * aim).sum(axis=1)
        row = {
            "way": name,
            "microseconds": 1e6 * seconds(partial(crop, way, preprocess), photos, rounds),
        }
        row |= {"largest": int(levels.max()), "mean": float(levels.mean())}
        row |= {"cosine": float(cosines.mean()), "smallest cosine": float(cosines.min())}
        rows.append(row)
    return rows


def crop(way: Callable, preprocess: Preprocess, photo: Image.Image) -> np.ndarray:
    return way(photo, preprocess)


def unit(runner: Runner, crops: np.ndarray) -> np.ndarray:
    rows = np.concatenate([runner.embed(crops[i : i + 16]) for i in range(0, len(crops), 16)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_policy(paths: list[Path], preprocess: Preprocess, rounds: int) -> dict[str, float]:
    """Read, decode, resize and make the miniature, by each policy in turn."""
    times: dict[int, list[float]] = {policy: [] for policy in images.POLICIES}
    for _ in range(rounds):
        for policy, spent in times.items():
            ruled = dataclasses.replace(preprocess, policy=policy)
            spent.append(seconds(partial(prepared, ruled), paths, 1))
    return {f"policy {policy}": statistics.median(spent) for policy, spent in times.items()}


def prepared(preprocess: Preprocess, path: Path) -> np.ndarray:
    return images.miniature(images.decode(images.read_file(path)[0], preprocess))


def steps(paths: list[Path], preprocess: Preprocess, rounds: int) -> dict[str, float]:
    contents = [path.read_bytes() for path in paths]
    photos = [loaded(data).convert("RGB") for data in contents]
    crops = [images.decode(data, preprocess) for data in contents]
    return {
        "read": seconds(images.read_file, paths, rounds),
        "hash (SHA-256)": seconds(lambda data: hashlib.sha256(data).digest(), contents, rounds),
        "look at the header": seconds(images.is_ordinary, contents, rounds),
        "decode": seconds(loaded, contents, rounds),
        "resize": seconds(partial(crop, crop_by_policy, preprocess), photos, rounds),
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
    return rows


def show_resizing(rows: list[dict]) -> None:
    table = Table(
        "way", "µs an image", "levels, mean", "largest", "cosine, mean", "smallest",
        title="resizing: levels from Pillow's crop, cosine to the reference's features",
    )  # fmt: skip
    for row in rows:
        figures = f"{row['microseconds']:,.0f}", f"{row['mean']:.3f}", f"{row['largest']}"
        table.add_row(row["way"], *figures, f"{row['cosine']:.5f}", f"{row['smallest cosine']:.4f}")
    out.print(table)


def show_large(rows: list[dict]) -> None:
    table = Table(
        "photos", "number", "MB each", "ms", "times as fast", "cosine, mean", "smallest",
        title="large photos: scaled against full decoding",
    )  # fmt: skip
    for row in rows:
        figures = f"{row['megabytes']:.2f}", f"{row['ms']:.1f}", f"{row['times as fast']:.1f}"
        cosines = f"{row['mean']:.5f}", f"{row['minimum']:.4f}"
        table.add_row(row["set"], f"{row['photos']}", *figures, *cosines)
    out.print(table)


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
        document["policies"] = by_policy(paths, preprocess, options.rounds)
        show("read, decode, resize, miniature", document["policies"])
        document["resizing"] = resizing(paths, runner, options.rounds)
        show_resizing(document["resizing"])
        document["two_threads"] = two_threads(paths, preprocess, options.rounds)
        out.print(f"two threads / twice one thread: {document['two_threads']:.3f}")
        document["decoders"] = decoders(paths, preprocess, options.rounds)
        show("to pixels", document["decoders"])
    if options.large:
        document["large"] = large(paths, runner, options.large)
        show_large(document["large"])
    page.sample("seconds an image", document)


if __name__ == "__main__":
    main()
