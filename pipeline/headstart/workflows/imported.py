"""Features that another program computed become a store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core import choices
from headstart.core.errors import InputError, UsageError
from headstart.workflows.locations import StrPath, output_file

if TYPE_CHECKING:
    from headstart.features.imported import Imported, Rows


def import_features(
    data: StrPath | Sequence[StrPath] | Any,  # noqa: ANN401 - or an array
    out: StrPath,
    *,
    labels: StrPath | Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    name: str = "",
    aggregate: str = choices.AGGREGATES[0],
    features: str = "",
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
) -> Imported:
    """Make a feature store, without images, of features that another program computed.

    Args:
        data: an ``(n, d)`` array; or a file, or several: ``.npy``, ``.npz``, ``.csv``, ``.tsv``,
            ``.parquet``, or the ``.h5`` files of CLAM and TRIDENT, one for each slide, or their
            folder.
        out: the store. One with features of the same name, width, type and pooling is replaced.
        labels: a table of names and labels (``.csv``, ``.tsv``) or an ``.npy`` file in the order of
            the rows; of an array also a sequence: a class, or several labels, for each row. None
            takes those in the file.
        names: of the rows of an array; None numbers them.
        splits: ``train``, ``validation``, ``test`` or empty for each row of an array.
        name: the network that computed the features; empty takes what the file says, or the file's
            name. Stores are compared by it.
        aggregate: one of `core.choices.AGGREGATES`: ``mean`` makes one row of each slide, ``none``
            leaves a row for each patch, and writes the slides as groups beside the store.
        features: the array or column of features, or how numbered columns begin; empty finds it.
        label_column: the column with the labels; empty finds it by its name.
        path_column: the column with the names, likewise.
        label_columns: 0/1 columns, one for each label, if a row may have several.
        target: ``single-label`` or ``multi-label``; empty takes what the labels look like.

    Returns:
        What was written; `train_heads` takes it as it is.

    Raises:
        InputError: features, names or labels cannot be used; the message says which.
        UsageError: arguments contradict each other.
        StoreError: ``out`` exists and holds other features.
        OutputError: ``out`` cannot be written.
    """
    from headstart.datasets.registry import Options
    from headstart.features import imported

    flags = label_columns.split(",") if isinstance(label_columns, str) else label_columns
    options = Options(
        label_column=label_column,
        path_column=path_column,
        label_columns=tuple(flag.strip() for flag in flags if flag.strip()),
        target=target,
    )
    if aggregate not in choices.AGGREGATES:
        raise UsageError(f"aggregate is one of {', '.join(choices.AGGREGATES)}")
    paths = _paths(data)
    if paths is None:
        rows = imported.of_array(data, names)
        rows = _with_lists(rows, labels, splits)
    elif names is not None or splits is not None:
        raise UsageError("names and splits belong to an array; a file has its own columns")
    else:
        output_file(out, *paths)
        # Labels that come from a table need not be in the file, nor be readable there.
        own = dataclasses.replace(options, labels=labels is None)
        if labels is not None:
            own = dataclasses.replace(own, label_column="", label_columns=(), target="")
            own = dataclasses.replace(own, path_column="")
        rows = imported.read_rows(paths, own, features, aggregate)
        if labels is not None and not isinstance(labels, str | os.PathLike):
            raise UsageError("a sequence of labels belongs to an array; give a table of labels")
    if isinstance(labels, str | os.PathLike):
        rows = imported.label_rows(rows, Path(labels), options)
    return imported.import_rows(rows, output_file(out), name)


def _paths(data: Any) -> list[Path] | None:  # noqa: ANN401
    """Return the files that ``data`` names; None for an array."""
    if isinstance(data, str | os.PathLike):
        return [Path(data)]
    if isinstance(data, Sequence) and data and isinstance(data[0], str | os.PathLike):
        return [Path(path) for path in data]
    return None


def _with_lists(
    rows: Rows, labels: StrPath | Sequence[Any] | None, splits: Sequence[str] | None
) -> Rows:
    """Return rows of an array with labels and splits that are sequences, too."""
    from headstart.core.records import LabelSet
    from headstart.datasets import columns

    images, n = list(rows.images), len(rows.images)
    for what, values in (("labels", labels), ("splits", splits)):
        if values is None or isinstance(values, str | os.PathLike):
            continue
        if len(values) != n:
            raise InputError(
                f"{len(values):,} {what} for {n:,} rows of features; give one for each"
            )
        for row, value in enumerate(values):
            value = value.item() if hasattr(value, "item") else value
            place = f"{what}, row {row}"
            if what == "splits":
                images[row] = dataclasses.replace(
                    images[row], split=columns.split(value, "", place)
                )
            elif isinstance(value, list | tuple | set | frozenset):
                several = [columns.label(part, (), place) for part in value]
                present = tuple(label for label in several if label is not None)
                images[row] = dataclasses.replace(images[row], labels=LabelSet(present))
            else:
                label = columns.label(value, (), place)
                images[row] = dataclasses.replace(images[row], label=label)
    return dataclasses.replace(rows, images=images)
