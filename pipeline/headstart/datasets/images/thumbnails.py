"""Thumbnails of images in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import ImageError
from headstart.core.records import FeatureSet, Preprocess
from headstart.datasets import images


def thumbnail(data: FeatureSet, row: int, side: int) -> NDArray[np.uint8] | None:
    """Return a ``(h, w, 3) uint8`` picture of an image in a store, or None if there is none.

    It shows the whole image, ``side`` pixels on its longer side, if the file still has the hash in
    the store. Otherwise it is the store's miniature.
    """
    root = folder(data)
    pixels = None if root is None else _of_file(root / data.path[row], data.sha256[row], side)
    if pixels is None and data.pixels is not None:
        pixels = data.pixels[row]
    return pixels


def unchanged(paths: Iterable[str], data: FeatureSet) -> dict[str, bytes]:
    """Return the files of images of a store that still have the hash in it, by path."""
    root, rows = folder(data), {path: row for row, path in enumerate(data.path)}
    contents = (
        (path, None if root is None else _content(root / path, data.sha256[rows[path]]))
        for path in paths
        if path in rows
    )
    return {path: content for path, content in contents if content is not None}


def folder(data: FeatureSet) -> Path | None:
    """Return the folder that the paths of a store start from, or None if it is unknown."""
    source = Path(data.source) if data.source else None
    if source is not None and source.is_dir():
        return Path(str(data.run.get("root") or source))  # of older stores the source itself
    return source if source is None else source.parent


def webp(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture as a small WebP file of quality 70."""
    return images.encode(np.ascontiguousarray(pixels), "WEBP", quality=70)


def _of_file(path: Path, sha256: NDArray[np.uint8], side: int) -> NDArray[np.uint8] | None:
    content = _content(path, sha256)
    try:
        return None if content is None else of_bytes(content, side)
    except ImageError:
        return None


def _content(path: Path, sha256: NDArray[np.uint8]) -> bytes | None:
    try:
        content, _ = images.read_file(path)
    except ImageError:
        return None
    return content if hashlib.sha256(content).digest() == sha256.tobytes() else None


def of_bytes(content: bytes, side: int) -> NDArray[np.uint8]:
    """Return an image file as ``(h, w, 3) uint8``, ``side`` pixels on its longer side.

    Raises:
        ImageError: it cannot be decoded.
    """
    whole = images.decode_whole(content, Preprocess(resize=side, crop=side))
    return images.reduced(whole, side)
