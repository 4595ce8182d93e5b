"""Folders of images: ``CLASS/…/image.jpg``, or the same below ``train``, ``validation``, ``test``.

The class is the first folder below the root or the split; an image outside of any has no label.
Top-level folders are splits if all of them with images have the name of a split. Otherwise they are
classes, or an error if two or more splits are among them. Image files are found by extension, and
no file is opened, so damaged ones are reported as failures later. Links are followed, except in
cycles. All other files (hidden, broken links, devices) are ignored and counted by reason.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets import registry
from headstart.datasets.listing import SPLIT_NAMES, describe_ignored, make_listing, natural_order
from headstart.datasets.registry import Options, Source, SourceImage

EXTENSIONS = frozenset(
    ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif")
)
"""What the names of image files end in, in lower case."""

_CLUTTER = frozenset(("__macosx", "thumbs.db", "desktop.ini"))
_LONGEST_EXTENSION = 10  # anything longer is part of the name

_FILES = Listing(Path(), (), (), {}, "")

Parts = tuple[str, ...]


class NoImages(InputError):
    """A source has no images."""


class FolderSource(Source):
    """A folder of images, or else of archives and tables."""

    name = "folder"

    def matches(self, data: str) -> bool:
        """Tell whether this is a folder."""
        return Path(data).is_dir()

    def list(self, data: str, options: Options) -> Listing:
        """List the images of a folder, or else of the archives and tables in it."""
        try:
            return list_folder(Path(data), data)
        except NoImages:
            containers = _containers(Path(data))
            if not containers:
                raise
        return registry.list_containers(containers, data)

    def stream(self, data: str, options: Options) -> Iterator[SourceImage]:
        """Yield the images folder by folder, in natural order, without listing the whole tree."""
        root, ignored = Path(data), Counter[str]()
        empty = True
        for parts, names in walk(root, ignored, ordered=True):
            folder = root.joinpath(*parts)
            for name in natural_order(names):
                empty = False
                yield file_image(folder / name)
        if empty:
            containers = _containers(root)
            if not containers:
                raise _no_images(data, ignored)
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


def list_folder(root: Path, name: str) -> Listing:
    """List the images in a folder and below it, as a listing called ``name``.

    Raises:
        NoImages: there are none.
        InputError: a folder cannot be read, or splits and classes are ambiguous.
    """
    ignored: Counter[str] = Counter()
    images = arrange(list(walk(root, ignored)), str(root), ignored)
    return make_listing(root, images, ignored, name)


def _containers(root: Path) -> dict[str, str]:
    """Return the archives and tables below a folder: relative paths, and full paths."""
    files = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not clutter(name)]
        for path in (Path(folder, name) for name in names if not clutter(name)):
            if registry.container_of(path.name) and path.is_file():
                files[path.relative_to(root).as_posix()] = str(path)
    return {name: files[name] for name in natural_order(files)}


def arrange(
    folders: Sequence[tuple[Parts, Sequence[str]]], shown: str, ignored: Mapping[str, int]
) -> list[ImageRef]:
    """Return the images in ``folders``, paths below the root, with the labels and splits they tell.

    Messages name the root as ``shown``, and the ``ignored`` files if there are no images.
    """
    if not folders:
        raise _no_images(shown, ignored)
    splits = _split_folders({parts[0] for parts, _ in folders if parts}, shown)
    images: list[ImageRef] = []
    for parts, names in folders:
        split = splits.get(parts[0], "") if parts else ""
        below = parts[1:] if split else parts
        label = below[0] if below else None
        prefix = "".join(f"{part}/" for part in parts)
        images += [ImageRef(prefix + file, label, split) for file in names]
    return images


def by_folder(names: Iterable[str], ignored: Counter[str]) -> list[tuple[Parts, list[str]]]:
    """Group paths of images, with ``/``, by folder; count other files by reason."""
    folders: dict[Parts, list[str]] = {}
    for name in names:
        *parts, file = name.split("/")
        kinds = {kind for part in parts if (kind := clutter(part))}
        kind = kinds.pop() if kinds else kind_of_name(file)
        if kind == "image":
            folders.setdefault(tuple(parts), []).append(file)
        else:
            ignored[kind] += 1
    return list(folders.items())


def _no_images(shown: str, ignored: Mapping[str, int]) -> NoImages:
    reasons = f"; ignored: {describe_ignored(ignored)}" if ignored else ""
    return NoImages(
        f"no images in {one_line(shown)}; expected class/image.jpg, or the same below train/, "
        f"validation/ and test/{one_line(reasons)}"
    )


def walk(
    root: Path, ignored: Counter[str] | None = None, ordered: bool = False
) -> Iterator[tuple[Parts, list[str]]]:
    """Yield each folder with images, as its path below the root, and the names of its images.

    Other files are counted in ``ignored``. If ``ordered``, subfolders come in natural order.

    Raises:
        InputError: a folder cannot be read.
    """
    ignored = Counter() if ignored is None else ignored
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
            images, folders = _scan(folder, ignored)
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


def _scan(folder: Path, ignored: Counter[str]) -> tuple[list[str], list[str]]:
    """Return the names of a folder's images and subfolders; count everything else."""
    images: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            kind = _kind(entry)
            if kind == "image":
                images.append(entry.name)
            elif kind == "folder":
                folders.append(entry.name)
            else:
                ignored[kind] += 1
    return images, folders


def _kind(entry: os.DirEntry[str]) -> str:
    """Return ``image``, ``folder``, or the reason to ignore an entry."""
    if reason := clutter(entry.name):
        return reason
    try:
        if entry.is_dir():
            return "folder"
        if not entry.is_file():
            dangling = entry.is_symlink() and not Path(entry).exists()
            return "broken link" if dangling else "not a regular file"
    except OSError:  # a link to itself, or into a folder that may not be read
        return "broken link"
    return kind_of_name(entry.name)


def is_image_name(name: str) -> bool:
    """Tell whether a name has the extension of an image."""
    return "." in name and name.rpartition(".")[2].lower() in EXTENSIONS


def clutter(name: str) -> str:
    """Return why to ignore a file or folder with this name; empty if there is no reason."""
    if name.startswith("."):
        return "hidden"
    return "system file" if name.lower() in _CLUTTER else ""


def kind_of_name(name: str) -> str:
    """Return ``image`` for a file with the extension of an image, else the reason to ignore it."""
    if reason := clutter(name):
        return reason
    if is_image_name(name):
        return "image"
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension[:1].isalpha() and extension.isalnum() and len(extension) <= _LONGEST_EXTENSION:
        return f"not an image: .{extension}"
    return "not an image"


def _split_folders(tops: Collection[str], shown: str) -> dict[str, str]:
    """Return the split of each top-level folder, or nothing if the folders are classes."""
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    if len(splits) == len(tops):
        return splits
    if len(set(splits.values())) > 1:
        folders = ", ".join(sorted(splits))
        other = min(top for top in tops if top not in splits)
        raise InputError(
            f"{one_line(shown)} has split folders ({one_line(folders)}) beside others (such as "
            f"{one_line(other)}); move the others away, or list the images in a CSV"
        )
    return {}
