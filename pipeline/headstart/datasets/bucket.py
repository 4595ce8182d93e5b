"""Folders and images behind URLs that fsspec opens: ``s3://``, ``gs://``, ``https://`` and others.

A folder is listed by the rules of `folder`. Each image is one request by the thread that decodes
it. Credentials and endpoints come from the configuration of fsspec and of its libraries
(``AWS_…``, ``GOOGLE_APPLICATION_CREDENTIALS``, ``HF_TOKEN``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.core.records import ImageRef, Listing
from headstart.datasets import hints, metadata, registry, storage
from headstart.datasets.file_names import Ignored, is_image_name, sorted_out
from headstart.datasets.folder import stream_containers
from headstart.datasets.layout import NoImages, arrange, by_parts, listing_of
from headstart.datasets.order import natural_order
from headstart.datasets.reader import Reader
from headstart.datasets.registry import Options, Source, SourceImage
from headstart.datasets.storage import State


@dataclass(frozen=True)
class RemoteReader(Reader):
    """Reads images behind URLs; ``entries`` holds each URL, and its state if it is known."""

    entries: Mapping[str, tuple[str, State | None]]

    def state(self, path: str) -> State | None:
        """Return the state from the listing."""
        return self.entries[path][1]

    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file, and its state."""
        url, state = self.entries[path]
        data = storage.read_whole(url, state[0] if state else 0)
        return data, state or (len(data), -1)


class BucketSource(Source):
    """A folder behind a URL, of images or else of archives and tables."""

    name = "URL of a folder"

    def matches(self, data: str) -> bool:
        """Tell whether this is a URL of a folder."""
        return storage.is_url(data) and not storage.is_file(data)

    def list(self, data: str, options: Options) -> Listing:
        """List the images of the folder, or else of the archives and tables in it."""
        try:
            return _list_images(data, options)
        except NoImages:
            containers = _containers(data)
            if not containers:
                raise
        return registry.list_containers(containers, data, options)

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images of the folder, or else of the archives and tables in it."""
        try:
            listing = _list_images(data, options)
        except NoImages:
            containers = _containers(data)
            if not containers:
                raise
            yield from stream_containers(containers.values(), data)
        else:
            yield from (SourceImage(listing, ref) for ref in listing.images)


def remote_image(url: str) -> SourceImage:
    """Return the image at a URL without requesting it."""
    listing = Listing(Path(), (), (), {}, "", RemoteReader({url: (url, None)}))
    return SourceImage(listing, ImageRef(url, None, ""))


def is_remote_image(data: str) -> bool:
    """Tell whether this is a URL with the extension of an image."""
    return storage.is_url(data) and is_image_name(data.partition("?")[0].rpartition("/")[2])


def _list_images(url: str, options: Options) -> Listing:
    ignored = Ignored()
    files = {name: (place, entry) for name, place, entry in storage.list_files(url)}
    layout = arrange(by_parts(sorted_out(files, ignored)), url, ignored)

    def content(name: str) -> bytes:
        return storage.whole_file(files[name][0]).read()

    metadata.describe(layout, ignored, url.rstrip("/"), content, options, missing=False)
    hints.note_unlabelled(layout, ignored)
    listing, entries = listing_of(layout, ignored, url), {}
    for ref in listing.images:
        place, entry = files[layout.stem + ref.path]
        entries[ref.path] = (place, storage.state_of_entry(entry))
    return replace(listing, reader=RemoteReader(entries))


def _containers(url: str) -> dict[str, str]:
    files = {
        name: place for name, place, _ in storage.list_files(url) if registry.container_of(name)
    }
    return {name: files[name] for name in natural_order(files)}
