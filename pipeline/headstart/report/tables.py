"""The tables beside ``results.json``, and the history of a fine-tuning."""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from headstart.core.errors import InputError, one_line

ERRORS_SHOWN = 30
HISTORY = (
    *("train_loss", "validation_loss", "train_accuracy", "validation_accuracy"),
    *("train_map", "validation_map"),
)
LARGEST = 1e300  # upper limit of a value in a history
_AGAIN = "run headstart train-heads again"
_BY = "by:"  # columns of other heads

Row = TypeVar("Row")


class Answer(NamedTuple):
    """The best head's prediction for a test image, its probability, and the other heads'."""

    path: str
    true: str
    predicted: str
    probability: float
    others: tuple[str, ...] = ()


class Suspect(NamedTuple):
    """A training image whose label is in doubt; the score is the probability of its label.

    ``tier`` is empty in results before there were tiers.
    """

    path: str
    split: str
    label: str
    suggestion: str
    score: float
    tier: str = ""


class Duplicate(NamedTuple):
    """An image that occurs more than once; those of one group are duplicates of each other."""

    group: str
    path: str
    split: str
    label: str
    used: str
    kind: str
    colours: str = "same"


def answers(rows: Iterable[Mapping[str, str]], origin: str) -> list[Answer]:
    """Return the rows of a table of predictions, without the probabilities of other classes.

    The columns ``by:<head>`` come in the order of the heads in the results.
    """
    try:
        return [
            Answer(
                row["path"],
                row["true"],
                answer,
                float(row[f"p:{answer}"]),
                tuple(str(cell) for key, cell in row.items() if str(key).startswith(_BY)),
            )
            for row in rows
            if (answer := row["predicted"]) is not None
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{origin} cannot be reported: a row has no usable path, true, predicted or p:<class>"
            f" ({one_line(repr(error))}); {_AGAIN}"
        ) from error


def mistakes(answers: Iterable[Answer]) -> list[Answer]:
    """Return up to `ERRORS_SHOWN` errors, the most confident first."""
    wrong = (answer for answer in answers if answer.true != answer.predicted)
    return heapq.nlargest(ERRORS_SHOWN, wrong, key=lambda answer: answer.probability)


def read_answers(path: Path) -> list[Answer] | None:
    """Read ``predictions.csv``, or None if there is no such file.

    The table is not kept in memory: it has a column per class.
    """
    with _rows(path, ("path", "true", "predicted")) as rows:
        return None if rows is None else answers(rows, one_line(path))


def read_paths(path: Path) -> set[str]:
    """Return the paths of ``predictions.csv``, of any target; empty if there is no such file."""
    with _rows(path, ("path",)) as rows:
        return set() if rows is None else {row["path"] for row in rows}


def read_suspects(path: Path) -> list[Suspect]:
    """Read ``label_issues.csv``, the most doubtful first; empty if there is no such file."""
    return _read(
        path,
        ("path", "split", "given", "suggested", "score"),
        lambda row: Suspect(
            row["path"],
            row["split"],
            row["given"],
            row["suggested"],
            float(row["score"]),
            row.get("tier", ""),
        ),
    )


def read_duplicates(path: Path) -> list[list[Duplicate]]:
    """Read ``duplicates.csv`` by group.

    Groups in both the training and the test split come first, then those with several labels.
    """
    columns = Duplicate._fields[:-1]
    groups: dict[str, list[Duplicate]] = {}
    for image in _read(path, columns, _duplicate):
        groups.setdefault(image.group, []).append(image)
    return sorted(groups.values(), key=lambda group: (not leaks(group), not contradict(group)))


def _duplicate(row: Mapping[str, str]) -> Duplicate:
    columns = (row[key] for key in Duplicate._fields[:-1])
    return Duplicate._make([*columns, row.get("colours", "same")])


def leaks(group: Iterable[Duplicate]) -> bool:
    """Return whether duplicates are in both the training and the test split."""
    return {"train", "test"} <= {image.used for image in group}


def contradict(group: Iterable[Duplicate]) -> bool:
    """Return whether duplicates of the same colours have different labels."""
    return len({image.label for image in group if image.colours == "same"} - {""}) > 1


def read_history(path: Path) -> dict[str, list[float | None]]:
    """Read the epochs of ``history.json`` as columns; empty if there is no such file.

    The columns are ``epoch`` and those of `HISTORY` that any epoch has.
    """
    try:
        epochs: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {one_line(path)}: {one_line(error)}") from error
    if isinstance(epochs, dict):
        epochs = epochs.get("epochs", epochs.get("history"))
    if not isinstance(epochs, list) or not all(isinstance(epoch, dict) for epoch in epochs):
        raise InputError(
            f"{one_line(path)} is not a list of epochs; remove it or run headstart finetune again"
        )
    columns: dict[str, list[float | None]] = {
        key: [_figure(epoch.get(key)) if _measured(epoch, key) else None for epoch in epochs]
        for key in ("epoch", *HISTORY)
    }
    columns = {key: values for key, values in columns.items() if any(v is not None for v in values)}
    if columns:
        columns.setdefault("epoch", [float(n) for n in range(1, len(epochs) + 1)])
    return columns


def _measured(epoch: Mapping[str, Any], key: str) -> bool:
    """Return whether an epoch measures this: before the first one, nothing was trained."""
    return epoch.get("epoch") != 0 or not key.startswith("train")


def _figure(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value)
    return None


def _read(
    path: Path, columns: tuple[str, ...], make: Callable[[Mapping[str, str]], Row]
) -> list[Row]:
    with _rows(path, columns) as rows:
        try:
            return [make(row) for row in rows or ()]
        except (TypeError, ValueError, csv.Error) as error:
            raise InputError(
                f"{one_line(path)} cannot be reported: {one_line(repr(error))}; {_AGAIN}"
            ) from error


@contextmanager
def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[Iterable[Mapping[str, str]] | None]:
    """Open a table and check its header; None if there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            missing = set(columns) - set(rows.fieldnames or ())
            if missing:
                raise InputError(
                    f"{one_line(path)} has no column {min(missing)}; {_AGAIN}, or remove the file"
                )
            yield rows
    except FileNotFoundError:
        yield None
    except OSError as error:
        raise InputError(f"cannot read {one_line(path)}: {one_line(error)}; {_AGAIN}") from error
