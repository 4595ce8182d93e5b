"""The figures of a comparison as SVG files: what slides and papers want beside a page.

Each is a text that any browser or vector editor opens; nothing is drawn that ``results.json`` does
not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from headstart.report import figures, formatting

MATRIX_CLASSES = 40  # with more, the most confused pairs are drawn
PAIRS = 20
LONGEST = 28  # characters of a label

_INK, _MUTED, _RULE, _HIT, _MISS = "#1c2024", "#5a626b", "#dcddd8", "#2670a0", "#ce5c24"
_ROW = 26  # height of a line of the plot, in pixels
_LABELS = 230  # width kept for labels on the left
_CHART = 420  # width of a chart


def heads(results: Mapping[str, Any]) -> str:
    """Draw the test accuracy of every head and baseline with its 95 % interval."""
    several = len(results["backbones"]) > 1
    rows = [*results["heads"], *results["baselines"]]
    axis = figures.axis([x for r in rows for x in (r["test_accuracy"], *r["test_accuracy_ci"])])

    def at(value: float) -> float:
        return _LABELS + _CHART * (value - axis.low) / (axis.high - axis.low)

    bottom = 40 + _ROW * len(rows)
    parts = [_text(_LABELS, 20, f"Accuracy on {results['protocol']['n_test']:,} test images, 95 %")]
    for tick in axis.ticks:
        parts += [
            _line(at(tick), 32, at(tick), bottom, _RULE),
            _text(at(tick), bottom + 18, f"{100 * tick:.0f} %", "middle", _MUTED),
        ]
    for number, row in enumerate(rows):
        y, (low, high) = 32 + _ROW * (number + 0.5), row["test_accuracy_ci"]
        colour = _HIT if row["verdict"] == "best" else _MUTED
        name = formatting.label(row["title"])
        label = f"{name} · {row['backbone']}" if several and row["backbone"] else name
        parts += [
            _text(_LABELS - 12, y + 4, _short(label), "end"),
            _line(at(low), y, at(high), y, colour, 2),
            f'<circle cx="{at(row["test_accuracy"]):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>',
            _text(_LABELS + _CHART + 16, y + 4, row["verdict"], "start", _MUTED),
        ]
    return _svg(_LABELS + _CHART + 80, bottom + 32, "Test accuracy of the heads", parts)


def confusion(results: Mapping[str, Any]) -> str:
    """Draw the best head's confusion matrix, or with many classes its most confused pairs."""
    classes, best = results["dataset"]["classes"], results["heads"][0]
    found = figures.cells(best["confusion"])
    title = f"What {best['title']} takes for what, counts of test images"
    if len(classes) > MATRIX_CLASSES:
        return _pairs(figures.confusions(classes, found)[:PAIRS], title)
    side, top = 30, 150
    parts = [_text(12, 22, title)]
    for i, (name, row) in enumerate(figures.matrix(classes, found)):
        x, y = _LABELS + side * i, top + side * i
        parts.append(_text(_LABELS - 8, y + side / 2 + 4, _short(name), "end"))
        turned = f' transform="rotate(-60 {x + side / 2:.1f} {top - 8})"'
        parts.append(_text(x + side / 2, top - 8, _short(name), "start", extra=turned))
        for j, (count, kind, share) in enumerate(row):
            colour, strength = (_HIT if kind == "hit" else _MISS), float(share) if count else 0.0
            parts.append(
                f'<rect x="{_LABELS + side * j}" y="{y}" width="{side - 1}" height="{side - 1}"'
                f' fill="{colour}" fill-opacity="{0.75 * strength:.3f}"/>'
            )
            if count:
                middle = _LABELS + side * j + side / 2
                parts.append(_text(middle, y + side / 2 + 4, str(count), "middle"))
    size = side * len(classes)
    return _svg(_LABELS + size + 110, top + size + 16, title, parts)


def reliability(results: Mapping[str, Any]) -> str:
    """Draw the best head's accuracy against its confidence, and how many images lie where."""
    best, side, left, top = results["heads"][0], 360, 60, 44
    bins = best["reliability"]
    width, most = side / len(bins["images"]), max(bins["images"])
    error = formatting.number(best["ece"])
    title = f"Reliability of {best['title']}, calibration error {error}"

    def down(share: float) -> float:
        return top + side * (1 - share)

    parts = [_text(12, 22, title), _line(left, down(0), left + side, down(1), _MUTED, dash=True)]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [
            _line(left, down(tick), left + side, down(tick), _RULE),
            _text(left - 8, down(tick) + 4, f"{tick:g}", "end", _MUTED),
            _text(left + side * tick, down(0) + 18, f"{tick:g}", "middle", _MUTED),
        ]
    for number, (count, confident, right) in enumerate(
        zip(bins["images"], bins["confidence"], bins["accuracy"], strict=True)
    ):
        if count:
            x, height = left + width * number, 60 * count / most
            parts += [
                f'<rect x="{x:.1f}" y="{down(0) + 30:.1f}" width="{width - 1:.1f}"'
                f' height="{height:.1f}" fill="{_RULE}"/>',
                _line(
                    left + side * confident,
                    down(confident),
                    left + side * confident,
                    down(right),
                    _MISS,
                    1.5,
                ),
                f'<circle cx="{left + side * confident:.1f}" cy="{down(right):.1f}" r="4.5"'
                f' fill="{_HIT}"/>',
            ]
    parts += [
        _text(left + side / 2, down(0) + 112, "Confidence; below it, how many images", "middle"),
        _text(left + side + 8, down(1) + 4, "Accuracy", "start", _MUTED),
    ]
    return _svg(left + side + 80, down(0) + 126, title, parts)


def learning_curve(results: Mapping[str, Any]) -> str:
    """Draw accuracy against the number of images, the fitted law, and what doubling would bring."""
    curve = results["insights"].get("learning_curve")
    points = curve["points"] if curve else []
    if not points:
        return _svg(420, 48, "Learning curve", [_text(12, 28, "No learning curve was measured.")])
    doubling, law = curve["doubling"], curve["fit"]
    shown = [*points, *([doubling] if doubling else [])]
    axis = figures.axis([x for p in shown for x in (p["accuracy"], *p["accuracy_ci"])])
    first, last = shown[0]["images"], shown[-1]["images"]
    left, top, height = 60, 44, 260

    def at(images: float, accuracy: float) -> tuple[float, float]:
        along = math.log(images / first) / (math.log(last / first) or 1.0)
        up = (accuracy - axis.low) / (axis.high - axis.low)
        return left + _CHART * along, top + height * (1 - min(max(up, 0.0), 1.0))

    title = f"Learning curve of {figures.title(results, curve['head'])}, 95 % intervals"
    parts = [_text(12, 22, title)]
    for tick in axis.ticks:
        y = at(first, tick)[1]
        parts += [
            _line(left, y, left + _CHART, y, _RULE),
            _text(left - 8, y + 4, f"{100 * tick:.0f} %", "end", _MUTED),
        ]
    if law:
        sizes = [first * (last / first) ** (i / 60) for i in range(61)]
        drawn = [at(n, law["ceiling"] - law["scale"] * n ** -law["exponent"]) for n in sizes]
        parts += [_line(*one, *other, _MUTED) for one, other in pairwise(drawn)]
    for point in shown:
        ahead = point is doubling
        x, y = at(point["images"], point["accuracy"])
        low, high = (at(point["images"], bound)[1] for bound in point["accuracy_ci"])
        parts += [
            _line(x, low, x, high, _MISS if ahead else _HIT, 2),
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{_MISS if ahead else _HIT}"/>',
            _text(x, top + height + 18, f"{point['images']:,.0f}", "middle", _MUTED),
        ]
    below = "Images that are fitted on"
    if doubling:
        below += f"; expected of twice as many: {100 * doubling['accuracy']:.1f} %"
    parts.append(_text(left + _CHART / 2, top + height + 42, below, "middle"))
    return _svg(left + _CHART + 50, top + height + 58, title, parts)


FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "heads": heads,
    "confusion": confusion,
    "reliability": reliability,
    "learning-curve": learning_curve,
}
"""What is drawn, by the name of the file."""


def _pairs(pairs: Sequence[figures.Confusion], title: str) -> str:
    most = max((pair.times for pair in pairs), default=1)
    parts = [_text(12, 22, title)]
    for number, pair in enumerate(pairs):
        y = 40 + _ROW * number
        label = f"{_short(pair.true)} → {_short(pair.predicted)}"
        parts += [
            _text(2 * _LABELS - 12, y + 15, label, "end"),
            f'<rect x="{2 * _LABELS}" y="{y + 3}" width="{200 * pair.times / most:.1f}"'
            f' height="{_ROW - 8}" fill="{_MISS}" fill-opacity="0.7"/>',
            _text(
                2 * _LABELS + 208, y + 15, f"{pair.times:,} of {pair.support:,}", "start", _MUTED
            ),
        ]
    return _svg(2 * _LABELS + 300, 52 + _ROW * max(1, len(pairs)), title, parts)


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" role="img" aria-label={_quoted(title)}'
        ' font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _text(
    x: float, y: float, text: str, anchor: str = "start", colour: str = _INK, extra: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}>'
        f"{escape(str(formatting.printable(text)))}</text>"
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: bool = False
) -> str:
    dashes = ' stroke-dasharray="3 4"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
        f' stroke-width="{width:g}"{dashes}/>'
    )


def _quoted(text: str) -> str:
    return quoteattr(str(formatting.printable(text)))


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
