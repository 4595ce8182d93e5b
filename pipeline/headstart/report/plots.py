"""The figures of a comparison as SVG files, for slides and papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from headstart.report import figures, formatting, points
from headstart.report.svg import HIT, MISS, MUTED, RULE, Drawing, Frame, shortened

MATRIX_CLASSES = 40  # with more, the most confused pairs are drawn
PAIRS = 20
LONGEST = 28  # characters of a label

_ROW = 26  # height of a line of the plot, in pixels
_LABELS = 230  # width kept for labels on the left
_CHART = 420  # width of a chart


def heads(results: Mapping[str, Any]) -> str:
    """Draw the test accuracy of every head and baseline with its 95 % interval."""
    several = len(results["backbones"]) > 1
    rows = [*results["heads"], *results["baselines"]]
    axis = figures.axis([x for r in rows for x in (r["test_accuracy"], *r["test_accuracy_ci"])])

    def x(accuracy: float) -> float:
        return _LABELS + _CHART * (accuracy - axis.low) / (axis.high - axis.low)

    bottom = 40 + _ROW * len(rows)
    drawing = Drawing("Test accuracy of the heads")
    title = f"Accuracy on {figures.scored(results['protocol'])}, with 95 % intervals"
    drawing.text(_LABELS, 20, title)
    for tick in axis.ticks:
        drawing.line((x(tick), 32), (x(tick), bottom), RULE)
        drawing.text(x(tick), bottom + 18, f"{100 * tick:.0f} %", "middle", MUTED)
    for number, row in enumerate(rows):
        y, (low, high) = 32 + _ROW * (number + 0.5), row["test_accuracy_ci"]
        colour = HIT if row["verdict"] == "best" else MUTED
        name = formatting.label(row["title"])
        label = f"{name} · {row['backbone']}" if several and row["backbone"] else name
        drawing.text(_LABELS - 12, y + 4, shortened(label, LONGEST), "end")
        drawing.line((x(low), y), (x(high), y), colour, 2)
        drawing.dot(x(row["test_accuracy"]), y, colour)
        drawing.text(_LABELS + _CHART + 16, y + 4, row["verdict"], "start", MUTED)
    return drawing.svg(_LABELS + _CHART + 80, bottom + 32)


def confusion(results: Mapping[str, Any]) -> str:
    """Draw the best head's confusion matrix, or with many classes its most confused pairs."""
    classes, best = results["dataset"]["classes"], results["heads"][0]
    cells = figures.cells(best["confusion"])
    if len(classes) > MATRIX_CLASSES:
        return _pairs(figures.confusions(classes, cells)[:PAIRS], best["title"])
    drawing = Drawing(f"Confusion matrix, {best['title']}")
    drawing.text(12, 22, f"Confusion matrix, {best['title']}: counts of images")
    side, top = 30, 150
    for i, (name, row) in enumerate(figures.matrix(classes, cells)):
        x, y = _LABELS + side * i, top + side * i
        drawing.text(_LABELS - 8, y + side / 2 + 4, shortened(name, LONGEST), "end")
        drawing.text(x + side / 2, top - 8, shortened(name, LONGEST), turned=True)
        for j, (count, kind, share) in enumerate(row):
            colour, strength = (HIT if kind == "hit" else MISS), float(share) if count else 0.0
            left = _LABELS + side * j
            drawing.bar(left, y, side - 1, side - 1, colour, 0.75 * strength)
            if count:
                drawing.text(left + side / 2, y + side / 2 + 4, str(count), "middle")
    size = side * len(classes)
    return drawing.svg(_LABELS + size + 110, top + size + 16)


def reliability(results: Mapping[str, Any]) -> str:
    """Draw the best head's accuracy by confidence with its interval, and the number of images."""
    best, side, left, top = results["heads"][0], 360, 60, 44
    bins = best["reliability"]
    width, most = side / len(bins["images"]), max(bins["images"])
    foot = top + side
    error = formatting.number(best["ece"])
    drawing = Drawing(f"Reliability diagram, {best['title']}")
    title = f"Reliability diagram, {best['title']}: expected calibration error {error}"
    drawing.text(12, 22, title)
    drawing.line((left, foot), (left + side, top), dashed=True)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = foot - side * tick
        drawing.line((left, y), (left + side, y), RULE)
        drawing.text(left - 8, y + 4, f"{tick:g}", "end", MUTED)
        drawing.text(left + side * tick, foot + 18, f"{tick:g}", "middle", MUTED)
    for number, count in enumerate(bins["images"]):
        if count:
            drawing.bar(left + width * number, foot + 30, width - 1, 60 * count / most, RULE)
    for point in points.reliability(bins):
        x = left + side * point.x
        drawing.line((x, foot - side * point.low), (x, foot - side * point.high), HIT, 1.5)
        drawing.dot(x, foot - side * point.accuracy, HIT)
    axis = "Predicted probability; lines: 95 % intervals; bars: number of images"
    drawing.text(left + side / 2, foot + 112, axis, "middle")
    drawing.text(left + side + 8, top + 4, "Accuracy", "start", MUTED)
    return drawing.svg(left + side + 80, foot + 126)


def learning_curve(results: Mapping[str, Any]) -> str:
    """Draw accuracy by number of training images, the fitted law and the forecast with its band."""
    curve = results["insights"]["learning_curve"]
    measured = curve["points"] if curve else []
    if not measured:
        drawing = Drawing("Learning curve")
        drawing.text(12, 28, "No learning curve was measured.")
        return drawing.svg(420, 48)
    doubling, law = curve["doubling"], curve["fit"]
    shown = [*measured, *([doubling] if doubling else [])]
    axis = figures.axis([x for p in shown for x in (p["accuracy"], *p["accuracy_ci"])])
    first, last = shown[0]["images"], shown[-1]["images"]
    frame = Frame(60, 44, _CHART, 260, axis)

    def x(images: float) -> float:
        return frame.x(math.log(images / first) / (math.log(last / first) or 1.0))

    title = f"Learning curve, {figures.title(results, curve['head'])}"
    drawing = Drawing(title)
    drawing.text(12, 22, f"{title}, with 95 % intervals")
    frame.grid(drawing)
    band = [(x(p.x), frame.y(p.low), frame.y(p.high)) for p in points.forecast(curve)]
    drawing.band(band, MISS)
    if law:
        sizes = [first * (last / first) ** (i / 60) for i in range(61)]
        heights = [frame.y(law["ceiling"] - law["scale"] * n ** -law["exponent"]) for n in sizes]
        for start, end in pairwise(zip(map(x, sizes), heights, strict=True)):
            drawing.line(start, end)
    for point in shown:
        colour = MISS if point is doubling else HIT
        along, (low, high) = x(point["images"]), map(frame.y, point["accuracy_ci"])
        drawing.line((along, low), (along, high), colour, 2)
        drawing.dot(along, frame.y(point["accuracy"]), colour)
        images = f"{point['images']:,.0f}"
        drawing.text(along, frame.bottom + 18, images, "middle", MUTED)
    below = "Training images"
    if doubling:
        below += f"; forecast for twice as many: {100 * doubling['accuracy']:.1f} %"
    drawing.text(frame.x(0.5), frame.bottom + 42, below, "middle")
    return drawing.svg(frame.right + 50, frame.bottom + 58)


FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "heads": heads,
    "confusion": confusion,
    "reliability": reliability,
    "learning-curve": learning_curve,
}
"""The figures by the name of their file."""


def _pairs(pairs: Sequence[figures.Confusion], head: str) -> str:
    most = max((pair.times for pair in pairs), default=1)
    drawing = Drawing(f"Most confused classes, {head}")
    drawing.text(12, 22, f"Most confused classes, {head}: counts of images")
    left = 2 * _LABELS
    for number, pair in enumerate(pairs):
        y = 40 + _ROW * number
        label = f"{shortened(pair.true, LONGEST)} → {shortened(pair.predicted, LONGEST)}"
        drawing.text(left - 12, y + 15, label, "end")
        drawing.bar(left, y + 3, 200 * pair.times / most, _ROW - 8, MISS, 0.7)
        drawing.text(left + 208, y + 15, f"{pair.times:,} of {pair.support:,}", "start", MUTED)
    return drawing.svg(left + 300, 52 + _ROW * max(1, len(pairs)))
