"""A folder of images, listed by these rules.

- ``class/…/image.jpg``, or the same below split folders (``train``; ``validation``, ``val``,
  ``valid`` or ``dev``; ``test``; in any case). The class is the first folder below the root or
  the split, however deep the image lies. An image in no class folder has no label: it is listed
  and can be embedded, and nothing is trained on it.
- Top-level folders are splits when all of those that hold images have a split's name. When only
  some have, they are classes (a class may be called ``train``), unless two or more different
  splits are among them: nobody can tell what the others are then, and it is an error.
- Files count by their extension. One that lies about its content is still listed, so that it is
  reported as a failure later, not lost.
- Links to files and folders are followed; a link back to a folder that holds it is not.
- Hidden files and folders, clutter of operating systems, other files, broken links, pipes, sockets
  and devices are passed over and counted by reason. No file is ever opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, Listing
from headstart.datasets.listing import SPLIT_NAMES, describe_ignored, make_listing, natural_key

EXTENSIONS = frozenset(
    ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif")
)
"""What the names of image files end in, in lower case."""

_CLUTTER = frozenset(("__macosx", "thumbs.db", "desktop.ini"))
_LONGEST_EXTENSION = 10  # a longer one is part of a name; reasons must stay few

Parts = tuple[str, ...]


def list_folder(root: Path, name: str) -> Listing:
    """List the images in a folder and in every folder below it.

    Args:
        root: the folder.
        name: how the user named it.

    Raises:
        InputError: a folder cannot be read, splits cannot be told from classes, or there are no
            images.
    """
    ignored: Counter[str] = Counter()
    images = arrange(list(walk(root, ignored)), str(root), ignored)
    return make_listing(root, images, ignored, name)


def arrange(
    folders: Sequence[tuple[Parts, Sequence[str]]], shown: str, ignored: Mapping[str, int]
) -> list[ImageRef]:
    """Return the images of folders, with the labels and splits that their places say.

    Args:
        folders: each folder's path below the root, and the names of the images in it.
        shown: what messages call the root.
        ignored: what was passed over.

    Raises:
        NoImages: there are none.
        InputError: splits cannot be told from classes.
    """
    if not folders:
        found = f"; ignored: {describe_ignored(ignored)}" if ignored else ""
        raise NoImages(
            f"no images in {one_line(shown)}; expected class/image.jpg, or the same below train/, "
            f"validation/ and test/{one_line(found)}"
        )
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
    """Sort the names of images, with ``/``, into their folders; others are counted by reason."""
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


class NoImages(InputError):
    """A folder holds none: perhaps it holds archives or tables of images."""


def walk(
    root: Path, ignored: Counter[str] | None = None, ordered: bool = False
) -> Iterator[tuple[Parts, list[str]]]:
    """Yield each folder that holds images, as its path below the root, with their names.

    Args:
        root: where to begin.
        ignored: counts what is passed over, by reason.
        ordered: whether a folder's folders come in natural order.

    Raises:
        InputError: a folder cannot be read.
    """
    ignored = Counter() if ignored is None else ignored
    pending: list[tuple[Parts, frozenset[tuple[int, int]]]] = [((), frozenset())]
    while pending:
        parts, ancestors = pending.pop()
        folder = root.joinpath(*parts)
        images: list[str] = []
        first = len(pending)
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                ignored["link cycle"] += 1
                continue
            within = ancestors | {identity}
            with os.scandir(folder) as entries:
                for entry in entries:
                    kind = _kind(entry)
                    if kind == "image":
                        images.append(entry.name)
                    elif kind == "folder":
                        pending.append(((*parts, entry.name), within))
                    else:
                        ignored[kind] += 1
        except OSError as error:
            cause = error.strerror or one_line(error)
            raise InputError(
                f"cannot read the folder {one_line(folder)}: {cause}; make it readable or move "
                "it away"
            ) from error
        if ordered:
            pending[first:] = sorted(pending[first:], key=_last_name, reverse=True)
        if images:
            yield parts, images


def _last_name(item: tuple[Parts, object]) -> tuple[list[str | int], str]:
    return natural_key(item[0][-1]), item[0][-1]


def _kind(entry: os.DirEntry[str]) -> str:
    """Return ``image``, ``folder``, or the reason to pass an entry over."""
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


def clutter(name: str) -> str:
    """Return why a file or folder is passed over whatever is in it; empty if it is not."""
    if name.startswith("."):
        return "hidden"
    return "system file" if name.lower() in _CLUTTER else ""


def kind_of_name(name: str) -> str:
    """Return ``image`` for a file that is called like one, else the reason to pass it over."""
    if reason := clutter(name):
        return reason
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension in EXTENSIONS:
        return "image"
    if extension[:1].isalpha() and extension.isalnum() and len(extension) <= _LONGEST_EXTENSION:
        return f"not an image: .{extension}"
    return "not an image"


def _split_folders(tops: Collection[str], shown: str) -> dict[str, str]:
    """Return the split of each top-level folder, or nothing when they are classes."""
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    if len(splits) == len(tops):
        return splits
    if len(set(splits.values())) > 1:
        known = ", ".join(sorted(splits))
        other = min(top for top in tops if top not in splits)
        raise InputError(
            f"{one_line(shown)} has split folders ({one_line(known)}) beside others (such as "
            f"{one_line(other)}); move the others away, or list the images in a CSV"
        )
    return {}
