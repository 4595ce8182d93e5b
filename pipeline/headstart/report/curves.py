"""The curves of a training as an SVG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from headstart.report import figures
from headstart.report.plots import _HIT, _MISS, _MUTED, _RULE, _line, _svg, _text

_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 48, 420, 240


def draw(epochs: Sequence[Mapping[str, float]], best: int) -> str:
    """Draw training and validation accuracy by epoch; the best epoch is marked.

    Args:
        epochs: the records of ``history.json``, from epoch 0, which has no training accuracy.
        best: the epoch whose weights were kept.
    """
    trained = [(one["epoch"], one["train_accuracy"]) for one in epochs if one["epoch"]]
    validated = [(one["epoch"], one["validation_accuracy"]) for one in epochs]
    axis = figures.axis([value for _, value in [*trained, *validated]])
    last = max(1, int(epochs[-1]["epoch"]))

    def at(epoch: float, value: float) -> tuple[float, float]:
        share = (value - axis.low) / (axis.high - axis.low)
        return _LEFT + _WIDTH * epoch / last, _TOP + _HEIGHT * (1 - share)

    parts = [_text(12, 22, "Accuracy by epoch; training images are shown in augmented views")]
    for tick in axis.ticks:
        _, y = at(0, tick)
        parts += [
            _line(_LEFT, y, _LEFT + _WIDTH, y, _RULE),
            _text(_LEFT - 8, y + 4, f"{100 * tick:.0f} %", "end", _MUTED),
        ]
    for epoch in range(0, last + 1, max(1, last // 10)):
        x, _ = at(epoch, axis.low)
        parts.append(_text(x, _TOP + _HEIGHT + 18, str(epoch), "middle", _MUTED))
    for name, points, colour in (("training", trained, _MISS), ("validation", validated, _HIT)):
        path = [at(*point) for point in points]
        for start, end in pairwise(path):
            parts.append(_line(*start, *end, colour, 2))
        if path:
            parts.append(_text(path[-1][0] + 8, path[-1][1] + 4, name, "start", colour))
    x, y = at(*validated[best])
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{_HIT}"/>')
    parts.append(_text(_LEFT, _TOP + _HEIGHT + 40, f"Kept: epoch {best}", "start", _MUTED))
    return _svg(_LEFT + _WIDTH + 100, _TOP + _HEIGHT + 56, "Training curves", parts)
