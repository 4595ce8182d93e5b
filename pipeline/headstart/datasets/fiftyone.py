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
_MANIFEST = "data.json"  # their paths by key, in place of the folder


class FiftyOneSource(Source):
    """``labels.json`` beside a folder ``data``: classes, and a label for the name of each image.

    Names have no extension, as FiftyOne writes them, or one; a manifest ``data.json`` may say which
    files they are. A label is a name, the number of a class, an object with ``label``, or a list of
    these; null is an image without a label.
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
    manifest = folder / _MANIFEST
    if manifest.is_file():
        files = _listed(label_files.document(str(manifest)))
    else:
        files = _by_stem(folder / _DATA if (folder / _DATA).is_dir() else folder)
    for key, value in labels.items():
        place = f"{one_line(data)}, image {one_line(key)}"
        own = files.get(key, [])
        if len(own) > 1:
            raise InputError(
                f"{place} may be {one_line(own[0])} or {one_line(own[1])}; rename one of them"
            )
        yield LabelledFile(place, [*own, key], _names(value, classes, place))


def _listed(paths: Any) -> dict[str, list[str]]:  # noqa: ANN401
    """Return the images of a manifest by their keys."""
    items = paths.items() if isinstance(paths, Mapping) else ()
    return {key: [path] for key, path in items if isinstance(path, str)}


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
        if classes is None:
            return str(value)  # as FiftyOne reads it
        if not 0 <= value < len(classes):
            raise InputError(f"{place}: the label {value} is no number of a class; correct it")
        value = classes[value]
    if not isinstance(value, str):
        raise InputError(f"{place}: the label {one_line(value)} is no text; correct it")
    return value


def guesses(
    images: Iterable[Task], classes: Sequence[str], several: bool = False
) -> dict[str, Any]:
    """Return ``labels.json`` with guesses and their confidence, by paths without extension.

    An image without one has null; ``several`` labels are a list.

    Raises:
        InputError: the names of two images differ in their extension alone.
    """
    labels: dict[str, Any] = {}
    for image in images:
        values = [{"label": label, "confidence": share} for label, share in image.guesses]
        key = str(PurePosixPath(image.path).with_suffix(""))
        if key in labels:
            raise InputError(
                f"FiftyOne knows images by their names without extension, and there are several"
                f" {one_line(key)}; rename one of them, or use another --format"
            )
        labels[key] = (values if several else values[0]) if values else None
    return {"classes": list(classes), "labels": labels}
