"""Where images come from: whatever holds labelled images becomes a `Listing`.

`open_source` is the one door. What each kind of source accepts is said in its own module: `folder`,
`metadata`, `manifest`, `shards`, `tables`, `arrays`, `remote` and `torchvision_sets`. `read` gives
the content of an image, wherever it lies.
"""

from __future__ import annotations

from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import collections, imagefolder, storage
from headstart.datasets.bucket import list_remote
from headstart.datasets.csv_manifest import SUFFIXES, list_manifest, read_groups
from headstart.datasets.folder import NoImages, list_folder
from headstart.datasets.images import read_file
from headstart.datasets.inputs import STDIN, stream
from headstart.datasets.listing import describe, location
from headstart.datasets.reader import HeldListing, Reader, listed, part, reader
from headstart.datasets.storage import State
from headstart.datasets.torchvision_sets import PREFIX, list_torchvision

__all__ = [
    "STDIN",
    "Reader",
    "describe",
    "listed",
    "location",
    "open_source",
    "part",
    "read",
    "read_groups",
    "reader",
    "state",
    "stream",
]


def open_source(data: str, *, cache: Path | None = None, download: bool = True) -> Listing:
    """List the images of a source; no image is opened.

    Args:
        data: a folder; a manifest (``.csv`` or ``.tsv``); archives, tables or arrays of images,
            one, a folder of them or a pattern; a URL of a folder or of one of those; or
            ``torchvision:NAME``, with ``@ROOT`` behind it when the set is not in the cache.
        cache: where torchvision's sets are kept; by default the user's cache folder.
        download: whether a torchvision set that is not there may be fetched.

    Raises:
        InputError: there is no such source, it cannot be read, or it holds no images.
        OutputError: a torchvision set cannot be written to its folder.
        HeadstartError: a library that it needs cannot be imported.
    """
    path = Path(data)
    try:
        if data.startswith(PREFIX):
            return list_torchvision(data, cache=cache, download=download)
        if storage.is_url(data):
            return _open_url(data)
        if data and path.is_dir():
            return _open_folder(path, data)
        if path.is_file():
            if path.suffix.lower() in SUFFIXES:
                return list_manifest(path, data)
            return collections.list_files([data], [path.name], data)
        if collections.is_pattern(data):
            return collections.list_pattern(data)
    except OSError as error:  # looking it up failed: no permission, or a name that is too long
        raise InputError(
            f"cannot read {one_line(data)}: {error.strerror or one_line(error)}"
        ) from error
    raise InputError(
        f"no such folder or manifest: {one_line(data) or '(empty)'}; give a folder of images, a "
        f"CSV that lists them, or {PREFIX}NAME"
    )


def read(listing: Listing, ref: ImageRef) -> tuple[bytes, State]:
    """Return the bytes of an image file, and what tells cheaply that it is the same next time.

    Raises:
        ImageError: it is missing, unreadable, too large, no regular file, or written to meanwhile.
    """
    if isinstance(listing, HeldListing):
        return listing.reader.read(ref.path)
    data, info = read_file(location(listing, ref))
    return data, (info.st_size, info.st_mtime_ns)


def state(listing: Listing, ref: ImageRef) -> State | None:
    """Return what `read` would tell of an image, without reading it; None if nothing is known."""
    if isinstance(listing, HeldListing):
        return listing.reader.state(ref.path)
    try:
        info = location(listing, ref).stat()
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns


def _open_folder(folder: Path, name: str) -> Listing:
    if collections.is_saved(folder):
        return collections.list_saved(folder, name)
    if described := imagefolder.found(folder):
        return imagefolder.list_described(folder, described, name)
    try:
        return list_folder(folder, name)
    except NoImages as error:
        return collections.list_below(folder, name, error)


def _open_url(url: str) -> Listing:
    if storage.is_file(url):
        if url.lower().endswith(tuple(SUFFIXES)):
            raise InputError(f"{one_line(url)}: a manifest must lie here; copy it")
        return collections.list_files([url], [url.rpartition("/")[2]], url)
    try:
        return list_remote(url)
    except NoImages as error:
        return collections.list_behind(url, error)
