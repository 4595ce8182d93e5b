"""The photos that the benchmarks read: a sample of the given ones, and large ones made of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from headstart import datasets
from PIL import Image

LARGE = (4000, 3000)
QUALITY = 90
TILES = (4, 3)  # photos across and down in a large one
Item = TypeVar("Item")


def sample(data: str, count: int) -> list[Path]:
    """Return up to ``count`` image files of a source, evenly spread over it."""
    listing = datasets.open_source(data)
    chosen = spread(list(listing.images), count)
    return [datasets.location(listing, ref).resolve() for ref in chosen]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return up to ``count`` of some items, evenly spread over them, in their order."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def enlarge(
    photos: Sequence[Path], folder: Path, count: int, size: tuple[int, int] = LARGE
) -> list[Path]:
    """Make large photos, each a mosaic of twelve others, enlarged; return their files.

    Files that are there already are kept, so the same folder serves the next run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{size[0]}x{size[1]}-{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            tiles = random.Random(number).choices(photos, k=TILES[0] * TILES[1])
            partial = path.with_suffix(".part")
            mosaic(tiles, size).save(partial, "JPEG", quality=QUALITY)
            partial.rename(path)
    return paths


def mosaic(photos: Sequence[Path], size: tuple[int, int]) -> Image.Image:
    """Lay photos side by side, each enlarged to its tile, on a picture of ``size``."""
    across, down = TILES
    picture = Image.new("RGB", size)
    for number, path in enumerate(photos):
        column, row = number % across, number // across
        left, right = size[0] * column // across, size[0] * (column + 1) // across
        top, bottom = size[1] * row // down, size[1] * (row + 1) // down
        with Image.open(path) as photo:
            tile = photo.convert("RGB").resize(
                (right - left, bottom - top), Image.Resampling.BICUBIC
            )
        picture.paste(tile, (left, top))
    return picture
