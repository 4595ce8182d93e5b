"""Training curves as an SVG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from headstart.report import figures
from headstart.report.svg import HIT, MISS, MUTED, Drawing, Frame

TITLES = {"accuracy": "Accuracy", "map": "Mean average precision"}


def draw(epochs: Sequence[Mapping[str, float]], best: int, score: str = "accuracy") -> str:
    """Draw training and validation score by epoch, and mark the best epoch, which was kept.

    ``epochs`` are the records of ``history.json``, from epoch 0, which has no training score;
    ``score`` is one of `TITLES`.
    """
    training = [(epoch["epoch"], epoch[f"train_{score}"]) for epoch in epochs if epoch["epoch"]]
    validation = [(epoch["epoch"], epoch[f"validation_{score}"]) for epoch in epochs]
    axis = figures.axis([value for _, value in [*training, *validation]])
    frame = Frame(60, 48, 420, 240, axis)
    last = max(1, int(epochs[-1]["epoch"]))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return frame.x(point[0] / last), frame.y(point[1])

    drawing = Drawing("Training curves")
    drawing.text(12, 22, f"{TITLES[score]} by epoch; training images are augmented")
    frame.grid(drawing)
    for epoch in range(0, last + 1, max(1, last // 10)):
        drawing.text(frame.x(epoch / last), frame.bottom + 18, str(epoch), "middle", MUTED)
    for name, points, colour in (("training", training, MISS), ("validation", validation, HIT)):
        path = [place(point) for point in points]
        for start, end in pairwise(path):
            drawing.line(start, end, colour, 2)
        if path:
            drawing.text(path[-1][0] + 8, path[-1][1] + 4, name, colour=colour)
    drawing.dot(*place(validation[best]), HIT)
    drawing.text(frame.left, frame.bottom + 40, f"Best epoch: {best}", colour=MUTED)
    return drawing.svg(frame.right + 100, frame.bottom + 56)
