"""Folders of images: ``CLASS/…/image.jpg``, or the same below ``train``, ``validation``, ``test``.

`layout` says what the folders mean. Image files are known by their extension, and no image is
opened, so damaged ones are reported as failures later. Links are followed, except in cycles. All
other files (hidden ones, those of the system, broken links, devices) are ignored and counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import hints, metadata, registry
from headstart.datasets.file_names import Ignored, clutter, kind_of_name
from headstart.datasets.layout import NoImages, arrange, listing_of, no_images
from headstart.datasets.order import natural_order
from headstart.datasets.origins import Origins
from headstart.datasets.registry import Options, Source, SourceImage
from headstart.datasets.tree import Names, Parts

_FILES = Listing(Path(), (), (), {}, "")
_BROKEN = "broken link"


class FolderSource(Source):
    """A folder of images, or else of archives and tables."""

    name = "folder"

    def matches(self, data: str) -> bool:
        """Tell whether this is a folder."""
        return Path(data).is_dir()

    def list(self, data: str, options: Options) -> Listing:
        """List the images of a folder, or else of the archives and tables in it."""
        try:
            return list_folder(Path(data), data, options)
        except NoImages:
            containers = _containers(Path(data))
            if not containers:
                raise
        return registry.list_containers(containers, data, options)

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images folder by folder, in natural order, without listing the whole tree."""
        root, ignored = Path(data), Ignored()
        empty = True
        for parts, names in walk(root, ignored, ordered=True):
            folder = root.joinpath(*parts)
            for name in natural_order(names):
                empty = False
                yield file_image(folder / name)
        if empty:
            containers = _containers(root)
            if not containers:
                raise no_images(data, ignored)
            yield from stream_containers(containers.values(), data)


def file_image(path: Path) -> SourceImage:
    """Return the image of a file, which need not exist."""
    return SourceImage(_FILES, ImageRef(str(path), None, ""))


def stream_containers(places: Iterable[str], name: str) -> Iterator[SourceImage]:
    """Yield the images of archives or tables, file by file; `NoImages` if all are empty."""
    empty = True
    for place in places:
        with suppress(NoImages):
            for image in registry.find(place).stream(place, Options()):
                empty = False
                yield image
    if empty:
        raise NoImages(f"no images in {one_line(name)}; choose another source")


def list_folder(root: Path, name: str, options: Options = registry.DEFAULTS) -> Listing:
    """List the images in a folder and below it, as a listing called ``name``.

    Raises:
        NoImages: there are none.
        InputError: a folder cannot be read, or a metadata file contradicts itself.
    """
    ignored, origins = Ignored(), Origins()
    layout = arrange(list(walk(root, ignored, origins=origins)), str(root), ignored)
    for path in ignored.metadata:
        with suppress(OSError):  # if it is gone, its folder has changed
            origins.note(root / path, (root / path).stat())
    metadata.describe(layout, ignored, str(root), lambda path: (root / path).read_bytes(), options)
    hints.note_unlabelled(layout, ignored, root)
    layout.remarks += ignored.remarks(lambda path, size: _start(root / path, size), layout.stem)
    listing = listing_of(layout, ignored, name, root / layout.stem)
    # A link that leads nowhere may lead somewhere later, and no folder that was read changes.
    return replace(listing, origins={} if _BROKEN in ignored else origins)


def _start(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _containers(root: Path) -> dict[str, str]:
    """Return the archives and tables below a folder: relative paths, and full paths."""
    files = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not clutter(name)]
        for path in (Path(folder, name) for name in names if not clutter(name)):
            if registry.container_of(path.name) and path.is_file():
                files[path.relative_to(root).as_posix()] = str(path)
    return {name: files[name] for name in natural_order(files)}


def walk(
    root: Path,
    ignored: Ignored | None = None,
    ordered: bool = False,
    origins: Origins | None = None,
) -> Iterator[tuple[Parts, Names]]:
    """Yield each folder with images, as its path below the root, and the names of its images.

    Other files are counted in ``ignored``, and the folders noted in ``origins``. If ``ordered``,
    subfolders come in natural order.

    Raises:
        InputError: a folder cannot be read.
    """
    ignored = Ignored() if ignored is None else ignored
    pending: list[tuple[Parts, frozenset[tuple[int, int]]]] = [((), frozenset())]
    while pending:
        parts, ancestors = pending.pop()
        folder = root.joinpath(*parts)
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                ignored["link cycle"] += 1
                continue
            if origins is not None:
                origins.note(folder, status)
            folders: list[str] = []
            images = Names(_scan(folder, parts, ignored, folders))
        except OSError as error:
            cause = error.strerror or one_line(error)
            raise InputError(
                f"cannot read the folder {one_line(folder)}: {cause}; make it readable or move "
                "it away"
            ) from error
        if ordered:
            folders = natural_order(folders)[::-1]  # the stack yields the last one first
        pending += [((*parts, name), ancestors | {identity}) for name in folders]
        if images:
            yield parts, images


def _scan(folder: Path, parts: Parts, ignored: Ignored, folders: list[str]) -> Iterator[str]:
    """Yield the names of a folder's images, and collect its subfolders; count everything else."""
    with os.scandir(folder) as entries:
        for entry in entries:
            kind = _kind(entry)
            if kind == "image":
                yield entry.name
            elif kind == "folder":
                folders.append(entry.name)
            elif clutter(entry.name) and entry.is_dir(follow_symlinks=False):
                ignored[kind] += _files_in(entry.path)
            else:
                ignored.add(kind, "/".join((*parts, entry.name)))


def _files_in(folder: str) -> int:
    """Count the files in and below a folder, as far as it can be read."""
    return sum(len(files) for _, _, files in os.walk(folder))


def _kind(entry: os.DirEntry[str]) -> str:
    """Return ``image``, ``folder``, or the reason to ignore an entry."""
    if reason := clutter(entry.name):
        return reason
    try:
        if entry.is_dir():
            return "folder"
        if not entry.is_file():
            dangling = entry.is_symlink() and not Path(entry).exists()
            return _BROKEN if dangling else "not a regular file"
    except OSError:  # a link to itself, or into a folder that may not be read
        return _BROKEN
    return kind_of_name(entry.name)
