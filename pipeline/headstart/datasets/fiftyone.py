"""FiftyOne: its image classification data sets as sources, and files of guesses in their format.

Format: FiftyOneImageClassificationDataset of
https://docs.voxel51.com/user_guide/import_datasets.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.core.errors import InputError, one_line
from headstart.core.records import Listing
from headstart.datasets import label_files
from headstart.datasets.file_names import is_image_name
from headstart.datasets.label_files import LabelledFile, Task
from headstart.datasets.registry import Options, Source

_DATA = "data"  # the folder of the images


class FiftyOneSource(Source):
    """``labels.json`` beside a folder ``data``: classes, and a label for the name of each image.

    Names have no extension, as FiftyOne writes them, or one. A label is a name, the number of a
    class, an object with ``label``, or a list of these; null is an image without a label.
    """

    name = "FiftyOne file"

    def matches(self, data: str) -> bool:
        """Tell whether this is a JSON file with ``labels`` and without COCO's ``annotations``."""
        begin = label_files.begins_as(data, ".json")
        named = Path(data).name == "labels.json" or '"labels"' in begin
        return begin.lstrip("\ufeff \t\r\n").startswith("{") and named and '"images"' not in begin

    def list(self, data: str, options: Options) -> Listing:
        """List the images that have an entry."""
        document = label_files.document(data)
        labels = document.get("labels") if isinstance(document, Mapping) else None
        classes = document.get("classes") if isinstance(document, Mapping) else None
        if not isinstance(labels, Mapping) or not isinstance(classes, list | type(None)):
            raise InputError(
                f"{one_line(data)} is no classification data set of FiftyOne: it needs labels by"
                " image and perhaps classes; export it as FiftyOneImageClassificationDataset"
            )
        return label_files.listing(data, _entries(labels, classes, data), options, (_DATA, ""))


def _entries(
    labels: Mapping[str, Any], classes: Sequence[Any] | None, data: str
) -> Iterator[LabelledFile]:
    folder = Path(data).parent
    files = _by_stem(folder / _DATA if (folder / _DATA).is_dir() else folder)
    for key, value in labels.items():
        place = f"{one_line(data)}, image {one_line(key)}"
        paths = [key] if is_image_name(key) else [*files.get(key, ()), key]
        yield LabelledFile(place, paths, _names(value, classes, place))


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """Return the images of a folder and those below by their paths without extension."""
    files: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if is_image_name(path.name):
            name = path.relative_to(folder).as_posix()
            files.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)
    return files


def _names(value: Any, classes: Sequence[Any] | None, place: str) -> tuple[str, ...] | None:  # noqa: ANN401
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    return tuple(_name(each, classes, place) for each in values)


def _name(value: Any, classes: Sequence[Any] | None, place: str) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        value = value.get("label")
    if isinstance(value, int) and not isinstance(value, bool):
        if classes is None or not 0 <= value < len(classes):
            raise InputError(f"{place}: the label {value} is no number of a class; correct it")
        value = classes[value]
    if not isinstance(value, str):
        raise InputError(f"{place}: the label {one_line(value)} is no text; correct it")
    return value


def guesses(images: Iterable[Task], classes: Sequence[str]) -> dict[str, Any]:
    """Return ``labels.json`` with guesses and their confidence, by paths without extension."""
    number = {name: place for place, name in enumerate(classes)}
    return {
        "classes": list(classes),
        "labels": {
            str(PurePosixPath(image.path).with_suffix("")): {
                "label": number[image.label],
                "confidence": image.confidence,
            }
            if image.label
            else None
            for image in images
        },
    }
