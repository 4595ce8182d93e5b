"""Annotations of objects as labels of images: COCO's JSON files and PASCAL VOC's folders of XML.

The labels of an image are the categories of its objects. An image that is listed without objects
has none of the labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import SINGLE_LABEL
from headstart.datasets import listed_paths, splits, storage, text
from headstart.datasets.listing import make_listing
from headstart.datasets.order import natural_order
from headstart.datasets.registry import Options, Source

_LOOKED_FOR = 50  # images, by which their folder is recognised
_ANNOTATIONS, _IMAGES, _SETS = "Annotations", "JPEGImages", "ImageSets/Main"


class CocoSource(Source):
    """A JSON file with ``images``, ``annotations`` and ``categories``, as COCO has them.

    The images are beside the file, in ``images``, or in a folder with the file's name without
    ``instances_``, there or one level up. The split is in the name: ``instances_val2017.json``.
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
        names = dict(_categories(document, shown))
        present: dict[Any, list[str]] = {}
        for number, note in enumerate(document["annotations"]):
            category, image = _field(note, "category_id"), _field(note, "image_id")
            if category not in names:
                raise InputError(
                    f"{shown}: annotation {number} has category {one_line(category)}, which the "
                    "file does not list; correct it"
                )
            present.setdefault(image, []).append(names[category])
        files = {_field(image, "id"): image for image in document["images"]}
        root = _root(path, [str(_field(image, "file_name")) for image in files.values()])
        split = splits.split_of(_part(path))
        images = []
        for key, image in files.items():
            place = f"{shown}, image {one_line(key)}"
            file = listed_paths.name(str(_field(image, "file_name") or ""), root, place)
            images.append(_image(file, present.get(key, ()), (), split, options, place))
        remarks = ["Each image has the categories of its objects as labels."]
        if not images:
            raise InputError(f"{shown} lists no images; choose another file")
        remarks += listed_paths.check(images, images[0].path, root / path.name)
        labels = () if options.target == SINGLE_LABEL else tuple(names.values())
        return make_listing(root, images, {}, data, remarks=remarks, labels=labels)


class VocSource(Source):
    """A folder with ``Annotations`` and ``JPEGImages``, as PASCAL VOC has them.

    A label that an image has only in objects marked as difficult is unknown. Splits are the lists
    ``train``, ``val`` and ``test`` in ``ImageSets/Main``.
    """

    name = "VOC folder"

    def matches(self, data: str) -> bool:
        """Tell whether this is a folder with both folders in it, and annotations in one."""
        folder = Path(data)
        return (folder / _IMAGES).is_dir() and any((folder / _ANNOTATIONS).glob("*.xml"))

    def list(self, data: str, options: Options) -> Listing:
        """List the annotated images."""
        folder = Path(data)
        of_split = dict(_splits(folder / _SETS))
        images = []
        for file in natural_order(path.name for path in (folder / _ANNOTATIONS).glob("*.xml")):
            place = f"{one_line(data)}/{_ANNOTATIONS}/{one_line(file)}"
            tree = _tree(folder / _ANNOTATIONS / file, place)
            name = text.checked((tree.findtext("filename") or "").strip(), place, "the path")
            image = folder / _IMAGES / name
            if not name or not image.is_file():  # a wrong name of the file is common
                image = (folder / _IMAGES / file).with_suffix(".jpg")
            sure, doubtful = _objects(tree)
            stem = file.removesuffix(".xml")
            split = of_split.get(stem, "")
            unknown = doubtful - sure
            images.append(_image(image.name, sorted(sure), unknown, split, options, place))
        remarks = ["Each image has the categories of its objects as labels."]
        return make_listing(folder / _IMAGES, images, {}, data, remarks=remarks)


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


def _field(record: Any, key: str) -> Any:  # noqa: ANN401 - a stranger's JSON
    value = record.get(key) if isinstance(record, Mapping) else None
    return value if isinstance(value, str | int) else None


def _categories(document: Mapping[str, Any], shown: str) -> Iterator[tuple[Any, str]]:
    for category in document["categories"]:
        name = _field(category, "name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{shown}: a category has no name; correct it")
        yield _field(category, "id"), text.class_name(text.checked(name.strip(), shown, "the name"))


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
