"""Files of features, whatever program wrote them, as rows with names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import AGGREGATES
from headstart.core.errors import InputError, count, one_line
from headstart.core.names import repeated
from headstart.core.records import FeatureSet, ImageRef, LabelSet
from headstart.datasets import feature_table
from headstart.datasets.feature_table import FeatureTable
from headstart.datasets.order import natural_order
from headstart.datasets.registry import Options
from headstart.features.store import manifest, slides
from headstart.features.store.opening import looks_like_store

SUFFIXES = (*feature_table.SUFFIXES, *slides.SUFFIXES)
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Features with the names, labels and splits of their rows.

    Attributes:
        features: ``(n, d) float32``.
        images: one for each row, by distinct names.
        dtype: the type of the numbers before, such as ``float16``.
        named: whether the names are those of the source, and not the numbers of the rows.
        pool: how the rows of a slide became one; empty if they are as they were.
        encoder: the network, if the file names it.
        groups: of rows that are parts of a slide, the slide of each row's name.
        flags: the labels of a table with a 0/1 column for each.
        title: the source, for messages.
    """

    features: NDArray[np.float32]
    images: list[ImageRef]
    dtype: str
    title: str
    named: bool = True
    pool: str = ""
    encoder: str = ""
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of the rows."""
        return [image.path for image in self.images]


def is_features(path: Path) -> bool:
    """Say whether a path is a file of features, by its name, and no table that lists images."""
    return path.suffix.lower() in SUFFIXES


def is_store(path: Path) -> bool:
    """Say whether a file, or a folder of files, was written as a feature store."""
    if path.is_dir():
        return (path / manifest.NAME).exists()
    return path.suffix.lower() in slides.SUFFIXES and looks_like_store(path)


def of_store(data: FeatureSet) -> Rows:
    """Return the rows of a store."""
    images = [
        ImageRef(path, None, split, LabelSet(label) if isinstance(label, tuple) else None)
        if isinstance(label, tuple) or label is None
        else ImageRef(path, label, split)
        for path, label, split in zip(data.path, data.labels, data.split, strict=True)
    ]
    features = np.asarray(data.features[np.arange(len(images))], np.float32)
    return Rows(features, images, "float32", data.name)


def read_rows(
    paths: Sequence[Path], options: Options, key: str = "", aggregate: str = AGGREGATES[0]
) -> Rows:
    """Read one file of features, or several, or folders of slides' files.

    ``key`` names the array or column of features, and ``aggregate`` is one of
    `core.choices.AGGREGATES`.

    Raises:
        InputError: a file cannot be read, has unusable features, or repeats a name.
    """
    files = _files(paths)
    parts = [_read(file, options, key, aggregate, len(files) > 1) for file in files]
    title = str(paths[0]) if len(paths) == 1 else f"{len(files):,} files"
    return _checked(parts, files, title)


def of_array(
    features: Any,  # noqa: ANN401 - whatever numpy takes
    names: Sequence[str] | None = None,
    title: str = "the array",
) -> Rows:
    """Return ``(n, d)`` features in memory as rows.

    Raises:
        InputError: they are unusable, or there are not as many names.
    """
    matrix = feature_table.matrix(np.asarray(features), title)
    if names is not None and len(names) != len(matrix):
        raise InputError(
            f"{len(names):,} names for {count(len(matrix), 'row')} of features; give one for each"
        )
    width = len(str(len(matrix) - 1))
    texts = [f"{row:0{width}d}" for row in range(len(matrix))] if names is None else names
    images = [ImageRef(str(name), None, "") for name in texts]
    table = FeatureTable(matrix, images, names is not None)
    return _checked([_Part(table)], [Path(title)], title)


@dataclasses.dataclass(frozen=True)
class _Part:
    """What one file holds."""

    table: FeatureTable
    encoder: str = ""
    pool: str = ""
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that paths name; of a folder, its HDF5 files."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir() and is_store(path):
            raise InputError(
                f"{one_line(path)} is a feature store; use it with train-heads as it is"
            )
        if not path.is_dir():
            if not is_features(path):
                raise InputError(
                    f"{one_line(path)} is no file of features; give {', '.join(SUFFIXES)}, or a "
                    "folder of .h5 files, one for each slide"
                )
            files.append(path)
            continue
        inside = {p.name: p for p in path.iterdir() if p.suffix.lower() in slides.SUFFIXES}
        if not inside:
            raise InputError(
                f"{one_line(path)} has no features (.h5 files, one for each slide); {_advice(path)}"
            )
        files += [inside[name] for name in natural_order(inside)]
    return files


def _advice(folder: Path) -> str:
    """Say where a folder without features may have them, as CLAM's and TRIDENT's do."""
    below = sorted({file.parent for file in folder.glob("*/*.h5")})
    if below:
        return f"there are some in {one_line(below[0])}"
    if any(folder.glob("*.pt")):
        return "loading .pt files may run code, so they are not read; CLAM's h5_files are beside"
    return "choose another folder"


def _read(path: Path, options: Options, key: str, aggregate: str, several: bool) -> _Part:
    if path.suffix.lower() not in slides.SUFFIXES:
        return _Part(feature_table.read(path, options, key))
    content, shown = slides.read(path, key), one_line(path)
    features = feature_table.matrix(content.features, shown)
    if not (content.is_slide or several):
        arrays = {slides.FEATURES: features, **content.columns}
        table = feature_table.of_arrays(arrays, options, shown, slides.FEATURES)
        return _Part(table, content.encoder)
    if bad := np.flatnonzero(~np.isfinite(features).all(axis=1)).tolist():
        raise InputError(f"{shown}: patch {bad[0]} has {_not_finite(features[bad[0]])}")
    if aggregate == AGGREGATES[0]:
        mean = features.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
        rows = mean if len(features) > 1 else features
        table = FeatureTable(rows, [ImageRef(path.stem, None, "")], named=True)
        return _Part(table, content.encoder, "mean")
    names = [f"{path.stem}/{patch}" for patch in _patches(content.coords, len(features))]
    table = FeatureTable(features, [ImageRef(name, None, "") for name in names], named=True)
    return _Part(table, content.encoder, "", dict.fromkeys(names, path.stem))


def _patches(coords: NDArray[Any] | None, n: int) -> list[str]:
    """Return names for the patches of a slide: their places, if no two are equal."""
    if coords is not None and coords.ndim > 1:
        names = ["_".join(map(str, place)) for place in coords.tolist()]
        if len(set(names)) == n:
            return names
    return [f"{row:0{len(str(n - 1))}d}" for row in range(n)]


def _checked(parts: Sequence[_Part], files: Sequence[Path], title: str) -> Rows:
    """Return the rows of all parts, if their features are usable and their names distinct."""
    _check_alike(parts, files)
    features = np.concatenate([part.table.features for part in parts])
    images = [image for part in parts for image in part.table.images]
    named = all(part.table.named for part in parts)
    if not named and len(parts) > 1:
        raise InputError(f"{one_line(files[0])} has no names; several files need names of rows")
    if names := repeated([image.path for image in images]):
        raise InputError(
            f"{one_line(title)} names {one_line(names[0])} twice"
            + (f", and {len(names) - 1:,} others" if len(names) > 1 else "")
            + "; names must be distinct, such as the images' paths"
        )
    dtype = str(features.dtype)
    finite = np.isfinite(features) & (np.abs(features.astype(np.float64)) <= _LARGEST)
    if bad := np.flatnonzero(~finite.all(axis=1)).tolist():
        more = f", and so have {len(bad) - 1:,} other rows" if len(bad) > 1 else ""
        raise InputError(
            f"{one_line(title)}: {one_line(images[bad[0]].path)} has "
            f"{_not_finite(features[bad[0]])}{more}; leave these rows out, or compute them again"
        )
    rows = features.astype(np.float32)
    remarks = dict.fromkeys(remark for part in parts for remark in part.table.remarks)
    return Rows(
        rows,
        images,
        dtype,
        title,
        named,
        parts[0].pool,
        parts[0].encoder,
        {name: slide for part in parts for name, slide in part.groups.items()},
        parts[0].table.flags,
        (*remarks, *_about(rows)),
    )


def _check_alike(parts: Sequence[_Part], files: Sequence[Path]) -> None:
    first = parts[0]
    for part, file in zip(parts[1:], files[1:], strict=True):
        a, b = first.table.features.shape[1], part.table.features.shape[1]
        if a != b:
            raise InputError(
                f"{one_line(files[0])} has {count(a, 'feature')} in a row and {one_line(file)} "
                f"{b:,}; import the features of each network into a store of its own"
            )
        if part.encoder != first.encoder:
            raise InputError(
                f"{one_line(files[0])} is by the encoder {one_line(first.encoder) or '(unnamed)'}"
                f" and {one_line(file)} by {one_line(part.encoder) or '(unnamed)'}; import the "
                "features of each network into a store of its own"
            )


def _not_finite(row: NDArray[Any]) -> str:
    place = int(np.flatnonzero(~(np.abs(row.astype(np.float64)) <= _LARGEST))[0])
    value = row[place]
    what = "NaN" if np.isnan(value) else "infinity" if np.isinf(value) else f"{value:g}"
    return f"{what} as feature {place}"


def _about(rows: NDArray[np.float32]) -> list[str]:
    """Return remarks about features that tell nothing."""
    remarks = []
    constant = int((rows.min(axis=0) == rows.max(axis=0)).sum())
    if constant and len(rows) > 1:
        remarks.append(
            f"{constant:,} of {count(rows.shape[1], 'feature')} {'is' if constant == 1 else 'are'} "
            "the same in all rows and tell nothing."
        )
    zero = int((~rows.any(axis=1)).sum())
    if zero:
        remarks.append(f"{count(zero, 'row')} {'has' if zero == 1 else 'have'} zeros only.")
    return remarks
