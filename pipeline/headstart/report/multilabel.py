"""The report on heads that give an image several labels, as a part of its target type."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headstart.core import artifacts
from headstart.core.group_text import METHOD
from headstart.core.label_results import LabelComparison
from headstart.core.label_text import split
from headstart.core.records import FeatureSet
from headstart.core.remark_kinds import KINDS
from headstart.report import tables
from headstart.report.schema import of_record
from headstart.report.svg import HIT, MUTED, RULE, Drawing, shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.report import Places

SCHEMA = LabelComparison.SCHEMA
MAPPED = False
CURVES_SHOWN = 24  # labels with a curve on the page
MATRIX_LABELS = 40  # with more, the table of co-occurrence is unreadable
GALLERY_LABELS = 12  # the labels with most errors
GALLERY = 4  # images of each kind
SUSPECTS_SHOWN = 30
SIDE = 128  # of a thumbnail, in pixels


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of ``results.json``."""
    text = files("headstart.report").joinpath("results.schema.json").read_text(encoding="utf-8")
    document = of_record(LabelComparison)
    document["properties"] |= {"schema": {"const": SCHEMA}, "target": {"const": "multi-label"}}
    document["required"] += ["schema", "target"]
    return document | {"definitions": json.loads(text)["definitions"]}


def defects(results: Any) -> Iterator[str]:  # noqa: ANN401 - JSON that matches the schema
    """Yield what is wrong with a document that matches the schema."""
    k = len(results["dataset"]["classes"])
    for head in [*results["heads"], *results["baselines"]]:
        if {len(column) for column in head["per_label"].values()} != {k}:
            yield f"{head['name']} has scores of another number of labels than {k}"


def precision_recall(results: Mapping[str, Any]) -> str:
    """Draw the best head's precision-recall curves, one panel a label."""
    best, names = results["heads"][0], results["dataset"]["classes"]
    drawing, side, columns = Drawing("Precision by recall"), 120, 4
    shown = list(zip(names, best["curves"], best["per_label"]["ap"], strict=True))[:CURVES_SHOWN]
    for place, (name, curve, ap) in enumerate(shown):
        left, top = 40 + (side + 50) * (place % columns), 40 + (side + 60) * (place // columns)
        score = "" if ap is None else f" {ap:.2f}"
        drawing.text(left, top - 8, shortened(name, 16) + score)
        for x, y in ((0, 0), (0, 1), (1, 0)):
            drawing.text(left + side * x - 4, top + side * (1 - y) + 4, str(x or y), "end", MUTED)
        drawing.line((left, top), (left, top + side), RULE)
        drawing.line((left, top + side), (left + side, top + side), RULE)
        points = [
            (left + side * x, top + side * (1 - y))
            for x, y in zip(curve["recall"], curve["precision"], strict=True)
        ]
        for start, stop in pairwise(points):
            drawing.line(start, stop, HIT, 2)
    rows = -(-max(1, len(shown)) // columns)
    return drawing.svg(40 + (side + 50) * columns, 40 + (side + 60) * rows)


FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {"precision-recall": precision_recall}


def page_of(
    results: Mapping[str, Any],
    folder: Path,
    stores: Sequence[FeatureSet],
    map_method: str,
    places: Places | None,
    maps: Mapping[tuple[str, str], NDArray[np.uint8]] | None = None,
) -> str:
    """Return the page for checked results and the files beside them; see `report.write_report`."""
    from headstart.report.page import environment

    digest = results["extraction"]["digest"]
    data = next((store for store in stores if store.digest == digest), None)
    best, names = results["heads"][0], results["dataset"]["classes"]
    labels = label_rows(names, best)
    number = {path: row for row, path in enumerate(data.path)} if data else {}
    shown = galleries(
        _errors(folder / artifacts.PREDICTIONS, names),
        names,
        lambda path: _picture(data, number.get(path)),
        {key: data_uri(pixels) for key, pixels in (maps or {}).items()},
    )
    return (
        environment()
        .get_template("label_page.html.j2")
        .render(
            results,
            labels=labels,
            best=best,
            style=stylesheet(),
            kinds=KINDS,
            methods=METHOD,
            several=len(results["backbones"]) > 1,
            tested=results["protocol"]["n_leaked"] < results["protocol"]["n_test"],
            curves=curves_of(labels, best),
            matrix=_matrix(results) if len(names) <= MATRIX_LABELS else [],
            suspects=_suspects(folder / artifacts.LABEL_ISSUES),
            galleries=shown,
            mapped=bool(maps),
            history=_history(tables.read_history(folder / artifacts.HISTORY)),
            backbone=results["extraction"]["document"]["backbone"],
            digest=digest,
        )
    )


def listed_errors(results: Mapping[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Return the path and the label of each error in the galleries of the page."""
    names = results["dataset"]["classes"]
    shown = galleries(_errors(folder / artifacts.PREDICTIONS, names), names, lambda path: "")
    return [
        (error.path, gallery.label)
        for gallery in shown
        for error in (*gallery.extra, *gallery.missed)
    ]


def label_rows(names: Sequence[str], scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table of labels, from the scores of a head or a model."""
    return [
        {"name": name, **{key: values[code] for key, values in scores["per_label"].items()}}
        | {"spark": _points(scores["curves"][code], 60, 18)}
        for code, name in enumerate(names)
    ]


def curves_of(
    labels: Sequence[dict[str, Any]], scores: Mapping[str, Any]
) -> list[tuple[dict[str, Any], str]]:
    """Return the first `label_rows`, each with the points of its curve."""
    return [
        (label, _points(scores["curves"][code], 150, 110)) for code, label in enumerate(labels)
    ][:CURVES_SHOWN]


def stylesheet() -> str:
    """Return the style of the pages."""
    return (Path(__file__).parent / "assets" / "report.css").read_text(encoding="utf-8")


def _points(curve: Mapping[str, Sequence[float]], width: int, height: int) -> str:
    """Return a curve as the points of an SVG polyline."""
    return " ".join(
        f"{width * x:.1f},{height * (1 - y):.1f}"
        for x, y in zip(curve["recall"], curve["precision"], strict=True)
    )


def _matrix(results: Mapping[str, Any]) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return the counts of each pair of labels, and their share of the row's label."""
    counts = results["insights"]["co_occurrence"]
    return [
        (name, [(count, count / max(1, row[code])) for count in row])
        for code, (name, row) in enumerate(zip(results["dataset"]["classes"], counts, strict=True))
    ]


class _Error(NamedTuple):
    path: str
    probability: float
    picture: str
    map: str


class Gallery(NamedTuple):
    """The errors of one label: ``wrong`` of them, and the most confident ones of each kind."""

    label: str
    wrong: int
    extra: list[_Error]
    missed: list[_Error]


def _errors(table: Path, names: Sequence[str]) -> Iterator[tuple[str, str, bool, float]]:
    """Yield the errors of a table of predictions, for `galleries`."""
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            predicted = set(split(row["predicted"], names))
            for name in names:
                true = row[f"true:{name}"]
                if true and (true == "1") != (name in predicted):
                    yield name, row["path"], true == "1", float(row[f"p:{name}"])


def galleries(
    errors: Iterable[tuple[str, str, bool, float]],
    names: Sequence[str],
    picture: Callable[[str], str],
    maps: Mapping[tuple[str, str], str] | None = None,
) -> list[Gallery]:
    """Return the most confident errors of the labels that have most of them.

    An error is a label, a path, whether the image has the label, and its probability; ``picture``
    returns a data URI by path, and ``maps`` has some by path and label.
    """
    extra: dict[str, list[tuple[float, str]]] = {name: [] for name in names}
    missed: dict[str, list[tuple[float, str]]] = {name: [] for name in names}
    for name, path, present, p in errors:
        (missed if present else extra)[name].append((p if present else -p, path))
    ranked = sorted(names, key=lambda name: -len(extra[name]) - len(missed[name]))
    return [
        Gallery(
            name,
            len(extra[name]) + len(missed[name]),
            *(
                [
                    _Error(path, abs(p), picture(path), (maps or {}).get((path, name), ""))
                    for p, path in sorted(own[name])[:GALLERY]
                ]
                for own in (extra, missed)
            ),
        )
        for name in ranked[:GALLERY_LABELS]
        if extra[name] or missed[name]
    ]


def _history(columns: Mapping[str, Sequence[float | None]]) -> list[dict[str, float | None]]:
    """Return the epochs of a fine-tuning as rows."""
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _suspects(table: Path) -> list[dict[str, str]]:
    """Return the first rows of ``label_issues.csv``."""
    with table.open(encoding="utf-8", newline="") as file:
        return list(islice(csv.DictReader(file), SUSPECTS_SHOWN))


def _picture(data: FeatureSet | None, row: int | None) -> str:
    """Return a thumbnail as a data URI; empty if there is none."""
    from headstart.datasets.images.thumbnails import thumbnail

    return data_uri(None if data is None or row is None else thumbnail(data, row, SIDE))


def data_uri(pixels: NDArray[np.uint8] | None) -> str:
    """Return a thumbnail as a data URI; empty if there is none."""
    from headstart.datasets.images.thumbnails import webp

    if pixels is None:
        return ""
    return "data:image/webp;base64," + base64.b64encode(webp(pixels)).decode("ascii")
