"""Whether a batch of images is like the training images of a model.

Five things are tested, those that the model has facts about: the share of images marked as unlike
the training set, the distances, the features' mean, the confidence, and the shares of the answers.
Holm's adjustment
(*A Simple Sequentially Rejective Multiple Test Procedure*, 1979) keeps the chance that any of them
calls a batch of the same kind different at `LEVEL`. docs/decisions/0215 says why these tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.drift import (
    LEVEL,
    ClassShare,
    Drift,
    DriftTest,
    Measured,
    UnusualImage,
)
from headstart.core.errors import one_line
from headstart.core.training_profile import TrainingProfile
from headstart.evaluation import metrics, prior_shift
from headstart.evaluation.metrics.design import Design

UNUSUAL_SHOWN = 10
LEAST_PLACED = 30  # images, below which their mean is not normal enough for its test
DRAWS = 4_000  # of tables with equal shares, for the test of the answers

Groups = NDArray[np.intp] | None


@dataclass(frozen=True)
class Batch:
    """A model's answers for images; arrays have one row an image.

    Attributes:
        probabilities: ``(n, k)``; of several labels they do not add up to 1.
        distance: to the training images; NaN without.
        unlike: the images marked as unlike the training set; None without distances.
        oddness: by which the most unusual images are chosen, highest first.
        labels: the answers as the user sees them.
        places: ``(n, q)``, on the axes of the profile, where training images have mean 0 and
            variance 1; None without.
        chosen: ``(n, k)``, the class or labels that are answered.
        group: images with equal numbers are not independent; None if all are.
        single: whether each image has one class.
        seen: how many images the model was trained on; None if that is unknown.
    """

    paths: Sequence[str]
    probabilities: NDArray[np.floating]
    distance: NDArray[np.floating]
    unlike: NDArray[np.bool_] | None
    oddness: NDArray[np.floating]
    labels: Sequence[str]
    chosen: NDArray[np.bool_]
    places: NDArray[np.floating] | None = None
    group: Groups = None
    single: bool = True
    seen: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def confidence(self) -> NDArray[np.floating]:
        """The highest probability of each image."""
        highest: NDArray[np.floating] = self.probabilities.max(axis=1)
        return highest

    @property
    def independent(self) -> float:
        """What the images are worth if those of a group agree (Kish, *Survey Sampling*, 1965)."""
        return worth(self.group, len(self))


def worth(group: Groups, images: int) -> float:
    """Return how many independent images those of groups are worth, if each group agrees."""
    if group is None:
        return float(images)
    sizes = np.unique(group, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def compare(
    batch: Batch,
    profile: TrainingProfile | None,
    classes: Sequence[str],
    quantile: float | None,
    **names: Any,  # noqa: ANN401 - of `Drift`
) -> Drift:
    """Compare a batch of at least one image with what a model says of its training images.

    ``quantile`` is the share of training images that is not marked as unlike; ``names`` are other
    fields of the record.
    """
    tests = [] if profile is None else _adjusted(list(_tests(batch, profile, classes, quantile)))
    return Drift(
        images=len(batch),
        independent=batch.independent,
        differs=any(test.differs for test in tests) if tests else None,
        tests=tests,
        unlike=_unlike(batch, quantile),
        confidence=_confidence(batch, profile) if batch.single else None,
        classes=_classes(batch, profile, classes),
        unusual=_unusual(batch),
        seen=batch.seen,
        **names,
    )


def _tests(
    batch: Batch, profile: TrainingProfile, classes: Sequence[str], quantile: float | None
) -> Iterator[tuple[str, float, str]]:
    n = len(batch)
    if batch.unlike is not None and quantile is not None:
        marked = int(batch.unlike.sum())
        text = f"{marked / n:.1%} are unlike any training image, {1 - quantile:.1%} expected"
        yield "unlike", _more_marked(batch, profile, marked, quantile), text
    if batch.unlike is not None:
        farther, nearer = _exponential(batch.distance, profile.distances, batch, profile)
        p = min(1.0, 2 * min(farther, nearer))
        middle = float(np.median(batch.distance)), float(np.median(profile.distances))
        yield "distance", p, f"median distance {middle[0]:.3f}, {middle[1]:.3f} in training"
    if batch.places is not None and batch.places.shape[1] and batch.independent >= LEAST_PLACED:
        apart, p = _hotelling(batch.places, batch.independent, profile.independent)
        yield "features", p, f"their mean lies {apart:.2f} standard deviations off that of training"
    if profile.confidences and batch.single:
        doubts = 1 - np.array(profile.confidences)[::-1]
        less_sure, _ = _exponential(1 - batch.confidence, doubts, batch, profile)
        mean = float(np.mean(profile.confidences))
        text = f"mean confidence {batch.confidence.mean():.3f}, {mean:.3f} in training"
        yield "confidence", less_sure, text
    if profile.answers and batch.single:
        counts = batch.chosen.sum(axis=0)
        text = _largest_change(counts / n, np.array(profile.answers), classes)
        yield "classes", _other_shares(batch, counts, profile), text


def _adjusted(tests: Sequence[tuple[str, float, str]]) -> list[DriftTest]:
    """Return the tests with p-values adjusted for all (Holm)."""
    order = sorted(range(len(tests)), key=lambda place: tests[place][1])
    adjusted, highest = dict[int, float](), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(tests) - rank) * tests[place][1]))
        adjusted[place] = highest
    return [
        DriftTest(name, adjusted[place], p, adjusted[place] <= LEVEL, text)
        for place, (name, p, text) in enumerate(tests)
    ]


def _more_marked(batch: Batch, profile: TrainingProfile, marked: int, quantile: float) -> float:
    """Return the chance of so many marks if batch and training images are draws of one kind.

    The threshold is one of the training images' own distances, so the share beyond it has a beta
    distribution, and the number of marks a beta-binomial one.
    """
    size = max(1, int(batch.independent))
    marks = int(np.ceil(marked * size / len(batch) - 1e-9))
    if not marks:
        return 1.0
    beyond = profile.independent * (1 - quantile)
    return _beta_binomial(marks, size, beyond + 1, profile.independent - beyond)


def _beta_binomial(least: int, size: int, a: float, b: float) -> float:
    """Return the chance of ``least`` or more of ``size``."""
    from scipy.special import betaln, gammaln

    hits = np.arange(least, size + 1)
    choose = gammaln(size + 1) - gammaln(hits + 1) - gammaln(size - hits + 1)
    logs = choose + betaln(hits + a, size - hits + b) - betaln(a, b)
    return float(min(1.0, np.exp(logs).sum()))


def _exponential(
    values: NDArray[np.floating],
    training: Sequence[float] | NDArray[np.floating],
    batch: Batch,
    profile: TrainingProfile,
) -> tuple[float, float]:
    """Return the one-sided p-values of values that exceed quantiles of training, and fall below.

    Ranks among the training images become exponential scores, so that the far end counts most
    (Savage, *Contributions to the Theory of Rank Order Statistics*, 1956). The ratio of two means
    of exponential values has an F distribution.
    """
    from scipy.special import fdtrc

    ends = np.asarray(training, np.float64)
    steps = np.arange(len(ends) + 1) / len(ends)
    below, upto = (np.searchsorted(ends, values, side=side) for side in ("left", "right"))
    # Between the last quantile and infinity lies half a step: a rank of 1 would be no score.
    level = np.clip((steps[below] + steps[upto]) / 2, 0, 1 - 0.5 / profile.images)
    score = -np.log1p(-level)
    ratio = float(score.mean())
    degrees = 2 * batch.independent, 2 * profile.independent
    more = float(fdtrc(*degrees, ratio))
    return more, 1 - more


def _hotelling(places: NDArray[np.floating], images: float, training: float) -> tuple[float, float]:
    """Return how far the mean lies off, and the p-value of Hotelling's T squared.

    The axes are scaled by the training images alone (Hotelling, *The Generalization of Student's
    Ratio*, 1931), which keeps a few odd images from widening the scale.
    """
    from scipy.special import fdtrc

    q = places.shape[1]
    mean = places.astype(np.float64).mean(axis=0)
    square = float(mean @ mean)
    statistic = square / (1 / images + 1 / training)
    degrees = training - q
    scaled = statistic * degrees / ((training - 1) * q)
    return float(np.sqrt(square)), float(fdtrc(q, degrees, scaled))


def _other_shares(batch: Batch, counts: NDArray[np.integer], profile: TrainingProfile) -> float:
    """Return the chance of such different shares of the answers, from tables with equal ones.

    The statistic is Pearson's, and counts are those of independent images.
    """
    shares = np.array(profile.answers)
    pair = [
        np.round(shares * profile.independent).astype(np.int64),
        np.round(counts * batch.independent / len(batch)).astype(np.int64),
    ]
    total = pair[0] + pair[1]
    first, second = (int(part.sum()) for part in pair)
    if not first or not second:
        return 1.0
    expected = total / (first + second)

    def distance(drawn: NDArray[np.integer]) -> NDArray[np.float64]:
        change = (drawn - second * expected) ** 2
        sums: NDArray[np.float64] = (change / np.maximum(expected, 1e-12)).sum(axis=-1)
        return sums

    rng = np.random.default_rng(0)
    draws = rng.multivariate_hypergeometric(total, second, size=DRAWS, method="marginals")
    as_far = int(np.sum(distance(draws) >= distance(pair[1]) * (1 - 1e-9)))
    return (1 + as_far) / (1 + DRAWS)


def _largest_change(
    batch: NDArray[np.floating], training: NDArray[np.floating], classes: Sequence[str]
) -> str:
    most = int(np.abs(batch - training).argmax())
    return f"{batch[most]:.1%} {one_line(classes[most])}, {training[most]:.1%} in training"


def _unlike(batch: Batch, quantile: float | None) -> Measured | None:
    if batch.unlike is None or quantile is None:
        return None
    interval = marked_interval(batch.unlike, batch.group)
    return Measured(float(batch.unlike.mean()), interval, 1 - quantile)


def marked_interval(marked: NDArray[np.bool_], group: Groups = None) -> metrics.Interval:
    """Return the exact binomial interval of a share, for as many images as groups are worth."""
    from scipy.special import betaincinv

    share = float(marked.mean())
    effect = Design.of(~marked, group).effect(marked - share)
    images = len(marked) / effect
    hits = share * images
    low = float(betaincinv(hits, images - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, images - hits, 0.975)) if hits < images else 1.0
    return low, high


def _confidence(batch: Batch, profile: TrainingProfile | None) -> Measured:
    values = batch.confidence.astype(np.float64)
    mean, n = float(values.mean()), len(values)
    # One image more at an end: the interval of one image is not of length 0.
    spread = float(np.sqrt((np.sum((values - mean) ** 2) + mean**2) / n))
    design = Design.of(values >= mean, batch.group)
    reach = design.quantile() * spread * np.sqrt(design.effect(values - mean) / n)
    expected = profile.confidences if profile is not None else ()
    return Measured(
        mean,
        (max(0.0, float(mean - reach)), min(1.0, float(mean + reach))),
        float(np.mean(expected)) if expected else None,
    )


def _classes(
    batch: Batch, profile: TrainingProfile | None, classes: Sequence[str]
) -> list[ClassShare]:
    shares = profile.shares if profile is not None else ()
    answers = profile.answers if profile is not None else ()
    shift = None
    if shares and may_estimate(batch):
        shift = prior_shift.estimate(batch.probabilities, np.array(shares), batch.group)
    return [
        ClassShare(
            label=name,
            images=int(batch.chosen[:, code].sum()),
            answered=float(batch.chosen[:, code].mean()),
            answered_ci=metrics.accuracy_interval(batch.chosen[:, code], batch.group),
            answered_training=answers[code] if answers else None,
            training=shares[code] if shares else None,
            estimated=None if shift is None else float(shift.shares[code]),
            estimated_ci=None if shift is None else shift.intervals[code],
        )
        for code, name in enumerate(classes)
    ]


def may_estimate(batch: Batch) -> bool:
    """Return whether the classes' true shares can be estimated: not of few or foreign images."""
    foreign = 0.0 if batch.unlike is None else marked_interval(batch.unlike, batch.group)[0]
    enough = batch.independent >= prior_shift.LEAST_IMAGES
    return batch.single and enough and foreign <= prior_shift.FOREIGN


def _unusual(batch: Batch) -> list[UnusualImage]:
    order = np.argsort(-batch.oddness, kind="stable")[:UNUSUAL_SHOWN]
    return [
        UnusualImage(
            path=batch.paths[row],
            label=batch.labels[row],
            confidence=float(batch.confidence[row]) if batch.single else None,
            distance=None if batch.unlike is None else float(batch.distance[row]),
            unlike=bool(batch.unlike is not None and batch.unlike[row]),
        )
        for row in order.tolist()
    ]
