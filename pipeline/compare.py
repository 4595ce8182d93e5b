"""The stage from features to a comparison of heads: tune on the training pool, test once."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pipeline
from pipeline import metrics
from pipeline.distribute import available_cores
from pipeline.errors import InputError
from pipeline.files import write_text
from pipeline.heads import HEADS, by_name
from pipeline.heads.baselines import MostFrequentClass, RawPixels
from pipeline.heads.search import FittedHead, TrainingSet, class_probabilities, stratified_folds
from pipeline.protocol import Protocol, describe_dataset, describe_protocol, make_protocol
from pipeline.records import Comparison, FeatureSet, HeadResult, digest_of, warning_about

MAX_SEED = 2**32 - 1
PACKAGES = ("numpy", "scipy", "scikit-learn", "joblib")


@dataclass(frozen=True)
class CompareConfig:
    """How heads are compared.

    Attributes:
        heads: names of the families, out of `pipeline.heads.HEADS`.
        folds: number of folds of the cross-validation, at least 2.
        seed: of the folds, the held-out test and the intervals, 0 to 2^32 - 1.
        workers: number of threads, None for one a core; it does not change the results.
    """

    heads: tuple[str, ...] = tuple(HEADS)
    folds: int = 5
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the values, so that a wrong one is refused before any work.

        Raises:
            InputError: a name is unknown or a number out of range.
        """
        by_name(self.heads)
        if self.folds < 2:
            raise InputError(f"cross-validation with {self.folds} folds is none; use 2 or more")
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"the seed {self.seed} is not between 0 and {MAX_SEED}")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"{self.workers} workers cannot work; use 1 or more")


@dataclass(frozen=True)
class Outcome:
    """What a comparison leaves besides its record.

    Attributes:
        heads: the fitted heads by name. Their estimators take raw ``(n, d) float32`` features, and
            their ``classes_`` are codes into `FeatureSet.classes`, without those never trained on.
        probabilities: for each head, ``(n_test, k) float64`` on the test images.
        train: ``(n_train,)`` row numbers of the training images.
        test: ``(n_test,)`` row numbers of the test images.
    """

    heads: dict[str, FittedHead]
    probabilities: dict[str, NDArray[np.float64]]
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def compare(
    data: FeatureSet, config: CompareConfig, progress: Callable[[str], None] | None = None
) -> tuple[Comparison, Outcome]:
    """Tune every head by cross-validation on the training images and score it once on the test.

    The best head is the one with the highest cross-validated accuracy, never the test's. Each
    other head is set against it by a paired bootstrap on the same test images: ``worse`` or
    ``better`` if the 95 % interval of the difference in accuracy leaves out 0, else ``tie``. Where
    a head is ``better``, cross-validation has picked the wrong one as far as these test images can
    tell; the choice stands, because choosing by the test would spoil it.

    Args:
        data: the features, with labels.
        config: what to compare and how.
        progress: called with one line when a head is done.

    Returns:
        The record of the comparison, and the fitted heads. The same data and configuration give
        the same results, times apart. ``created`` and ``command`` are the caller's to add to
        ``provenance``.

    Raises:
        InputError: the data cannot be used; the message says why.
    """
    tell = progress or (lambda _: None)
    protocol = make_protocol(data, config.folds, config.seed)
    training = _training_set(data.features, data, protocol, config)

    fitted: dict[str, FittedHead] = {}
    for family in by_name(config.heads):
        head = fitted[family.name] = family.search(training)
        tell(_summary(head))
    ordered = sorted(fitted.values(), key=lambda head: -head.cv_accuracy)
    probabilities = {
        head.name: class_probabilities(
            head.estimator, data.features[protocol.test], len(data.classes)
        )
        for head in ordered
    }
    outcome = Outcome(fitted, probabilities, protocol.train, protocol.test)
    results = _score_heads(data, outcome, ordered, config.seed)
    baselines = _score_baselines(data, protocol, config, training)
    comparison = Comparison(
        dataset=describe_dataset(data, protocol),
        extraction={"digest": data.digest, "document": data.extraction},
        protocol=describe_protocol(data, protocol, config.seed),
        heads=results,
        baselines=baselines,
        best=ordered[0].name,
        warnings=[
            *filter(None, [warning_about(data.extraction["backbone"]["name"])]),
            *protocol.warnings,
            *_about_perfection(results, len(protocol.test)),
        ],
        provenance=_provenance(data, config),
    )
    return comparison, outcome


def write_results(
    folder: Path, comparison: Comparison, outcome: Outcome, data: FeatureSet
) -> tuple[Path, Path]:
    """Write ``results.json`` and ``predictions.csv``, each whole or not at all.

    ``predictions.csv`` has a row for each test image: ``path``, ``true``, ``predicted``,
    ``correct`` and the best head's probability ``p:<class>`` of every class. Both are UTF-8; bytes
    of names that are not Unicode are written as backslash escapes.

    Args:
        folder: where; it is made if it is missing.
        comparison: from `compare`.
        outcome: from `compare`.
        data: what was compared.

    Returns:
        The two paths.

    Raises:
        OutputError: a file cannot be written.
    """
    results, predictions = folder / "results.json", folder / "predictions.csv"
    document = json.dumps(comparison.to_json(), ensure_ascii=False, allow_nan=False, indent=2)
    write_text(predictions, _predictions(comparison.best, outcome, data))
    write_text(results, document + "\n")
    return results, predictions


def inputs_digest(data: FeatureSet, config: CompareConfig) -> str:
    """Return the identity of a comparison, which its provenance keeps as ``inputs``.

    The same digest means the same results: data, what is compared and how, and the version of
    Headstart are in it.
    """
    wanted = dataclasses.asdict(config)
    del wanted["workers"]
    version = pipeline.__version__
    return digest_of({"data": _data_hash(data), "config": wanted, "headstart": version})


# ---- scoring -------------------------------------------------------------------------------------


def _training_set(
    features: NDArray[np.float32], data: FeatureSet, protocol: Protocol, config: CompareConfig
) -> TrainingSet:
    labels = data.label[protocol.train].astype(np.int64)
    return TrainingSet(
        features=features[protocol.train],
        labels=labels,
        fold=stratified_folds(labels, protocol.folds, config.seed),
        seed=config.seed,
        workers=config.workers or available_cores(),
    )


def _score_heads(
    data: FeatureSet, outcome: Outcome, ordered: list[FittedHead], seed: int
) -> list[HeadResult]:
    """Score the heads on the test images and set each against the first."""
    true = data.label[outcome.test]
    correct = {
        name: probabilities.argmax(axis=1) == true
        for name, probabilities in outcome.probabilities.items()
    }
    best = ordered[0].name
    verdicts = {
        name: _verdict(metrics.paired_bootstrap(right, correct[best], seed))
        for name, right in correct.items()
    } | {best: "best"}
    return [
        _result(head, true, outcome.probabilities[head.name], seed, verdicts[head.name])
        for head in ordered
    ]


def _score_baselines(
    data: FeatureSet, protocol: Protocol, config: CompareConfig, training: TrainingSet
) -> list[HeadResult]:
    """Fit and score what can be had without the backbone, on the same images and folds."""
    runs: list[tuple[FittedHead, NDArray[np.float32]]] = [
        (MostFrequentClass().search(training), data.features)
    ]
    if data.pixels is not None:
        flat = data.pixels.reshape(len(data.pixels), -1)
        pixels: NDArray[np.float32] = np.divide(flat, 255, dtype=np.float32)
        runs.append((RawPixels().search(_training_set(pixels, data, protocol, config)), pixels))
    k, true = len(data.classes), data.label[protocol.test]
    return [
        _result(
            head,
            true,
            class_probabilities(head.estimator, features[protocol.test], k),
            config.seed,
            verdict="",
        )
        for head, features in runs
    ]


def _verdict(difference: tuple[float, float]) -> str:
    """Say what the interval of a head's accuracy minus the best head's means."""
    low, high = difference
    if high < 0:
        return "worse"
    return "better" if low > 0 else "tie"


def _result(
    head: FittedHead,
    true: NDArray[np.int32],
    probabilities: NDArray[np.float64],
    seed: int,
    verdict: str,
) -> HeadResult:
    predicted = probabilities.argmax(axis=1)
    return HeadResult(
        name=head.name,
        params=head.params,
        cv_accuracy=head.cv_accuracy,
        cv_std=head.cv_std,
        test_accuracy=metrics.accuracy(true, predicted),
        test_accuracy_ci=metrics.bootstrap_interval(predicted == true, seed),
        macro_f1=metrics.macro_f1(true, predicted),
        log_loss=metrics.log_loss(true, probabilities),
        seconds=round(head.seconds, 3),
        verdict=verdict,
        confusion=metrics.confusion(true, predicted, probabilities.shape[1]).tolist(),
        grid=head.grid,
    )


# ---- recording -----------------------------------------------------------------------------------


def _summary(head: FittedHead) -> str:
    params = ", ".join(f"{name} = {value}" for name, value in head.params.items())
    return (
        f"{head.name}: {head.cv_accuracy:.1%} ± {head.cv_std:.1%} in cross-validation with"
        f" {params}, {head.seconds:.1f} s"
    )


def _about_perfection(results: list[HeadResult], n_test: int) -> list[str]:
    """Return a warning if a head made no error, since its interval then has no width.

    The bound is the rule of three: Hanley and Lippman-Hand, *If Nothing Goes Wrong, Is Everything
    All Right?*, 1983.
    """
    perfect = [result.name for result in results if result.test_accuracy == 1]
    if not perfect:
        return []
    return [
        f"No error on {n_test:,} test images ({', '.join(perfect)}): an interval without width"
        " shows no doubt, yet up to"
        f" {min(1.0, 3 / n_test):.1%} of further images may be misclassified (rule of three)."
    ]


def _provenance(data: FeatureSet, config: CompareConfig) -> dict[str, Any]:
    software = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "software": {"headstart": pipeline.__version__} | software,
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "inputs": inputs_digest(data, config),
    }


def _data_hash(data: FeatureSet) -> str:
    """Return a SHA-256 over everything that the results depend on."""
    names = {"path": data.path, "split": data.split, "classes": data.classes, "of": data.digest}
    content = hashlib.sha256(digest_of(names).encode())
    arrays = [data.features, data.label, data.sha256]
    for array in arrays if data.pixels is None else [*arrays, data.pixels]:
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def _predictions(best: str, outcome: Outcome, data: FeatureSet) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "true", "predicted", "correct", *(f"p:{c}" for c in data.classes)])
    for row, probabilities in zip(outcome.test, outcome.probabilities[best], strict=True):
        true, predicted = int(data.label[row]), int(probabilities.argmax())
        table.writerow(
            [
                data.path[row],
                data.classes[true],
                data.classes[predicted],
                "true" if true == predicted else "false",
                *(f"{p:.6f}" for p in probabilities),
            ]
        )
    return text.getvalue()
