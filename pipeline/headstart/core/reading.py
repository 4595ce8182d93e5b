"""The interface of readers of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class ImageReader(Protocol):
    """Reads images that are not separate files, such as members of an archive."""

    def state(self, path: str) -> tuple[int, int] | None:
        """Return a value that changes whenever the image does, without reading it, or None."""

    def read(self, path: str) -> tuple[bytes, tuple[int, int]]:
        """Return the bytes of an image file, and its state; an `ImageError` if that fails."""

    def subset(self, paths: Iterable[str]) -> ImageReader:
        """Return a reader of only these images."""
