"""Which way of fine-tuning is worth its time, said before it is spent.

The frozen features say how far the best linear classifier on them comes, and whether more images
would help; a `pilot` says which share of its errors each mode takes away, and how long it takes.
What a pilot of a hundred images says is mostly chance, so it is weighed against what each mode has
taken away elsewhere. How often the advice was right is in docs/finetuning.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.choices import MODES
from headstart.core.records import Choice, FeatureSet
from headstart.evaluation import learning_curve, transferability
from headstart.evaluation.metrics import LEVEL
from headstart.finetune.config import ALL, HEAD, TOP, FinetuneConfig
from headstart.finetune.division import Division, divide
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.search import FittedHead
from headstart.heads.training_set import TrainingSet

if TYPE_CHECKING:
    from headstart.finetune.pilot import Pilot

NONE = "none"
# Of the errors of the frozen network: what a mode took away in the runs of benchmarks/advice.py,
# mean and standard deviation, and how far a pilot was from that beyond its own chance.
USUAL = {HEAD: (0.02, 0.04), TOP: (0.24, 0.23), ALL: (0.11, 0.26)}
SPREAD = {HEAD: 0.05, TOP: 0.1, ALL: 0.25}
WORTH = 0.005  # of accuracy: less is no reason to fine-tune, nor to take the slower of two modes
RISKY = 1 / 3  # a mode more likely than this to be no better is not recommended
SLOWER = 1.3  # a busy machine
_DRAWS = 2000


def advise(
    data: str,
    frozen: FeatureSet,
    choice: Choice,
    config: FinetuneConfig,
    notice: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Predict gain, time and risk of every mode on these images and this machine.

    Args:
        data: the source, as it was embedded.
        frozen: its features by the frozen backbone.
        choice: the backbone, by its name.
        config: how it would be fine-tuned; of ``top`` mode.
        notice: receives one line at a time.

    Returns:
        ``images``, ``frozen`` (accuracy, learning curve, transferability), ``trial``, ``modes``
        (for each: ``gain``, ``gain_ci``, ``accuracy``, ``seconds``, ``seconds_range``, ``risk``,
        the probability that it is no better than the frozen network), ``recommended`` and ``why``.

    Raises:
        HeadstartError: as `headstart.finetune.finetune`.
    """
    from headstart.finetune import pilot, preparation

    division = divide(frozen, config.seed)
    for remark in division.remarks:
        notice(remark)
    head, training = preparation.start(frozen, division, config)
    known = _known(head, training)
    found = pilot.run(data, frozen, choice, division, config, notice)
    modes = predict(found, 1.0 - known["accuracy"], sizes_of(division), config)
    recommended, why = recommend(modes)
    return {
        "images": sizes_of(division),
        "frozen": known,
        "trial": {
            "images": found.images,
            "held_out": len(found.right["frozen"]),
            "accuracy": {mode: float(right.mean()) for mode, right in found.right.items()},
            "training_accuracy": found.training_accuracy,
        },
        "modes": modes,
        "recommended": recommended,
        "why": why,
    }


def sizes_of(division: Division) -> dict[str, int]:
    """Return how many images do what, and of how many classes."""
    return {
        "train": len(division.train),
        "validation": len(division.validation),
        "test": len(division.test),
        "classes": len(division.known),
    }


def _known(head: FittedHead, training: TrainingSet) -> dict[str, Any]:
    """Return what the frozen features say: accuracy, learning curve, transferability."""
    family = LogisticRegressionHead()

    def answers(
        parts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
    ) -> list[NDArray[np.intp]]:
        return [a.argmax(axis=1) for a in family.answers(head.params, training.divided(parts))]

    division = np.atleast_2d(training.fold)[0]
    draws = learning_curve.draw(training.labels, division, training.seed)
    whole = head.out_of_fold.argmax(axis=1)
    curve = learning_curve.measure(draws, training.labels, answers, whole)
    return {
        "accuracy": head.cv_accuracy,
        "learning_curve": learning_curve.describe(curve, len(training.labels), training.seed),
        "logme": transferability.log_me(training.rows, training.labels),
    }


def predict(
    found: Pilot,
    error: float,
    sizes: dict[str, int],
    config: FinetuneConfig,
    usual: Mapping[str, tuple[float, float]] = USUAL,
) -> list[dict[str, Any]]:
    """Return gain, time and risk of every mode.

    What a mode takes away of the errors is normally distributed: what it usually takes, weighed
    against what it took in the pilot, each by the inverse of its variance. The pilot's comes from
    resampling the images held out, the same ones for mode and frozen network, and from `SPREAD`.

    Args:
        found: the pilot; ``all`` was only timed there, and is taken to do what ``top`` did.
        error: of the frozen network's classifier on all training images, cross-validated.
        sizes: ``train``, ``validation`` and ``test`` images.
        config: how it would be fine-tuned.
        usual: mean and standard deviation of the share that a mode takes away, before any pilot.
    """
    rng = np.random.default_rng(config.seed)
    m = len(found.right["frozen"])
    times = rng.multinomial(m, np.full(m, 1 / m), size=_DRAWS)  # of each image, in each resample
    before = times @ ~found.right["frozen"] + 0.5
    tail = 100 * (1 - LEVEL) / 2
    modes = []
    for mode in MODES:
        right = found.right[mode if mode in found.right else TOP]
        tried = 1 - (times @ ~right + 0.5) / before
        mean, deviation = usual[mode]
        known, piloted = deviation**-2, 1 / (tried.var() + SPREAD[mode] ** 2)
        likely = (known * mean + piloted * float(np.median(tried))) / (known + piloted)
        share = rng.normal(likely, (known + piloted) ** -0.5, _DRAWS)
        gains = error * np.minimum(1.0, share)
        seconds, least = _seconds(mode, found, sizes, config)
        low, high = np.percentile(gains, [tail, 100 - tail])
        gain = float(np.median(gains))
        modes.append(
            {
                "mode": mode,
                "gain": gain,
                "gain_ci": [float(low), float(high)],
                "accuracy": 1 - error + gain,
                "seconds": seconds,
                "seconds_range": [least, SLOWER * seconds],
                "risk": float((gains <= 0).mean()),
                "tried": mode in found.right,
            }
        )
    return modes


def _seconds(
    mode: str, found: Pilot, sizes: dict[str, int], config: FinetuneConfig
) -> tuple[float, float]:
    """Return how long a mode takes, and with the earliest stop."""
    of_mode = dataclasses.replace(
        config, mode=mode, boundary="", lr=None, epochs=config.epochs
    ).settled()
    epochs = of_mode.epochs or 1
    seen = sizes["train"] + sizes["validation"] / 3
    epoch = found.image_seconds[mode] * seen
    views = config.views * sizes["train"] + sizes["validation"]
    once = 0.0 if mode == ALL else found.view_seconds[mode] * views
    if mode != HEAD:  # its features are those of the frozen network
        images = sizes["train"] + sizes["validation"] + sizes["test"]
        once += found.view_seconds[HEAD] * images
    return once + epochs * epoch, once + min(epochs, config.patience) * epoch


def recommend(modes: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the mode to take, or ``none``, and why."""
    good = [one for one in modes if one["gain"] >= WORTH and one["risk"] <= RISKY]
    if not good:
        return NONE, (
            "no mode is likely to be clearly better than a classifier on the frozen features; "
            "use: headstart train-heads"
        )
    most = max(one["gain"] for one in good)
    best = min((one for one in good if one["gain"] > most - WORTH), key=lambda one: one["seconds"])
    low, high = best["gain_ci"]
    return best["mode"], (
        f"{best['mode']} is expected to bring {100 * best['gain']:+.1f} points of accuracy "
        f"({100 * low:+.1f} to {100 * high:+.1f}) in {best['seconds'] / 60:.1f} minutes; no other "
        f"is expected to bring {100 * WORTH:.1f} more"
    )
