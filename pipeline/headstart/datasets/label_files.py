"""What the label files of annotation tools share: paths of images, and one label or several."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import columns, listed_paths, storage, text
from headstart.datasets.listing import make_listing
from headstart.datasets.registry import Options

SNIFFED = 2**16  # characters of a file that say what it is
LOOKED_FOR = 50  # images, by which their folder is recognised


class LabelledFile(NamedTuple):
    """An image in a label file: where, spellings of its path, its labels, None without any said.

    ``disputed`` says that people gave it different labels, so that it has none.
    """

    place: str
    paths: Sequence[str]
    labels: tuple[str, ...] | None
    split: str = ""
    origin: str = ""
    disputed: bool = False


class Task(NamedTuple):
    """An image to label, for an annotation tool: its file's name, guesses and their confidence."""

    path: str
    guesses: tuple[tuple[str, float], ...] = ()


def begins_as(data: str, suffix: str) -> str:
    """Return the beginning of a local file with a suffix; empty for any other name."""
    if not data.lower().endswith(suffix) or storage.is_url(data) or not Path(data).is_file():
        return ""
    with Path(data).open(encoding="utf-8", errors="replace") as file:
        return file.read(SNIFFED)


def document(data: str) -> Any:  # noqa: ANN401 - any JSON document
    """Return the content of a JSON file; an `InputError` if it is none."""
    shown = one_line(data)
    try:
        return json.loads(Path(data).read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown} is not JSON ({one_line(error)}); correct it") from error


def listing(
    data: str, entries: Iterable[LabelledFile], options: Options, folders: Sequence[str] = ("",)
) -> Listing:
    """Return the images of a label file, which lie in one of ``folders``, relative to its own.

    Images have one label each, or several if one image has, unless the user says otherwise.

    Raises:
        InputError: there are none, none exists, or one has several labels and the user wants one.
    """
    path, images = Path(data), list(entries)
    if not images:
        raise InputError(f"{one_line(data)} lists no images; choose another file")
    roots = [root / folder for root in (path.parent, path.parent.parent) for folder in folders]
    some = images[:LOOKED_FOR]
    counts = [sum(_is_below(root, each.paths) for each in some) for root in roots]
    root = roots[counts.index(max(counts))] if any(counts) else path.parent
    several = options.target == MULTI_LABEL
    if not options.target:
        several = any(each.labels and len(each.labels) > 1 for each in images)
    refs = [_ref(each, root, several) for each in images]
    remarks = listed_paths.check(refs, refs[0].path, root / path.name)
    remarks += _about_disputed(images)
    return make_listing(root, _distinct(refs, data), {}, data, remarks=remarks)


def _about_disputed(images: Sequence[LabelledFile]) -> list[str]:
    disputed = [image for image in images if image.disputed]
    if not disputed:
        return []
    return [
        f"People gave different labels to {count(len(disputed), 'image')}, such as"
        f" {one_line(disputed[0].paths[0])}, and no answer is ahead:"
        f" {'it counts' if len(disputed) == 1 else 'they count'} as unlabelled."
    ]


def _is_below(root: Path, paths: Sequence[str]) -> bool:
    """Tell whether a folder, or one below, has the file."""
    folder = root.absolute()
    return any((folder / path).is_relative_to(folder) for path in _files(folder, paths))


def _files(root: Path, paths: Sequence[str]) -> Iterator[str]:
    return (path for path in paths if path and listed_paths.exists(root / path))


def _ref(image: LabelledFile, root: Path, several: bool) -> ImageRef:
    path = next(_files(root, image.paths), image.paths[0])
    if Path(path).is_relative_to(root.absolute()):
        path = Path(path).relative_to(root.absolute()).as_posix()
    name = listed_paths.name(path, root, image.place)
    labels = image.labels
    if labels is not None:
        cleaned = (text.checked(each.strip(), image.place, "the label") for each in labels)
        labels = tuple(dict.fromkeys(text.class_name(each) for each in cleaned if each))
    origin = columns.origin(image.origin)
    if several:
        sets = None if labels is None else LabelSet(labels)
        return ImageRef(name, None, image.split, sets, origin)
    if labels is not None and len(labels) > 1:
        raise InputError(
            f"{image.place} has several labels ({one_line(', '.join(labels[:3]))}); leave out"
            f" --target {SINGLE_LABEL}"
        )
    return ImageRef(name, labels[0] if labels else None, image.split, None, origin)


def _distinct(refs: Sequence[ImageRef], data: str) -> list[ImageRef]:
    """Return each image once; of tasks that repeat an image, the one with a label."""
    seen: dict[str, ImageRef] = {}
    for ref in refs:
        other = seen.setdefault(ref.path, ref)
        if not other.is_labelled:
            seen[ref.path] = ref
        elif ref.is_labelled and replace(ref, origin=other.origin) != other:
            raise InputError(
                f"{one_line(data)} lists {one_line(ref.path)} twice, with different labels or"
                " splits; keep one"
            )
    return list(seen.values())


def spellings(path: str) -> list[str]:
    """Return the paths that a file may have: as written, and with folders left out in front."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return list(dict.fromkeys([path, *("/".join(parts[i:]) for i in range(len(parts)))]))
