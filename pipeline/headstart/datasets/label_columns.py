"""Which columns of a table have the labels of images that may have several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from headstart.core.errors import InputError, near_matches, one_line
from headstart.core.label_text import TRUE
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import columns, csv_table
from headstart.datasets.csv_table import Column
from headstart.datasets.label_sets import (
    LISTS,
    OWN,
    Rule,
    flag,
    found_columns,
    of_cells,
    of_columns,
)
from headstart.datasets.registry import Options

_NOT_LABELS = (
    (columns.SPLIT,),
    (columns.ORIGIN,),
    ("subset", "partition", "phase", "set"),
    ("group", "groups", "group_id"),
)
_NAMED = 4  # columns in a message
_ODD = 0.34  # of the cells of a 0/1 column may be mistakes
_CODES = 3  # numbers in a column that may stand for 0, 1 and unknown


def flag_columns(names: Iterable[str]) -> list[Column]:
    """Return 0/1 columns for `csv_table.read`."""
    return [Column(OWN + name, (name,), option="--label-columns") for name in names]


def of_manifest(
    source: Path | bytes,
    path: Column,
    options: Options,
    shown: str = "",
    *,
    search: bool = True,
    needed: bool = True,
) -> Rule | None:
    """Return the rule of a CSV with a column ``path``; None if each image has one label or none.

    Without ``search``, the user alone names 0/1 columns. For ``needed`` see `found_rule`.

    Raises:
        InputError: the file cannot be read, or lacks a column that the user names.
    """
    shown = shown or one_line(source)
    if options.target == SINGLE_LABEL or not options.labels:
        return None
    header = csv_table.header(source, shown, [path])
    if rule := requested(header, options, shown):
        return rule
    label = options.label_column or csv_table.find(header, columns.LABELS)
    if label is None:
        if not search and options.target != MULTI_LABEL:
            return None
        return _of_flag_columns(source, header, path, options, shown, needed)
    if options.target != MULTI_LABEL and label.strip().casefold() != LISTS:
        return None
    table = [Column("label", (label,), option="--label-column")]
    cells = {row.cells["label"].strip() for row in csv_table.read(source, shown, table)}
    return of_cells(cells, label, options.target)


def requested(names: Sequence[str], options: Options, shown: str) -> Rule | None:
    """Return the rule of the 0/1 columns that the user or their names say; else None.

    Raises:
        InputError: the table lacks a column that the user names.
    """
    if options.label_columns:
        return of_columns(named_columns(names, options.label_columns, shown))
    marked = [name for name in names if name.startswith(TRUE) and name != TRUE]
    return of_columns(marked) if marked and not options.label_column else None


def _of_flag_columns(
    source: Path | bytes,
    header: Sequence[str],
    path: Column,
    options: Options,
    shown: str,
    needed: bool,
) -> Rule | None:
    names = other_columns(header, path.spellings)
    rows = list(csv_table.read(source, shown, flag_columns(names))) if names else []
    flags = found_columns((row.cells for row in rows), [OWN + name for name in names])
    own = [name.removeprefix(OWN) for name in flags]
    if len(own) < len(names) > 1:
        _refuse_odd_cells(
            rows, [name for name in names if name not in own], shown, needed and not own
        )
    return found_rule(names, own, options.target, shown, needed=needed)


def _refuse_odd_cells(
    rows: Sequence[csv_table.Row], names: Sequence[str], shown: str, needed: bool
) -> None:
    """Raise an `InputError` if columns would have 0 and 1 alone, but for a few of their cells.

    Or if nothing else can be the labels that are ``needed``, and they have a few other digits
    alone, such as 0 and 2.
    """
    cells = {name: {row.cells[OWN + name].strip() for row in rows} for name in names}
    coded = needed and all(
        len(own) <= _CODES and all(cell.isdecimal() and len(cell) == 1 for cell in own)
        for own in cells.values()
    )
    odd = {name: [row for row in rows if flag(row.cells[OWN + name]) is None] for name in names}
    few = all(len(own) <= _ODD * len(rows) for own in odd.values())
    if all(odd.values()) and (few or coded):
        name = names[0]
        row = odd[name][0]
        raise InputError(
            f"{shown}, line {row.line}: the column {one_line(name)} has "
            f"'{one_line(row.cells[OWN + name])}'; a column of one label has 1, 0, or -1 or "
            "nothing where it is unknown"
        )


def found_rule(
    names: Sequence[str], flags: Sequence[str], target: str, shown: str, *, needed: bool = False
) -> Rule | None:
    """Return the rule of a table with the columns ``names`` of which ``flags`` are 0/1 columns.

    All must be, and more than one, unless the user says that there are several labels.

    Raises:
        InputError: labels are ``needed``, or the user says that there are several, and only some
            columns are 0/1 columns.
    """
    several = target == MULTI_LABEL
    if flags and len(flags) == len(names) and (several or len(flags) > 1):
        return of_columns(flags)
    if not flags or not (several or (needed and len(flags) > 1)):
        return None
    other = next(name for name in names if name not in flags)
    listed = one_line(",".join(flags[:_NAMED])) + (",…" if len(flags) > _NAMED else "")
    raise InputError(
        f"{shown} has no column of labels, and its column {one_line(other)} is none of 0 and 1; if "
        f"other columns are the labels, name them: --label-columns {listed}"
    )


def other_columns(header: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return the columns that are neither paths nor splits nor groups, nor without a name."""
    path = csv_table.find(header, paths)
    passed = {csv_table.find(header, names) for names in _NOT_LABELS}
    return [name for name in header if name and name != path and name not in passed]


def named_columns(names: Sequence[str], requested: Sequence[str], shown: str) -> tuple[str, ...]:
    """Return the columns that the user names for labels, as the table spells them.

    Raises:
        InputError: the table lacks one of them.
    """
    spelled = {name.strip().casefold(): name for name in reversed(names)}
    missing = [name for name in requested if name.strip().casefold() not in spelled]
    if missing:
        raise InputError(
            f"{shown} has no column {one_line(missing[0])}; {near_matches(missing[0], names)}"
            f"it has: {one_line(', '.join(names))}"
        )
    return tuple(spelled[name.strip().casefold()] for name in requested)
