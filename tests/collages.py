"""Collages with exact label sets: 2 × 2 photos of 1 to 4 different classes.

    python tests/collages.py PHOTOS OUT [COUNT]

``PHOTOS`` has a folder of photos for each class, at any depth. The photos are divided first, so
that no photo is in collages of both training and test. ``OUT`` gets the collages, ``labels.csv``
with a column ``labels`` separated by ``|``, and ``flags.csv`` with a 0/1 column for each label.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from headstart import datasets
from PIL import Image

SIDE = 128  # of a photo in a collage, in pixels
TEST_SHARE = 0.25


def write(photos: Path, out: Path, count: int = 3000, seed: int = 0, side: int = SIDE) -> list[str]:
    """Write collages of a folder of labelled photos, and return the classes.

    A collage has one to four different classes, and its four tiles are photos of them.
    """
    rng = np.random.default_rng(seed)
    listing = datasets.open_source(str(photos))
    classes = listing.classes
    pools: dict[str, list[list[Path]]] = {"train": [], "test": []}
    for name in classes:
        paths = [listing.root / ref.path for ref in listing.images if ref.label == name]
        order = rng.permutation(len(paths))
        n_test = max(1, round(TEST_SHARE * len(paths)))
        pools["test"].append([paths[i] for i in order[:n_test]])
        pools["train"].append([paths[i] for i in order[n_test:]])
    rows: list[tuple[str, str, list[str]]] = []
    for number in range(count):
        split = "test" if number < round(TEST_SHARE * count) else "train"
        codes = rng.permutation(len(classes))[: rng.integers(1, 5)]
        tiles = rng.permutation([*codes, *rng.choice(codes, 4 - len(codes))])
        chosen = [pools[split][code][rng.integers(len(pools[split][code]))] for code in tiles]
        name = f"{split}/{number:05d}.jpg"
        _collage(chosen, side, out / name)
        rows.append((name, split, [classes[code] for code in sorted(codes)]))
    _tables(out, rows, classes)
    return list(classes)


def _collage(photos: Sequence[Path], side: int, path: Path) -> None:
    sheet = Image.new("RGB", (2 * side, 2 * side))
    for number, photo in enumerate(photos):
        with Image.open(photo) as image:
            tile = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        sheet.paste(tile, (side * (number % 2), side * (number // 2)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=90)


def _tables(out: Path, rows: Sequence[tuple[str, str, list[str]]], classes: Sequence[str]) -> None:
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "labels", "split"])
        table.writerows((name, "|".join(labels), split) for name, split, labels in rows)
    with (out / "flags.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "split", *classes])
        for name, split, labels in rows:
            table.writerow([name, split, *(int(label in labels) for label in classes)])


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:4]))
