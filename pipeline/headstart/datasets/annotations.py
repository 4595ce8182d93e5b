"""Annotations of objects as labels of images: COCO's JSON files and PASCAL VOC's folders of XML.

The labels of an image are the categories of its objects. An image that is listed without objects
has none of the labels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from headstart.core.errors import InputError, count, one_line
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import listed_paths, splits, storage, text
from headstart.datasets.file_names import is_image_name
from headstart.datasets.listing import make_listing, unique
from headstart.datasets.order import natural_order
from headstart.datasets.registry import Options, Source

_LOOKED_FOR = 50  # images, by which their folder is recognised
_YEARS = range(2005, 2013)  # of the challenge
_RULE = "Each image has the categories of its objects as labels."
_ANNOTATIONS, _IMAGES, _SETS = "Annotations", "JPEGImages", "ImageSets/Main"


class CocoSource(Source):
    """A JSON file with ``images``, ``annotations`` and ``categories``, as COCO has them.

    The images are beside the file, in ``images``, or in a folder with the file's name without
    ``instances_``, there or one level up. The split is in the name, ``instances_val2017.json``, or
    is that of the file's folder.
    """

    name = "COCO file"

    def matches(self, data: str) -> bool:
        """Tell whether this is a JSON file, by its name."""
        return data.lower().endswith(".json") and storage.is_file(data)

    def list(self, data: str, options: Options) -> Listing:
        """List the images that the file names."""
        if storage.is_url(data):
            raise InputError(f"{one_line(data)}: annotations must be a local file; copy it")
        path, shown = Path(data), one_line(data)
        document = _document(path, shown)
        names = _categories(document, shown)
        present = _by_image(document, names, shown)
        files = dict(_images(document, shown))
        root = _root(path, list(files.values()))
        split = splits.split_of(_part(path)) or splits.split_of(path.parent.name)
        rows = []
        for key, file in files.items():
            place = f"{shown}, image {one_line(key)}"
            name = listed_paths.name(file, root, place)
            rows.append((place, _image(name, present.get(key, ()), (), split, options, place)))
        if not rows:
            raise InputError(f"{shown} lists no images; choose another file")
        ignored = Counter[str]()
        merged = options.target == MULTI_LABEL
        images = list(unique(rows, ignored, merged=merged).values())
        remarks = [_RULE]
        unlisted = len(present.keys() - files.keys())
        if unlisted:
            remarks.append(
                f"Annotations of {count(unlisted, 'image')} that the file does not list were left"
                " out."
            )
        remarks += listed_paths.check(images, images[0].path, root / path.name)
        labels = () if options.target == SINGLE_LABEL else tuple(names.values())
        return make_listing(root, images, ignored, data, remarks=remarks, labels=labels)


class VocSource(Source):
    """A folder with ``Annotations`` and ``JPEGImages``, as PASCAL VOC has them.

    A label that an image has only in objects marked as difficult is unknown. Splits are the lists
    ``train``, ``val`` and ``test`` in ``ImageSets/Main``. ``VOCdevkit`` with folders of several
    years is read too.
    """

    name = "VOC folder"

    def matches(self, data: str) -> bool:
        """Tell whether this is a folder with both folders in it, or folders of years that are."""
        return bool(_voc_folders(Path(data)))

    def list(self, data: str, options: Options) -> Listing:
        """List the annotated images."""
        root, images, ignored = Path(data), [], Counter[str]()
        folders = _voc_folders(root)
        root = root / _IMAGES if folders == [root] else root
        for folder in folders:
            own = _voc_images(folder, options, ignored)
            below = (folder / _IMAGES).relative_to(root)
            images += [replace(each, path=(below / each.path).as_posix()) for each in own]
        return make_listing(root, images, ignored, data, remarks=[_RULE])


def _voc_folders(data: Path) -> list[Path]:
    """Return the folder, or those of ``VOCdevkit``, such as ``VOC2007`` and ``VOC2012``."""

    def is_voc(folder: Path) -> bool:
        return (folder / _IMAGES).is_dir() and any((folder / _ANNOTATIONS).glob("*.xml"))

    if is_voc(data):
        return [data]
    return [folder for year in _YEARS if is_voc(folder := data / f"VOC{year}")]


def _voc_images(folder: Path, options: Options, ignored: Counter[str]) -> Iterator[ImageRef]:
    """Yield the annotated images of a folder, by their name in it; others are ``ignored``."""
    of_split = dict(_splits(folder / _SETS))
    listed = set()
    for file in natural_order(path.name for path in (folder / _ANNOTATIONS).glob("*.xml")):
        place = f"{one_line(folder)}/{_ANNOTATIONS}/{one_line(file)}"
        tree = _tree(folder / _ANNOTATIONS / file, place)
        name = text.checked((tree.findtext("filename") or "").strip(), place, "the path")
        stem = file.removesuffix(".xml")
        image = folder / _IMAGES / name
        if not name or not image.is_file():  # a wrong name of the file is common
            image = folder / _IMAGES / f"{stem}.jpg"
        listed.add(image.name)
        sure, doubtful = _objects(tree)
        split = of_split.get(stem, "")
        yield _image(image.name, sorted(sure), doubtful - sure, split, options, place)
    others = {path.name for path in (folder / _IMAGES).iterdir()} - listed
    ignored["without annotations"] += sum(map(is_image_name, others))


def _image(
    path: str,
    present: Iterable[str],
    unknown: Iterable[str],
    split: str,
    options: Options,
    place: str,
) -> ImageRef:
    names = tuple(dict.fromkeys(present))
    if options.target != SINGLE_LABEL:
        return ImageRef(path, None, split, LabelSet(names, tuple(sorted(unknown))))
    if len(names) > 1:
        raise InputError(
            f"{place} has objects of several categories ({one_line(', '.join(names[:3]))}); leave "
            "out --target single-label"
        )
    return ImageRef(path, names[0] if names else None, split)


def _document(path: Path, shown: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{shown} is not JSON ({one_line(error)}); correct it") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(k), list) for k in keys):
        raise InputError(
            f"{shown} is no file of annotations: it needs the lists images, annotations and "
            "categories, as COCO has them; or list the images in a CSV of path,labels"
        )
    return document


def _by_image(
    document: Mapping[str, Any], names: Mapping[str | int, str], shown: str
) -> dict[str | int | None, list[str]]:
    """Return the categories of each image's objects, or of its segments in panoptic files."""
    present: dict[str | int | None, list[str]] = {}
    for number, note in enumerate(document["annotations"]):
        of_image = present.setdefault(_field(note, "image_id"), [])
        segments = note.get("segments_info") if isinstance(note, Mapping) else None
        for each in segments if isinstance(segments, list) else [note]:
            category = _field(each, "category_id")
            if category is None or category not in names:
                raise InputError(
                    f"{shown}: annotation {number} has category {one_line(category)}, which the "
                    "file does not list; correct it"
                )
            of_image.append(names[category])
    return present


def _images(document: Mapping[str, Any], shown: str) -> Iterator[tuple[str | int, str]]:
    """Yield id and file of each image."""
    seen = set()
    for number, image in enumerate(document["images"]):
        key = _field(image, "id")
        if key is None or key in seen:
            reason = "has no id" if key is None else f"has the id {one_line(key)} of another one"
            raise InputError(f"{shown}: image {number} {reason}; correct it")
        seen.add(key)
        yield key, str(_field(image, "file_name") or "")


def _field(record: Any, key: str) -> str | int | None:  # noqa: ANN401 - a stranger's JSON
    value = record.get(key) if isinstance(record, Mapping) else None
    if isinstance(value, float) and value.is_integer():  # as tables write numbers
        return int(value)
    return value if isinstance(value, str | int) else None


def _categories(document: Mapping[str, Any], shown: str) -> dict[str | int, str]:
    names: dict[str | int, str] = {}
    for category in document["categories"]:
        key, name = _field(category, "id"), _field(category, "name")
        if key is None or not isinstance(name, str) or not name.strip():
            raise InputError(f"{shown}: a category has no id or no name; correct it")
        if key in names:
            raise InputError(f"{shown}: two categories have the id {one_line(key)}; correct it")
        names[key] = text.class_name(text.checked(name.strip(), shown, "the name"))
    return names


def _part(path: Path) -> str:
    return path.stem.removeprefix("instances_")


def _root(path: Path, files: list[str]) -> Path:
    """Return the folder that has most of the first images."""
    part = _part(path)
    near = [path.parent, path.parent.parent]
    roots = [place / sub for place in near for sub in ("", "images", part, f"images/{part}")]
    some = [file for file in files[:_LOOKED_FOR] if file]
    return max(roots, key=lambda root: sum((root / file).is_file() for file in some))


def _tree(path: Path, place: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {place}: {error.strerror}") from error
    except ElementTree.ParseError as error:
        raise InputError(f"{place} is not XML ({one_line(error)}); correct it") from error


def _objects(tree: ElementTree.Element) -> tuple[set[str], set[str]]:
    """Return the categories of an image's objects, and those of its difficult ones."""
    sure: set[str] = set()
    doubtful: set[str] = set()
    for thing in tree.iter("object"):
        name = text.class_name((thing.findtext("name") or "").strip())
        if name:
            is_difficult = (thing.findtext("difficult") or "0").strip() == "1"
            (doubtful if is_difficult else sure).add(name)
    return sure, doubtful


def _splits(folder: Path) -> Iterator[tuple[str, str]]:
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        file = folder / f"{name}.txt"
        if file.is_file():
            for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
                if words := line.split():
                    yield words[0], split
