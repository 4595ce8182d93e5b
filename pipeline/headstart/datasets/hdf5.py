"""HDF5 files of images: arrays of pixels or of encoded image files, with labels.

The data set ``images`` (or ``image``, ``x``, ``data``, ``pixels``) holds ``uint8`` pixels, (n, h,
w), (n, h, w, 1), (n, h, w, 3) or (n, 3, h, w), or the bytes of n image files. ``labels`` (or
``label``, ``y``, ``targets``, ``classes``) holds n numbers or texts; an attribute ``classes``,
``class_names`` or ``names`` names the numbers. If an image may have several labels, ``labels`` is
(n, k), 1, 0, or -1 where it is unknown, and the attribute names the k labels. ``split`` holds n
texts. Images are named by row. Pixels are returned as BMP files, whose
bytes depend on the pixels alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import InputError, one_line
from headstart.core.records import ImageRef, LabelSet, Listing
from headstart.core.targets import SINGLE_LABEL
from headstart.datasets import columns, hints, signatures, storage
from headstart.datasets.images import check_size, encode
from headstart.datasets.layout import NoImages
from headstart.datasets.listing import make_listing
from headstart.datasets.reader import ContainerFile, ContainerReader, Entry, Handle
from headstart.datasets.registry import DEFAULTS, Container, Options

_IMAGES = ("images", "image", "x", "data", "pixels", "imgs")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
_NAMES = ("classes", "class_names", "names", "label_names")
_PIXELS = (3, 4)  # dimensions of an array of pixels


@dataclass(frozen=True)
class ArrayReader(ContainerReader):
    """Reads images from rows of the data set `ContainerFile.part`."""

    @staticmethod
    def open(file: ContainerFile) -> Handle:
        """Open the file."""
        return _Rows(_open(file.place), file.part)


class _Rows:
    def __init__(self, file: Any, dataset: str) -> None:  # noqa: ANN401 - h5py has no types
        self._file, self._dataset = file, file[dataset]

    def get(self, entry: Entry) -> bytes:
        return _as_file(self._dataset[entry.position])

    def close(self) -> None:
        self._file.close()


class ArraySource(Container):
    """An HDF5 file of images."""

    name = "HDF5 file"
    suffixes = (".h5", ".hdf5", ".hdf")
    has_columns = True

    def __init__(self, options: Options = DEFAULTS) -> None:
        self._options = options

    def configured(self, options: Options) -> ArraySource:
        """Return a source that reads the labels from the named data set."""
        return ArraySource(options)

    def list_files(self, files: Sequence[str], names: Sequence[str], name: str) -> Listing:
        """List the images of one HDF5 file; several are an `InputError`."""
        if self._options.path_column:
            raise InputError(
                f"{one_line(name)}: images in HDF5 have no paths; leave out --path-column"
            )
        if len(files) > 1:
            raise InputError(f"{one_line(name)} has several HDF5 files; choose one of them")
        place, shown = files[0], one_line(files[0])
        try:
            state = storage.state_of(place)
            file = _open(place)
        except OSError as error:
            if mistaken := signatures.of_file(place, signatures.HDF5):
                raise InputError(f"{shown} is {mistaken}") from error
            raise InputError(f"cannot read {shown}: {storage.reason(error)}") from error
        with file:
            if str(file.attrs.get("format", "")).startswith("headstart-"):
                raise InputError(f"{shown} is a feature store, not images; use it with train-heads")
            dataset = _images(file, shown)
            images, flags = _refs(file, dataset, shown, self._options)
            part = dataset.name
            others = [key for key in file if f"/{key}" != part]
        if not images:
            raise NoImages(f"{shown} has no rows; choose another file")
        entries = {image.path: Entry(0, row) for row, image in enumerate(images)}
        reader = ArrayReader(entries, (ContainerFile(place, state, part),))
        unlabelled = not any(image.is_labelled for image in images)
        hint, remarks = hints.of_columns(others if unlabelled else ())
        if flags:
            remarks = [*remarks, "Each image may have several labels: the columns of the labels."]
        listing = make_listing(Path(), images, {}, name, remarks=remarks, hint=hint, labels=flags)
        return replace(listing, reader=reader)


def _refs(
    file: Any,  # noqa: ANN401
    dataset: Any,  # noqa: ANN401
    shown: str,
    options: Options,
) -> tuple[list[ImageRef], list[str]]:
    """Return the images, and the names of the labels if an image may have several."""
    rows = range(len(dataset))
    places = [f"{shown}, row {row}" for row in rows]
    flags, sets = _flags(file, dataset, shown, options)
    labels = [None] * len(rows) if flags else _labels(file, dataset, shown, options, places)
    cells = _column(file, ["split"], dataset, shown) or [""] * len(rows)
    splits = [columns.split(cell, "", place) for cell, place in zip(cells, places, strict=True)]
    width = len(str(len(rows) - 1))
    images = [
        ImageRef(f"{row:0{width}d}", labels[row], splits[row], sets[row] if flags else None)
        for row in rows
    ]
    return images, flags


def _labels(
    file: Any,  # noqa: ANN401
    dataset: Any,  # noqa: ANN401
    shown: str,
    options: Options,
    places: Sequence[str],
) -> list[str | None]:
    """Return the class of each image, None where there is none."""
    label = options.label_column
    spellings = [label] if label else _LABELS
    cells = _column(file, spellings, dataset, shown)
    if cells is None:
        if label:
            raise InputError(f"{shown} has no data set {one_line(label)} beside the images")
        return [None] * len(places)
    names = _names(file, spellings, shown)
    labels = [columns.label(cell, names, place) for cell, place in zip(cells, places, strict=True)]
    if not names and all(isinstance(cell, int | float) for cell in cells):
        labels = columns.without_marks(labels)
    return labels


def _flags(
    file: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    shown: str,
    options: Options,
) -> tuple[list[str], list[LabelSet]]:
    """Return the labels with a column each, and every image's; nothing if there are no columns."""
    h5py = importlib.import_module("h5py")
    spellings = [options.label_column] if options.label_column else _LABELS
    others = [
        key for key in file if f"/{key}" != images.name and isinstance(file[key], h5py.Dataset)
    ]
    name = columns.find(others, spellings)
    dataset = None if name is None else file[name]
    if (
        dataset is None
        or dataset.ndim != 2
        or dataset.shape[0] != len(images)
        or dataset.shape[1] < 2
        or options.target == SINGLE_LABEL
    ):
        return [], []
    states = np.asarray(dataset[...])
    if states.dtype.kind not in "biuf" or not np.isin(states, (-1, 0, 1)).all():
        raise InputError(
            f"{shown}: {one_line(name)} has the shape {dataset.shape}, so each column is a label;"
            " its values must be 1, 0, or -1 where a label is unknown"
        )
    if not options.target and (np.abs(states).sum(axis=1) == 1).all() and (states >= 0).all():
        raise InputError(
            f"{shown}: every row of {one_line(name)} has exactly one 1; if an image may have"
            " several labels, add --target multi-label, else give the number of its class"
        )
    names = _names(file, spellings, shown) or [str(code) for code in range(states.shape[1])]
    if len(names) != states.shape[1] or len(set(names)) < len(names) or "" in names:
        raise InputError(
            f"{shown}: {one_line(name)} has {states.shape[1]:,} columns and {len(names):,} names;"
            " name each label once, in the attribute classes"
        )
    own = np.array(names, object)
    sets = [LabelSet(tuple(own[row == 1]), tuple(own[row == -1])) for row in states.astype(int)]
    return names, sets


def _images(file: Any, shown: str) -> Any:  # noqa: ANN401 - h5py has no types
    h5py = importlib.import_module("h5py")
    datasets = {
        key: value
        for key, value in file.items()
        if isinstance(value, h5py.Dataset) and (_is_pixels(value) or _is_files(value, h5py))
    }
    name = columns.find(datasets, _IMAGES)
    if name is None and len(datasets) == 1:
        name = next(iter(datasets))
    if name is None:
        raise InputError(
            f"{shown} has no data set that is clearly the images; call it images: (n, h, w, 3) "
            f"uint8, or the bytes of n image files; it has: {_present(file, h5py) or 'none'}"
        )
    return datasets[name]


def _present(file: Any, h5py: Any) -> str:  # noqa: ANN401
    """Return the names, shapes and types of the data sets, and the names of the groups."""
    parts = [
        f"{key} {value.shape} {value.dtype}" if isinstance(value, h5py.Dataset) else f"{key}/"
        for key, value in file.items()
    ]
    return one_line(", ".join(parts))


def _is_pixels(dataset: Any) -> bool:  # noqa: ANN401
    shape: tuple[int, ...] = dataset.shape or ()
    if dataset.dtype != np.uint8 or len(shape) not in _PIXELS or 0 in shape[1:]:
        return False
    return len(shape) == _PIXELS[0] or shape[3] in (1, 3) or shape[1] in (1, 3)


def _is_files(dataset: Any, h5py: Any) -> bool:  # noqa: ANN401
    if dataset.ndim != 1:
        return False
    text = h5py.check_string_dtype(dataset.dtype)
    return h5py.check_vlen_dtype(dataset.dtype) == np.uint8 or (
        text is not None and columns.find([dataset.name.strip("/")], _IMAGES) is not None
    )


def _as_file(value: Any) -> bytes:  # noqa: ANN401
    if isinstance(value, bytes):
        check_size(len(value))
        return value
    pixels: NDArray[np.uint8] = np.asarray(value)
    if pixels.ndim == 1:
        check_size(pixels.size)
        return pixels.tobytes()
    if pixels.ndim == _PIXELS[0] and pixels.shape[2] not in (1, 3):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == _PIXELS[0] and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    check_size(pixels.size)
    return encode(np.ascontiguousarray(pixels), "BMP")


def _column(file: Any, names: Sequence[str], images: Any, shown: str) -> list[Any] | None:  # noqa: ANN401
    h5py = importlib.import_module("h5py")
    datasets = [
        key for key in file if f"/{key}" != images.name and isinstance(file[key], h5py.Dataset)
    ]
    name = columns.find(datasets, names)
    if name is None:
        return None
    dataset = file[name]
    if dataset.shape in {(len(images),), (len(images), 1)}:
        return list(np.asarray(dataset[...]).reshape(-1).tolist())
    raise InputError(
        f"{shown}: {one_line(name)} has the shape {dataset.shape} where {len(images):,} images "
        "need one value each"
    )


def _names(file: Any, labels: Sequence[str], shown: str) -> list[str]:  # noqa: ANN401
    label = columns.find(list(file), labels)
    for owner in (file[label] if label else file, file):
        for key in _NAMES:
            if key in owner.attrs:
                names = np.asarray(owner.attrs[key]).reshape(-1).tolist()
                place = f"{shown}, attribute {key}"
                return [columns.label(name, (), place) or "" for name in names]
    return []


def _open(place: str) -> Any:  # noqa: ANN401
    h5py = importlib.import_module("h5py")
    if storage.is_url(place):
        return h5py.File(storage.open_file(place), "r", driver="fileobj")
    return h5py.File(place, "r")
