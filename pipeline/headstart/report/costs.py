"""Accuracy against cost of several backbones, as an SVG file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from headstart.report import figures
from headstart.report.svg import HIT, MISS, MUTED, RULE, Drawing, Frame, shortened

_LEGEND, _ROW = 540, 18
_LONGEST = 54  # largest width of a name, in capital letters
_METRICS = {"accuracy": ("accuracy", "classes"), "map": ("mean average precision", "labels")}
_STEPS = (1, 2, 5)  # ticks of the logarithmic axis within a decade


def draw(document: Mapping[str, Any]) -> str:
    """Draw a dot with its interval for every backbone, numbered as in the legend.

    ``document`` comes from `headstart.evaluation.backbone_choice.Chosen.to_json`.
    """
    tried, metric = document["tried"], document.get("metric", "accuracy")
    words, classes = _METRICS[metric]
    axis = figures.axis([bound for backbone in tried for bound in backbone["interval"]])
    frame = Frame(64, 56, 460, 320, axis)
    ticks = _ticks([backbone["images_per_second"] for backbone in tried])
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def x(speed: float) -> float:
        return frame.x((math.log(speed) - low) / (high - low))

    drawing = Drawing(f"{words.capitalize()} against speed")
    drawing.text(
        12,
        22,
        f"{words.capitalize()} against speed: {document['images']:,} images of "
        f"{document['source']}, {document['classes']:,} {classes}",
    )
    drawing.text(
        12,
        40,
        f"Cross-validated {words} of logistic regression, with 95 % intervals; "
        "ringed: Pareto-optimal (no other is faster and at least as good)",
        colour=MUTED,
    )
    frame.grid(drawing)
    for tick in ticks:
        drawing.line((x(tick), frame.top), (x(tick), frame.bottom), RULE)
        drawing.text(x(tick), frame.bottom + 18, f"{tick:g}", "middle", MUTED)
    foot = frame.bottom + 38
    drawing.text(
        frame.x(0.5), foot, "Images per second on this machine (logarithmic)", "middle", MUTED
    )
    for number, backbone in enumerate(tried, 1):
        colour = MISS if backbone["verdict"] == "worse" else HIT
        along, height = x(backbone["images_per_second"]), frame.y(backbone[metric])
        worst, best = (frame.y(bound) for bound in backbone["interval"])
        drawing.line((along, worst), (along, best), colour, 2)
        if backbone["efficient"]:
            drawing.ring(along, height, colour, 12)
        drawing.dot(along, height, colour, 9)
        drawing.text(along, height + 4, str(number), "middle", "#fff")
        row, left = frame.top + _ROW * number, frame.right + 24
        name = shortened(str(backbone["name"]), _LONGEST)
        drawing.text(left, row, f"{number}  {name}", colour=colour)
        figure = f"{100 * backbone[metric]:.1f} %, {backbone['images_per_second']:.0f}/s"
        drawing.text(left + _LEGEND, row, figure, "end", MUTED)
    bottom = max(foot, frame.top + _ROW * len(tried)) + 18
    return drawing.svg(frame.right + _LEGEND + 40, bottom)


def _ticks(speeds: list[float]) -> list[float]:
    """Return round numbers, the first below and the last above all speeds."""
    first = math.floor(math.log10(min(speeds)))
    last = math.ceil(math.log10(max(speeds))) + 1
    every = [step * 10.0**power for power in range(first, last) for step in _STEPS]
    below = max(tick for tick in every if tick <= min(speeds))
    above = min(tick for tick in [*every, 10.0**last] if tick > max(speeds))
    return [tick for tick in [*every, 10.0**last] if below <= tick <= above]
