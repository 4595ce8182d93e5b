"""Records of the images to label next: ``headstart suggest --json``.

Intervals are 95 % intervals.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from headstart.core.results import Count, Interval, Remark, Share
from headstart.core.targets import SINGLE_LABEL

GO_ON, MORE_AT_ONCE, STOP = "label", "label more at once", "stop"


@dataclass(frozen=True)
class GuessedLabel:
    """One of several labels that an image probably has."""

    label: str
    confidence: Share


@dataclass(frozen=True)
class SuggestedImage:
    """One image to label.

    Attributes:
        label: the guess, several labels with ``|`` between them; empty where no model could be
            asked, and for none of several labels.
        confidence: its probability; of several labels, that of the least sure, and of none of them,
            what the most probable one leaves. None where no model could be asked.
        margin: small if the model is in doubt: by how much the guess exceeds the next one; with
            several labels, 0 for the image of most doubt and 1 for none.
        labels: of images that may have several labels, the guessed ones.
    """

    path: str
    label: str = ""
    confidence: Share | None = None
    margin: Share | None = None
    labels: list[GuessedLabel] | None = None


@dataclass(frozen=True)
class Forecast:
    """What the learning curve expects of more labels, as if they were drawn at random.

    Attributes:
        labelled: images with labels that the curve was measured on.
        score: what the curve is of: ``accuracy``, or ``mean average precision``.
        accuracy: at present, on the fitted curve, and ``accuracy_then`` with ``more`` labels.
        gain: the difference, in shares; ``gain_ci`` is its interval.
        noise: the gain that forecasts are off by where there is none: half a standard error.
        verdict: `GO_ON`, `MORE_AT_ONCE` if only more images than these are expected to gain more
            than the noise, or `STOP` if even twice the labels bring less than a point.
        enough: the smallest number of further labels whose gain exceeds the noise; None to stop.
        text: the same as a sentence.
    """

    labelled: Count
    score: str
    accuracy: Share
    more: Count
    accuracy_then: Share
    gain: float
    gain_ci: Interval
    noise: Share
    verdict: str
    enough: Count | None
    text: str


@dataclass(frozen=True)
class Suggestions:
    """Which unlabelled images to label next, in the order of their importance.

    Attributes:
        data: the store that they are in.
        strategy: one of `core.choices.STRATEGIES`, and never ``auto``; ``method`` is a sentence.
        guesser: what guessed the labels; empty if nothing could.
        classes: that guesses are from.
        target: `core.targets.SINGLE_LABEL` or `MULTI_LABEL`.
        imported: whether another program computed the features, so that there are no images.
        unlabelled: images to choose from; ``repeated`` others are copies of these or of labelled
            ones.
        labelled: images with a label, outside the test split.
        forecast: None where there are too few labels for a learning curve.
    """

    data: str
    strategy: str
    method: str
    guesser: str
    classes: tuple[str, ...]
    unlabelled: Count
    repeated: Count
    labelled: Count
    images: list[SuggestedImage]
    forecast: Forecast | None = None
    target: str = SINGLE_LABEL
    imported: bool = False
    remarks: list[Remark] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        return {"schema": 1} | dataclasses.asdict(self)
