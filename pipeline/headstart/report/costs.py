"""Accuracy against cost of several backbones, as an SVG file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from headstart.report import figures
from headstart.report.plots import _HIT, _MISS, _MUTED, _RULE, _line, _svg, _text

_LEFT, _TOP, _WIDTH, _HEIGHT = 64, 56, 460, 320
_LEGEND, _ROW = 540, 18
_LONGEST = 54  # of a name, in letters as wide as capitals
_STEPS = (1, 2, 5)  # of the logarithmic axis


def draw(document: Mapping[str, Any]) -> str:
    """Draw a dot with its interval for every backbone, numbered as in the legend.

    Args:
        document: what `headstart.evaluation.backbone_choice.Chosen.to_json` returned.
    """
    tried = document["tried"]
    axis = figures.axis([end for one in tried for end in one["interval"]])
    ticks = _ticks([one["images_per_second"] for one in tried])
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def x(speed: float) -> float:
        return _LEFT + _WIDTH * (math.log(speed) - low) / (high - low)

    def y(accuracy: float) -> float:
        return _TOP + _HEIGHT * (1 - (accuracy - axis.low) / (axis.high - axis.low))

    title = (
        f"Accuracy against speed: {document['images']:,} images of {document['source']}, "
        f"{document['classes']:,} classes"
    )
    parts = [
        _text(12, 22, title),
        _text(12, 40, "Cross-validated accuracy of logistic regression, with 95 % intervals; "
              "a ring: no other one is both faster and as accurate", "start", _MUTED),
    ]  # fmt: skip
    for tick in axis.ticks:
        parts += [
            _line(_LEFT, y(tick), _LEFT + _WIDTH, y(tick), _RULE),
            _text(_LEFT - 8, y(tick) + 4, f"{100 * tick:.0f} %", "end", _MUTED),
        ]
    for tick in ticks:
        parts += [
            _line(x(tick), _TOP, x(tick), _TOP + _HEIGHT, _RULE),
            _text(x(tick), _TOP + _HEIGHT + 18, f"{tick:g}", "middle", _MUTED),
        ]
    foot = _TOP + _HEIGHT + 38
    parts.append(
        _text(_LEFT + _WIDTH / 2, foot, "images/s on this machine (logarithmic)", "middle", _MUTED)
    )
    for number, one in enumerate(tried, 1):
        colour = _MISS if one["verdict"] == "worse" else _HIT
        at, height = x(one["images_per_second"]), y(one["accuracy"])
        ends = (y(end) for end in one["interval"])
        parts.append(_line(at, next(ends), at, next(ends), colour, 2))
        if one["efficient"]:
            parts.append(f'<circle cx="{at:.1f}" cy="{height:.1f}" r="12" fill="none"'
                         f' stroke="{colour}"/>')  # fmt: skip
        parts.append(f'<circle cx="{at:.1f}" cy="{height:.1f}" r="9" fill="{colour}"/>')
        parts.append(_text(at, height + 4, str(number), "middle", "#fff", ' font-size="11"'))
        row = _TOP + _ROW * number
        name = str(one["name"])
        words = f"{number}  {name if len(name) <= _LONGEST else name[: _LONGEST - 1] + '…'}"
        parts.append(_text(_LEFT + _WIDTH + 24, row, words, "start", colour))
        told = f"{100 * one['accuracy']:.1f} %, {one['images_per_second']:.0f}/s"
        parts.append(_text(_LEFT + _WIDTH + 24 + _LEGEND, row, told, "end", _MUTED))
    bottom = max(foot, _TOP + _ROW * len(tried)) + 18
    return _svg(_LEFT + _WIDTH + _LEGEND + 40, bottom, "Accuracy against cost", parts)


def _ticks(speeds: list[float]) -> list[float]:
    """Return round numbers, the first below and the last above all speeds."""
    first = math.floor(math.log10(min(speeds)))
    last = math.ceil(math.log10(max(speeds))) + 1
    every = [step * 10.0**power for power in range(first, last) for step in _STEPS]
    below = max(tick for tick in every if tick <= min(speeds))
    above = min(tick for tick in [*every, 10.0**last] if tick > max(speeds))
    return [tick for tick in [*every, 10.0**last] if below <= tick <= above]
