"""Where images come from: a folder, a CSV manifest or a torchvision data set becomes a `Listing`.

`open_source` is the one door. What each kind of source accepts is said in its own module:
`folder`, `manifest` and `torchvision_sets`.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError, one_line
from pipeline.records import Listing
from pipeline.sources.folder import list_folder
from pipeline.sources.listing import describe, location
from pipeline.sources.manifest import SUFFIXES, list_manifest, read_groups
from pipeline.sources.stream import STDIN, stream
from pipeline.sources.torchvision_sets import PREFIX, list_torchvision

__all__ = ["STDIN", "describe", "location", "open_source", "read_groups", "stream"]


def open_source(data: str, *, cache: Path | None = None, download: bool = True) -> Listing:
    """List the images of a source; no image is opened.

    Args:
        data: a folder; a manifest (``.csv`` or ``.tsv``); or ``torchvision:NAME``, with
            ``@ROOT`` behind it when the set is not in the cache.
        cache: where torchvision's sets are kept; by default the user's cache folder.
        download: whether a torchvision set that is not there may be fetched.

    Raises:
        InputError: there is no such source, it cannot be read, or it holds no images.
        OutputError: a torchvision set cannot be written to its folder.
        HeadstartError: torchvision is asked for and cannot be imported.
    """
    path = Path(data)
    try:
        if data.startswith(PREFIX):
            return list_torchvision(data, cache=cache, download=download)
        if data and path.is_dir():
            return list_folder(path, data)
        if path.is_file():
            if path.suffix.lower() in SUFFIXES:
                return list_manifest(path, data)
            raise InputError(
                f"{one_line(data)} is no folder; give a folder of images, or a manifest "
                "(.csv or .tsv) that lists them"
            )
    except OSError as error:  # looking it up failed: no permission, or a name that is too long
        raise InputError(
            f"cannot read {one_line(data)}: {error.strerror or one_line(error)}"
        ) from error
    raise InputError(
        f"no such folder or manifest: {one_line(data) or '(empty)'}; give a folder of images, a "
        f"CSV that lists them, or {PREFIX}NAME"
    )
