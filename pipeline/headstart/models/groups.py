"""One prediction for each group of images, made of those of its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import GROUP_ANSWERS
from headstart.core.errors import count
from headstart.core.group_answers import Pool, evidence_of
from headstart.core.label_text import join
from headstart.core.targets import MULTI_LABEL
from headstart.models.predict import Prediction

if TYPE_CHECKING:
    from headstart.core.costs import Costs
    from headstart.models.classifier import Classifier


@dataclass(frozen=True)
class GroupPrediction(Prediction):
    """The prediction for a group of images; ``path`` is its name, or of no group the image's.

    Attributes:
        group: the name of the group; empty for an image that is in none.
        probabilities: of the group, or its shares of the images' votes.
        error: why there is no prediction: none of its images could be used.
        images: how many images it is made of.
        failed: how many images of the group could not be used.
        unlike_images: how many are not like any training image; None if that was not measured.
    """

    group: str = ""
    images: int = 0
    failed: int = 0
    unlike_images: int | None = None


@dataclass
class _Sums:
    """Sums over the images of one group."""

    evidence: NDArray[np.float64]
    votes: NDArray[np.float64]
    images: int = 0
    failed: int = 0
    unlike: int | None = None
    error: str = ""

    def add(self, prediction: Prediction, classes: tuple[str, ...], several: bool) -> None:
        if prediction.error:
            self.failed += 1
            self.error = self.error or prediction.error
            return
        self.images += 1
        self.evidence += evidence_of(np.array(prediction.probabilities), several)
        self.votes += np.isin(classes, prediction.labels)
        if prediction.unlike is not None:
            self.unlike = (self.unlike or 0) + prediction.unlike


def predict_groups(
    model: Classifier,
    predictions: Iterable[Prediction],
    name: Callable[[str], str],
    answer: str = GROUP_ANSWERS[0],
    min_confidence: float = 0.0,
    costs: Costs | None = None,
    sets: str = "",
) -> Iterator[GroupPrediction]:
    """Yield a prediction for each group, in the order of their first images.

    Only sums are kept of each group. ``name`` gives the group of an image by its path, empty for
    none: then it is its own group. ``costs`` decide the class of a mean; where images vote, they
    have decided before. ``sets`` asks for conformal sets, as for `headstart.models.predict`.
    """
    several, k = model.target == MULTI_LABEL, len(model.classes)
    sums: dict[tuple[bool, str], _Sums] = {}
    for prediction in predictions:
        group = name(prediction.path)
        key = bool(group), group or prediction.path
        own = sums.setdefault(key, _Sums(np.zeros(k), np.zeros(k)))
        own.add(prediction, model.classes, several)
    for (named, path), own in sums.items():
        group = path if named else ""
        if not own.images:
            error = f"none of {count(own.failed, 'image')} could be used: {own.error}"
            yield GroupPrediction(path, "", (), error, group=group, failed=own.failed)
            continue
        pool = Pool(own.evidence[None], own.votes[None], np.array([own.images], float), several)
        probabilities = pool.probabilities(answer)
        (scores,) = probabilities
        labels = _labels(model, pool, answer, min_confidence, costs)
        yield GroupPrediction(
            path,
            join(labels),
            tuple(scores.tolist()),
            "",
            labels=labels,
            classes=model.sets(probabilities, sets, answer)[0],
            group=group,
            images=own.images,
            failed=own.failed,
            unlike_images=own.unlike,
        )


def _labels(
    model: Classifier, pool: Pool, answer: str, min_confidence: float, costs: Costs | None
) -> tuple[str, ...]:
    if pool.several:
        (mask,) = pool.labels(answer, model.label_thresholds)
        return tuple(model.classes[code] for code in np.flatnonzero(mask))
    scores = pool.probabilities(answer)
    if costs is not None and answer == GROUP_ANSWERS[0]:
        code = int(costs.decide(scores)[0])
    else:
        code = int(pool.classes(answer)[0])
    names: tuple[str, ...] = model.answers.names(model, scores[0], code, min_confidence)
    return names
