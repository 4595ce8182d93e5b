"""The comparison of a batch with the training images, as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from headstart.core.errors import count, one_line

if TYPE_CHECKING:
    from headstart.core.drift import ClassShare, Drift, Measured

WIDTH = 80
CLASSES = 20  # shown; of more, those whose share changed most
NAME = 24  # characters of a class


def lines(drift: Drift) -> Iterator[str]:
    """Yield the lines, none longer than `WIDTH` but for names of files."""
    images = count(drift.images, "image")
    if drift.independent < drift.images - 0.5:
        images += f", worth {drift.independent:,.0f} independent ones"
    if drift.failed:
        images += f"; {drift.failed:,} could not be used"
    yield from _folded(f"{one_line(drift.data)}: {images}")
    yield from _folded(f"verdict: {drift.verdict}")
    for test in drift.tests:
        mark = "DIFFERS" if test.differs else "alike"
        yield from _folded(f"  {test.name:<11}{mark:<8} {_p(test.p):<10} {test.text}", 32)
    if drift.unlike is not None:
        yield f"unlike any training image: {_measured(drift.unlike)}"
    if drift.confidence is not None:
        yield f"mean confidence: {_measured(drift.confidence)}"
    yield from _shares(drift.classes)
    if drift.unusual:
        yield "most unusual images:"
    for image in drift.unusual:
        facts = ["unlike"] if image.unlike else []
        facts += [f"distance {image.distance:.3f}"] if image.distance is not None else []
        facts += [f"{image.confidence:.0%} sure"] if image.confidence is not None else []
        yield f"  {one_line(image.path)}: {one_line(image.label) or '–'} ({', '.join(facts)})"
    for remark in drift.remarks:
        yield from _folded(f"remark {remark.code}: {remark.text}")
    for gate in drift.gates:
        yield from _folded(f"{'passed' if gate.passed else 'FAILED'}: {gate.text}")


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"


def _folded(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent, break_long_words=False)


def _measured(value: Measured) -> str:
    low, high = value.interval
    expected = f", {value.expected:.1%} expected" if value.expected is not None else ""
    return f"{value.value:.1%} ({100 * low:.1f}–{100 * high:.1f}){expected}"


def _shares(classes: Sequence[ClassShare]) -> Iterator[str]:
    """Yield a table of the classes' shares, in percent."""
    if len(classes) > CLASSES:
        yield f"the {CLASSES} classes of {len(classes):,} whose share changed most:"
        classes = sorted(classes, key=lambda c: -abs(c.answered - (c.answered_training or 0)))
    shown = [one_line(entry.label) for entry in classes[:CLASSES]]
    width = max(5, *(min(len(name), NAME) for name in shown))
    estimated = any(entry.estimated is not None for entry in classes)
    header = f"{'class':<{width}} {'answers':>8} {'training':>9} {'labels':>8}"
    yield header + ("   true share, estimated" if estimated else "")
    for name, entry in zip(shown, classes, strict=False):
        cells = [entry.answered, entry.answered_training, entry.training]
        texts = ["–" if value is None else f"{value:.1%}" for value in cells]
        short = name if len(name) <= NAME else f"{name[: NAME - 1]}…"
        line = f"{short:<{width}} {texts[0]:>8} {texts[1]:>9} {texts[2]:>8}"
        if entry.estimated is not None and entry.estimated_ci is not None:
            low, high = entry.estimated_ci
            line += f"   {entry.estimated:>8.1%} ({100 * low:.1f}–{100 * high:.1f})"
        yield line
