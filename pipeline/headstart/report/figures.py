"""The numbers and shapes that the page shows, computed from counts and accuracies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple


class ClassScore(NamedTuple):
    """The scores of one class; a ratio that divides by zero is None."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    precision_ci: Sequence[float] | None = None
    recall_ci: Sequence[float] | None = None


class Confusion(NamedTuple):
    """How often one class was predicted as another; ``codes`` are those of both."""

    true: str
    predicted: str
    times: int
    support: int
    codes: tuple[int, int]


class Axis(NamedTuple):
    """A common axis of accuracies."""

    low: float
    high: float
    ticks: list[float]

    def position(self, value: float) -> str:
        """Return the position of a value as a share of the plot's width, clipped to the axis."""
        share = 0.05 + 0.9 * (value - self.low) / (self.high - self.low)
        return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


class Cells(NamedTuple):
    """The confusions that occurred.

    ``counts`` are by ``(true, predicted)`` codes, ``support`` and ``answers`` by true and by
    predicted code.
    """

    counts: dict[tuple[int, int], int]
    support: Counter[int]
    answers: Counter[int]


def scored(protocol: Mapping[str, Any]) -> str:
    """Return what the scores are of, after its number."""
    n = protocol["n_test"]
    if protocol["scored_on"] == "out of fold":
        return f"{n:,} images, out of fold"
    return f"{n:,} test image{'' if n == 1 else 's'}"


def title(results: Mapping[str, Any], name: str) -> str:
    """Return the display name of the head with this name."""
    return next((str(head["title"]) for head in results["heads"] if head["name"] == name), name)


def cells(confusion: Sequence[Sequence[int]] | Mapping[str, Any]) -> Cells:
    """Return the cells of a confusion matrix in either form of `HeadResult.confusion`."""
    if isinstance(confusion, Mapping):
        counts = {(int(true), int(answer)): n for true, answer, n in confusion["cells"] if n}
    else:
        counts = {(i, j): n for i, row in enumerate(confusion) for j, n in enumerate(row) if n}
    support: Counter[int] = Counter()
    answers: Counter[int] = Counter()
    for (true, predicted), n in counts.items():
        support[true] += n
        answers[predicted] += n
    return Cells(counts, support, answers)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def column_sums(rows: Iterable[Sequence[int]]) -> list[int]:
    """Return the sum of each column."""
    return [sum(column) for column in zip(*rows, strict=True)]


def class_scores(
    classes: Sequence[str], cells: Cells, per_class: Mapping[str, Sequence[Any]] | None = None
) -> list[ClassScore]:
    """Return precision, recall and F1 of each class, with the intervals in ``per_class``."""
    unknown = [None] * len(classes)
    ends = {key: (per_class or {}).get(key, unknown) for key in ("precision_ci", "recall_ci")}
    return [
        ClassScore(
            name,
            precision=_ratio(cells.counts.get((i, i), 0), cells.answers[i]),
            recall=_ratio(cells.counts.get((i, i), 0), cells.support[i]),
            f1=_ratio(2 * cells.counts.get((i, i), 0), cells.support[i] + cells.answers[i]),
            support=cells.support[i],
            **{key: column[i] for key, column in ends.items()},
        )
        for i, name in enumerate(classes)
    ]


def hardest(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """Return up to three classes with errors, those with the lowest F1."""
    flawed = ((score.f1, i) for i, score in enumerate(scores) if score.f1 not in (None, 1.0))
    return [scores[i] for _, i in sorted(flawed)[:3]]


def confusions(classes: Sequence[str], cells: Cells) -> list[Confusion]:
    """Return every confused pair, the most frequent first, then by share of the class."""
    pairs = [
        Confusion(classes[i], classes[j], count, cells.support[i], (i, j))
        for (i, j), count in sorted(cells.counts.items())
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair.times, pair.support))


def axis(values: Sequence[float]) -> Axis:
    """Return the shortest axis with at most six round ticks that spans all values in 0–1."""
    low, high = min(values), max(values)
    for step in (0.01, 0.02, 0.05, 0.1, 0.2):
        first, last = math.floor(low / step), math.ceil(high / step)
        if first == last:
            first, last = max(first - 1, 0), min(last + 1, round(1 / step))
        if last - first <= 5:
            break
    ticks = [tick * step for tick in range(first, last + 1)]
    return Axis(min(low, ticks[0]), max(high, ticks[-1]), ticks)  # a tick may be off by an ulp


def matrix(classes: Sequence[str], cells: Cells) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """Return each row's class and its cells: the count, the kind of cell, the share of the row."""
    table = []
    for i, name in enumerate(classes):
        total = cells.support[i] or 1
        row = [cells.counts.get((i, j), 0) for j in range(len(classes))]
        kinds = [
            (count, "zero" if not count else "hit" if i == j else "miss", f"{count / total:.3f}")
            for j, count in enumerate(row)
        ]
        table.append((name, kinds))
    return table
