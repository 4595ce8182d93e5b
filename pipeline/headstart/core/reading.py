"""What reads images that are not files of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class ImageReader(Protocol):
    """Reads images that are not files of their own, such as members of an archive."""

    def state(self, path: str) -> tuple[int, int] | None:
        """Return what changes whenever the image does, without reading it; None if unknown."""

    def read(self, path: str) -> tuple[bytes, tuple[int, int]]:
        """Return the bytes of an image file, and its state.

        Raises:
            ImageError: it cannot be read.
        """

    def subset(self, paths: Iterable[str]) -> ImageReader:
        """Return a reader of these images alone."""
