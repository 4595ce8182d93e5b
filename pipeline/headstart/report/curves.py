"""Training curves as an SVG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from headstart.report import figures
from headstart.report.svg import HIT, MISS, MUTED, Drawing, Frame


def draw(epochs: Sequence[Mapping[str, float]], best: int) -> str:
    """Draw training and validation accuracy by epoch, and mark the best epoch, which was kept.

    ``epochs`` are the records of ``history.json``, from epoch 0, which has no training accuracy.
    """
    training = [(epoch["epoch"], epoch["train_accuracy"]) for epoch in epochs if epoch["epoch"]]
    validation = [(epoch["epoch"], epoch["validation_accuracy"]) for epoch in epochs]
    axis = figures.axis([accuracy for _, accuracy in [*training, *validation]])
    frame = Frame(60, 48, 420, 240, axis)
    last = max(1, int(epochs[-1]["epoch"]))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return frame.x(point[0] / last), frame.y(point[1])

    drawing = Drawing("Training curves")
    drawing.text(12, 22, "Accuracy by epoch; training images are augmented")
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
