"""What the user says about labelled images, as the options of a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.datasets import Options


def source_options(
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str | None = "",
    *,
    labels: bool = True,
) -> Options:
    """Return the options; ``label_columns`` are names, or one text that commas divide.

    Raises:
        InputError: they contradict each other.
    """
    from headstart.datasets import Options

    names = label_columns.split(",") if isinstance(label_columns, str) else label_columns
    return Options(
        label_column=label_column,
        path_column=path_column,
        labels=labels,
        target=target or "",
        label_columns=tuple(name for column in names if (name := column.strip())),
    )
