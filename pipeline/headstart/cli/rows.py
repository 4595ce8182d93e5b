"""Predictions as rows: CSV or JSON Lines, one row at a time."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from headstart.core.errors import one_line
from headstart.core.files import replacing

if TYPE_CHECKING:
    from headstart.models.predict import Prediction

FORMATS = ("csv", "jsonl")

Write = Callable[["Prediction"], None]


@dataclass(frozen=True)
class Layout:
    """The columns of a row; ``confidence`` of a CSV row is the ``probability`` of its label.

    Attributes:
        top_k: number of most probable classes; None for the probabilities of all.
        novelty: whether the model computes how far an image is from its training images, and
            ``unusual`` whether it has the second mark.
        sets: whether rows have a conformal set of classes.
        answer: what the model returns: a ``label`` with its confidence, or ``labels``.
        grouped: whether a row is a group of images, with their numbers in place of the marks.
    """

    classes: tuple[str, ...]
    top_k: int | None
    novelty: bool
    unusual: bool = False
    sets: bool = False
    answer: str = "label"
    grouped: bool = False

    @property
    def _has_confidence(self) -> bool:
        return self.answer == "label"

    def ranked(self, prediction: Prediction) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, the best first."""
        scores = prediction.probabilities
        order = sorted(range(len(scores)), key=lambda code: -scores[code])
        return [(self.classes[code], scores[code]) for code in order[: self.top_k]]

    def _confidence(self, prediction: Prediction) -> float:
        """Return the probability of the label; of an image left open, the highest one."""
        scores = dict(zip(self.classes, prediction.probabilities, strict=True))
        return scores.get(prediction.label, max(prediction.probabilities))

    def header(self) -> list[str]:
        """Return the names of a CSV row's columns."""
        if self.top_k is None:
            names = [f"p:{name}" for name in self.classes]
        else:
            ranks = range(1, min(self.top_k, len(self.classes)) + 1)
            names = [f"{kind}_{rank}" for rank in ranks for kind in ("class", "probability")]
        sure = ["confidence"] if self._has_confidence else []
        return [self._key, self.answer, *sure, *names, *self._marks(None), "error"]

    @property
    def _key(self) -> str:
        return "group" if self.grouped else "path"

    def _marks(self, prediction: Prediction | None) -> dict[str, Any]:
        """Return what a row says beside probabilities, by column; None for the names alone."""
        names = {
            "images": self.grouped,
            "failed": self.grouped,
            "unlike_images": self.grouped and self.novelty,
            "distance": not self.grouped and self.novelty,
            "unlike": not self.grouped and self.novelty,
            "unusual": not self.grouped and self.unusual,
            "set": self.sets,
        }
        own = {"set": "classes"}
        return {
            name: getattr(prediction, own.get(name, name), None)
            for name, shown in names.items()
            if shown
        }

    def cells(self, prediction: Prediction) -> list[str]:
        """Return a CSV row."""
        scores = prediction.probabilities
        marks = [_cell(value) for value in self._marks(prediction).values()]
        if prediction.error:
            marks = marks if self.grouped else [""] * len(marks)
            blank = [""] * (len(self.header()) - len(marks) - 2)
            return [prediction.path, *blank, *marks, prediction.error]
        if self.top_k is None:
            cells = [f"{score:.6f}" for score in scores]
        else:
            cells = [text for c, p in self.ranked(prediction) for text in (c, f"{p:.6f}")]
        sure = [f"{self._confidence(prediction):.6f}"] if self._has_confidence else []
        return [prediction.path, prediction.label, *sure, *cells, *marks, ""]

    def document(self, prediction: Prediction) -> dict[str, Any]:
        """Return a row as JSON."""
        path = one_line(prediction.path)
        if prediction.error:
            numbers = self._marks(prediction) if self.grouped else {}
            return {self._key: path, "error": prediction.error, **numbers}
        document: dict[str, Any] = {
            self._key: path,
            self.answer: prediction.label if self._has_confidence else list(prediction.labels),
        }
        if self._has_confidence:
            document["probability"] = self._confidence(prediction)
        if self.top_k is None:
            pairs = zip(self.classes, prediction.probabilities, strict=True)
            document["probabilities"] = dict(pairs)
        else:
            top = self.ranked(prediction)
            document["top"] = [{"class": name, "probability": p} for name, p in top]
        return document | self._marks(prediction)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


@contextmanager
def writer(
    layout: Layout,
    out: Path | None,
    kind: str,
    more: Callable[[], dict[str, Any]] = dict,
) -> Iterator[Write]:
    """Give a function that writes one prediction; ``more`` are other entries of one document.

    The suffix of ``out`` names the format. If ``out`` is None, rows go to stdout as ``kind``:
    ``csv``, ``jsonl``, or ``json`` for one document at the end.
    """
    if out is not None:
        with (
            replacing(out) as partial,
            partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            yield _rows(layout, out.suffix[1:], file)
    elif kind == "json":
        rows: list[dict[str, Any]] = []
        yield lambda prediction: rows.append(layout.document(prediction))
        document = {"classes": list(layout.classes), "predictions": rows}
        click.echo(json.dumps(document | more(), indent=2))
    else:
        write = _rows(layout, kind, sys.stdout)

        def write_now(prediction: Prediction) -> None:
            write(prediction)
            sys.stdout.flush()  # a program may wait for each row at the end of a pipe

        yield write_now


def _rows(layout: Layout, kind: str, file: TextIO) -> Write:
    if kind == "jsonl":
        return lambda prediction: print(json.dumps(layout.document(prediction)), file=file)

    def write(cells: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        # Exactly, unlike messages: what the stream cannot encode is escaped.
        encoding = getattr(file, "encoding", None) or "utf-8"
        file.write(line.getvalue().encode(encoding, "backslashreplace").decode(encoding))

    write(layout.header())
    return lambda prediction: write(layout.cells(prediction))
