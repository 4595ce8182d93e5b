"""Records of a batch compared with a model's training images: ``headstart drift --json``.

Intervals are 95 % intervals for other images of the same kind as the batch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from headstart.core.assessment import Gate
from headstart.core.results import Count, Interval, Remark, Share

Figure = Annotated[float, "figure"]

LEVEL = 0.05  # chance that a batch of images like those of the training is said to differ


@dataclass(frozen=True)
class DriftTest:
    """A test of one thing that batch and training images could differ in.

    ``p`` is adjusted for all tests (Holm), and they differ if it is at most `LEVEL`. The ``text``
    says what was seen.
    """

    name: str
    p: Share
    p_alone: Share
    differs: bool
    text: str


@dataclass(frozen=True)
class Measured:
    """A share or a mean of the batch with its interval, and what is expected of it.

    ``expected`` is None if the model does not say.
    """

    value: Figure
    interval: Interval
    expected: Figure | None


@dataclass(frozen=True)
class ClassShare:
    """The share of a class, or of a label, in the batch and among the training images.

    Attributes:
        answered: share of the answers in the batch.
        answered_training: the same of the training images, by models that were not fitted on them;
            None if the model does not say, like ``training``, the share of their labels.
        estimated: share of the images that truly are of the class, if nothing but the shares has
            changed; None if it was not estimated.
    """

    label: str
    images: Count
    answered: Share
    answered_ci: Interval
    answered_training: Share | None
    training: Share | None
    estimated: Share | None = None
    estimated_ci: Interval | None = None


@dataclass(frozen=True)
class UnusualImage:
    """An image that is unlike the training images, or of which the model is unsure."""

    path: str
    label: str
    confidence: Share | None
    distance: Figure | None
    unlike: bool


@dataclass(frozen=True)
class Drift:
    """A batch of images compared with a model's training images, as `headstart.drift` returns it.

    Attributes:
        images: those that were answered, and ``failed`` the others.
        independent: what they are worth in independent images: those of a group are not.
        differs: whether any test says so; None if there is none.
        unlike: the share of images marked as unlike the training set; None if the model measures
            no distance.
        confidence: the mean of the highest probability; None for several labels.
        seen: how many of the images the model was trained on; None if it does not list them.
        provenance: version of Headstart, command and time.
    """

    model: str
    data: str
    images: Count
    failed: Count
    independent: Figure
    differs: bool | None
    tests: list[DriftTest]
    unlike: Measured | None
    confidence: Measured | None
    classes: list[ClassShare]
    unusual: list[UnusualImage]
    seen: Count | None = None
    remarks: list[Remark] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)

    SCHEMA = 1

    @property
    def passed(self) -> bool:
        """Whether every gate is met."""
        return all(gate.passed for gate in self.gates)

    @property
    def verdict(self) -> str:
        """What the tests say, in a sentence without a full stop."""
        if self.differs is None:
            return "no test: the model does not say what its training images look like"
        if not self.differs:
            return "no sign that the images differ from the training images"
        names = [test.name for test in self.tests if test.differs]
        listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        return f"the images DIFFER from the training images in {listed}"

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``headstart drift --json`` prints."""
        return {"schema": self.SCHEMA, "verdict": self.verdict} | dataclasses.asdict(self)
