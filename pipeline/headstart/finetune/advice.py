"""Predict which mode of fine-tuning is worth its time, before you spend it.

A mode removes a share of the errors of the classifier on frozen features. A line fitted to recorded
runs (``benchmarks/advice.csv``) predicts that share; docs/benchmarks/advice.md says how well. The
time is measured on this machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from headstart.core.choices import MODES
from headstart.core.hooks import Hooks
from headstart.core.records import Choice, FeatureSet
from headstart.datasets import DEFAULTS, Options
from headstart.evaluation.metrics import LEVEL
from headstart.finetune.config import ALL, HEAD, TOP, FinetuneConfig
from headstart.finetune.job import FinetuneJob

if TYPE_CHECKING:
    from headstart.finetune.timing import Pace

NONE, UNKNOWN = "none", "unknown"
WORTH = 0.005  # smallest gain in accuracy that justifies fine-tuning, or the slower of two modes
RISKY = 1 / 3  # a mode more likely than this to gain nothing is not recommended
SLOWER = 1.3  # factor for a busy machine
VALIDATING = 1 / 3  # time to validate an image, relative to training on it
MOST = 0.6  # share of the errors; no recorded run removed more
RECORDED_IMAGES, RECORDED_ERRORS = (150, 2400), (0.06, 0.22)
BASIS = (
    "13 recorded runs of efficientnet-lite0 on three data sets of 10 classes, with 150 to 2,400 "
    "images and 7 to 21 % frozen errors"
)


_UNRECORDED = (
    "no gain is predicted, since the recorded runs have one class an image; try the shortest mode, "
    "whose results compare the network with heads on the frozen features"
)


class Line(NamedTuple):
    """A normal distribution of the share of errors that a mode removes.

    Its mean is ``intercept + slope * log2(images / error²)``, its standard deviation ``deviation``.
    """

    intercept: float
    slope: float
    deviation: float

    def share(self, images: int, error: float) -> NormalDist:
        """Return the distribution for this many training and validation images."""
        mean = self.intercept + self.slope * math.log2(images / max(error, 1 / images) ** 2)
        return NormalDist(min(MOST, mean), self.deviation)


REMOVED = {
    HEAD: Line(0.02, 0.0, 0.04),
    TOP: Line(-0.74, 0.0694, 0.184),
    ALL: Line(-0.785, 0.0694, 0.22),  # as `top`, minus its lead in the same runs
}


def advise(
    data: str,
    frozen: FeatureSet,
    choice: Choice,
    config: FinetuneConfig,
    hooks: Hooks | None = None,
    reading: Options = DEFAULTS,
    named_groups: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Predict gain, time and risk of every mode on these images and this machine.

    Arguments and errors are as in `headstart.finetune.finetune`; ``config`` is of ``top`` mode.

    Returns:
        ``images``, ``frozen`` (accuracy, learning curve, transferability), ``basis``, ``modes``
        (for each: ``gain``, ``gain_ci``, ``accuracy``, ``seconds``, ``seconds_range``, ``risk``,
        the probability that it gains nothing), ``recommended`` and ``why``. With several labels
        nothing is recorded of which a gain could be predicted: modes have times alone, and
        ``recommended`` is ``unknown``.
    """
    from headstart.finetune import timing

    hooks = hooks or Hooks()
    job = FinetuneJob.create(data, frozen, choice, config, reading, named_groups)
    for remark in job.division.remarks:
        hooks.notice(remark.text)
    classifier = job.frozen_classifier()
    hooks.notice("timing two batches in each mode")
    paces = timing.measure(job, classifier.start)
    images = job.sizes["train"] + job.sizes["validation"]
    error = classifier.error
    modes = [{"mode": mode} for mode in MODES] if error is None else predict(images, error)
    for mode in modes:
        mode |= predict_time(mode["mode"], paces, job.sizes, config)
    recommended, why = (UNKNOWN, _UNRECORDED) if error is None else recommend(modes)
    return {
        "images": job.sizes | {"classes": len(job.division.classes)},
        "frozen": classifier.to_json(),
        "basis": {
            "runs": BASIS,
            "covers_these_images": error is not None and covered(images, error),
        },
        "modes": modes,
        "recommended": recommended,
        "why": why,
    }


def covered(images: int, error: float) -> bool:
    """Return whether images and error are within those of the recorded runs."""
    low, high = RECORDED_ERRORS
    return RECORDED_IMAGES[0] <= images <= RECORDED_IMAGES[1] and low <= error <= high


def predict(
    images: int, error: float, removed: Mapping[str, Line] = REMOVED
) -> list[dict[str, Any]]:
    """Return gain and risk of every mode.

    ``images`` counts training and validation images; ``error`` is the cross-validated error of the
    classifier on frozen features.
    """
    tail = (1 - LEVEL) / 2
    modes = []
    for mode in MODES:
        share = removed[mode].share(images, error)
        gain, low, high = (
            error * min(1.0, value)
            for value in (share.mean, share.inv_cdf(tail), share.inv_cdf(1 - tail))
        )
        modes.append(
            {
                "mode": mode,
                "gain": gain,
                "gain_ci": [low, high],
                "accuracy": 1 - error + gain,
                "risk": share.cdf(0.0) if error > 0 else 1.0,
            }
        )
    return modes


def predict_time(
    mode: str, paces: Mapping[str, Pace], sizes: Mapping[str, int], config: FinetuneConfig
) -> dict[str, Any]:
    """Return ``seconds`` and ``seconds_range``, from the earliest stop to a busy machine.

    ``config`` is of ``top`` mode, not settled.
    """
    config = config.for_mode(mode, sizes["train"])
    epochs = config.epochs or 1
    epoch = paces[mode].image * (sizes["train"] + VALIDATING * sizes["validation"])
    once = paces[mode].view * ((config.views or 1) * sizes["train"] + sizes["validation"])
    if mode != HEAD:  # a tuned network has to embed all images again
        once += paces[HEAD].view * sum(sizes.values())
    seconds = once + epochs * epoch
    least = once + min(epochs, config.patience) * epoch
    return {"seconds": seconds, "seconds_range": [least, SLOWER * seconds]}


def recommend(modes: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the recommended mode, or ``none``, and why."""
    good = [mode for mode in modes if mode["gain"] >= WORTH and mode["risk"] <= RISKY]
    if not good:
        return NONE, (
            "no mode is likely to be clearly better than a classifier on the frozen features; "
            "use: headstart train-heads"
        )
    most = max(mode["gain"] for mode in good)
    as_good = [mode for mode in good if mode["gain"] > most - WORTH]
    best = min(as_good, key=lambda mode: mode["seconds"])
    low, high = best["gain_ci"]
    return best["mode"], (
        f"{best['mode']} should gain {100 * best['gain']:+.1f} points of accuracy "
        f"({100 * low:+.1f} to {100 * high:+.1f}) in {best['seconds'] / 60:.1f} minutes; no other "
        f"mode should gain {100 * WORTH:.1f} points more"
    )
