"""A folder behind a URL that fsspec opens: ``s3://``, ``gs://``, ``hf://``, ``memory://``.

It is listed by the rules of a folder (`folder`) with one request for many files; every image is
one request, made by the thread that decodes it. Credentials and end points are those of fsspec's
configuration and of the library behind it (``AWS_…``, ``GOOGLE_APPLICATION_CREDENTIALS``,
``HF_TOKEN``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from headstart.datasets import storage
from headstart.datasets.folder import arrange, by_folder
from headstart.datasets.reader import HeldListing, make_held
from headstart.datasets.storage import State


@dataclass(frozen=True)
class RemoteReader:
    """Reads files behind URLs.

    Attributes:
        files: URL of each image, and the state that the listing told.
    """

    files: dict[str, tuple[str, State | None]]

    def state(self, path: str) -> State | None:
        """Return the state that the listing told."""
        return self.files[path][1]

    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file.

        Raises:
            ImageError: it is gone or cannot be read.
        """
        url, state = self.files[path]
        data = storage.read_whole(url, state[0] if state else 0)
        return data, state or (len(data), -1)

    def only(self, paths: Iterable[str]) -> RemoteReader:
        """Return a reader of these images alone."""
        return replace(self, files={path: self.files[path] for path in paths})


def list_remote(url: str) -> HeldListing:
    """List the images of a folder behind a URL.

    Raises:
        InputError: it cannot be listed, or holds no images.
    """
    ignored: Counter[str] = Counter()
    files = {name: (place, entry) for name, place, entry in storage.listed(url)}
    images = arrange(by_folder(files, ignored), url, ignored)
    known = {
        ref.path: (files[ref.path][0], storage.state_of_entry(files[ref.path][1])) for ref in images
    }
    return make_held(RemoteReader(known), images, ignored, url)
