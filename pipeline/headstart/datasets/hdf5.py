"""An HDF5 file of images: an array of pixels, or of the bytes of image files, and their labels.

Images are a data set called ``images`` (or ``image``, ``x``, ``data``, ``pixels``): (n, h, w),
(n, h, w, 1), (n, h, w, 3) or (n, 3, h, w) of ``uint8``, or n texts or arrays of bytes. Labels are
``labels`` (or ``label``, ``y``, ``targets``, ``classes``), n numbers or texts; names for numbers
are an attribute ``classes``, ``class_names`` or ``names`` of the labels or of the file. ``split``
has n texts. Images are called by their number.

Pixels become the bytes of a BMP file, whose content depends on them alone.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import ImageError, InputError, one_line
from headstart.core.records import ImageRef
from headstart.datasets import columns, storage
from headstart.datasets.folder import NoImages
from headstart.datasets.images import check_size, encode
from headstart.datasets.reader import HeldListing, make_held
from headstart.datasets.storage import State

SUFFIXES = (".h5", ".hdf5", ".hdf")

_IMAGES = ("images", "image", "x", "data", "pixels", "imgs")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
_NAMES = ("classes", "class_names", "names", "label_names")
_PIXELS = (3, 4)  # dimensions of an array of pixels


@dataclass(frozen=True)
class ArrayReader:
    """Reads images from a data set.

    Attributes:
        place: path or URL of the file.
        known: the state in which it was listed.
        dataset: the name of the data set.
        rows: the row of each image.
    """

    place: str
    known: State
    dataset: str
    rows: dict[str, int]

    def state(self, path: str) -> State | None:
        """Return the state of the file."""
        return self.known if storage.unchanged(self.place, self.known) else None

    def read(self, path: str) -> tuple[bytes, State]:
        """Return an image as the bytes of a file.

        Raises:
            ImageError: it cannot be read, or the file has changed since it was listed.
        """
        try:
            with _opening:
                dataset = _opened(self.place, self.known, self.dataset)
            value = dataset[self.rows[path]]
        except ImageError:
            raise
        except Exception as error:  # HDF5 raises nearly anything on damaged files
            raise storage.cannot_read(error) from None
        return _as_file(value), self.known

    def only(self, paths: Iterable[str]) -> ArrayReader:
        """Return a reader of these images alone."""
        return replace(self, rows={path: self.rows[path] for path in paths})


def list_arrays(place: str, name: str) -> HeldListing:
    """List the images of an HDF5 file.

    Args:
        place: its path or URL.
        name: how the user named it.

    Raises:
        InputError: it cannot be read, or holds no images that can be told.
    """
    shown = one_line(place)
    try:
        known = storage.state_of(place)
        file = _open(place)
    except OSError as error:
        raise InputError(f"cannot read {shown}: {storage.reason(error)}") from error
    with file:
        if str(file.attrs.get("format", "")).startswith("headstart-"):
            raise InputError(f"{shown} is a feature store, no images; give it to train-heads")
        dataset = _images(file, shown)
        labels, splits = (_column(file, names, dataset, shown) for names in (_LABELS, ["split"]))
        names = _names(file) if labels is not None else []
        width = len(str(len(dataset) - 1))
        images = []
        for row in range(len(dataset)):
            where = f"{shown}, row {row}"
            told = columns.label(labels[row], names, where) if labels is not None else None
            split = columns.split(splits[row] if splits is not None else "", "", where)
            images.append(ImageRef(f"{row:0{width}d}", told, split))
        if not images:
            raise NoImages(f"no rows in {shown}")
        rows = {image.path: row for row, image in enumerate(images)}
        return make_held(ArrayReader(place, known, dataset.name, rows), images, {}, name)


def _images(file: Any, shown: str) -> Any:  # noqa: ANN401 - h5py has no types
    h5py = importlib.import_module("h5py")
    found = {
        key: value
        for key, value in file.items()
        if isinstance(value, h5py.Dataset) and (_is_pixels(value) or _is_files(value, h5py))
    }
    name = columns.find(found, _IMAGES) or (next(iter(found)) if len(found) == 1 else None)
    if name is None:
        raise InputError(
            f"{shown} has no data set of images that can be told; call it images: (n, h, w, 3) "
            f"uint8, or the bytes of n image files; it has: {one_line(', '.join(file)) or 'none'}"
        )
    return found[name]


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
    there = [
        key for key in file if f"/{key}" != images.name and isinstance(file[key], h5py.Dataset)
    ]
    name = columns.find(there, names)
    if name is None:
        return None
    dataset = file[name]
    if dataset.shape in {(len(images),), (len(images), 1)}:
        texts = h5py.check_string_dtype(dataset.dtype) is not None
        values = dataset.asstr(errors="replace")[...] if texts else dataset[...]
        return list(np.asarray(values).reshape(-1).tolist())
    raise InputError(
        f"{shown}: {one_line(name)} has the shape {dataset.shape} where {len(images):,} images "
        "need one value each"
    )


def _names(file: Any) -> list[str]:  # noqa: ANN401
    label = columns.find(list(file), _LABELS)
    for owner in (file[label] if label else file, file):
        for key in _NAMES:
            if key in owner.attrs:
                told = np.asarray(owner.attrs[key]).reshape(-1).tolist()
                return [
                    n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in told
                ]
    return []


_opening = threading.Lock()


@lru_cache(maxsize=8)
def _opened(place: str, known: State, dataset: str) -> Any:  # noqa: ANN401
    if storage.state_of(place) != known:
        raise ImageError("its file has changed since it was listed")
    return _open(place)[dataset]


def _open(place: str) -> Any:  # noqa: ANN401
    h5py = importlib.import_module("h5py")
    if storage.is_url(place):
        return h5py.File(storage.open_file(place), "r", driver="fileobj")
    return h5py.File(place, "r")
