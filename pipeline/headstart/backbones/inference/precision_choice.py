"""Choose a backbone's precision by its speed and its drift on the user's own images.

The sample is the images whose paths have the smallest hashes, so it hardly changes when images are
added. The first of them calibrate, the others measure. The calibration images and the recipe's
version make the digest in the precision's name (``int8+0123456789abcdef``), which is part of the
features' identity. A store that you continue keeps its digest as long as the cache has the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.backbones.inference import parity, precision, quantization
from headstart.backbones.inference.description import describe, read_metadata
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.runner import CPU_BATCH, Runner
from headstart.core.choices import MAX_ACCURACY_LOSS, MAX_DRIFT
from headstart.core.errors import BackboneError, HeadstartError, ImageError, InputError, one_line
from headstart.core.linalg import row_cosine
from headstart.core.parallel import available_cores
from headstart.core.records import ImageRef, Listing, Preprocess, digest_of
from headstart.datasets import images
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

CALIBRATION = 64  # images
MEASURED = 1000  # images, none of them for calibration if there are enough
FP16_MEASURED = 250  # enough to see rounding to 11 bits
FEWEST = 30  # images to measure; with fewer, the calibration images measure too
FOLDS, REPEATS = 5, 3
FIGURES = "headstart.int8"
_SEED = 0
_ROUNDS, _TIMED = 5, 4 * CPU_BATCH  # rounds and images of the speed measurement

Notice = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """How far features may be from float32's.

    ``drift`` limits the mean of 1 - cosine, and ``loss`` the loss of cross-validated accuracy in
    percentage points.
    """

    drift: float = MAX_DRIFT
    loss: float = MAX_ACCURACY_LOSS


@dataclass(frozen=True)
class Drift:
    """How far features are from float32's, on the same images.

    Attributes:
        labelled: images whose labels were cross-validated; 0 if there were too few labels.
        accuracy_fp32: of logistic regression on float32 features, 0 to 1; None without labels.
        accuracy: the same with these features and the same folds.
        on_calibration: whether calibration images were measured too.
        labels: digest of the paths and labels of the images to measure.
    """

    images: int
    mean_cosine: float
    min_cosine: float
    labelled: int
    accuracy_fp32: float | None
    accuracy: float | None
    on_calibration: bool
    labels: str

    @property
    def loss(self) -> float | None:
        """Accuracy lost in percentage points, negative if gained; None if unknown."""
        if self.accuracy is None or self.accuracy_fp32 is None:
            return None
        return round(100 * (self.accuracy_fp32 - self.accuracy), 3)

    def within(self, budget: Budget) -> bool:
        """Say whether drift and loss are inside the budget; an unknown loss is ignored."""
        if not 1 - self.mean_cosine <= budget.drift:
            return False
        return self.loss is None or self.loss <= budget.loss

    def __str__(self) -> str:
        text = (
            f"mean cosine {self.mean_cosine:.4f}, smallest {self.min_cosine:.4f} "
            f"on {self.images:,} images"
            + (", those of the calibration among them" if self.on_calibration else "")
        )
        if self.accuracy is None or self.accuracy_fp32 is None:
            return f"{text}; too few labels to measure accuracy, so the cosine alone decides"
        return (
            f"{text}; accuracy of logistic regression {100 * self.accuracy:.1f} %, "
            f"in fp32 {100 * self.accuracy_fp32:.1f} %, on {self.labelled:,} labelled images"
        )


def fitting(
    model: Path,
    requested: str,
    listing: Listing,
    budget: Budget,
    existing: str = "",
    workers: int | None = None,
    notice: Notice = lambda line: None,
) -> tuple[Path, dict[str, Any]]:
    """Return a backbone's file in int8, or in the fastest precision inside a budget.

    ``model`` is an exported fp32 file, and ``requested`` is ``int8`` or ``auto``. ``existing`` is
    the precision of a store that you continue: it is kept, or refused if its recorded figures are
    outside the budget. The second value holds the figures to store beside the features.

    Raises:
        BackboneError: int8 is impossible or outside the budget; the message gives the figures.
        InputError: no image of the sample can be read.
    """
    workers = workers or available_cores()
    if existing and (requested == "auto" or existing.startswith("int8+")):
        path = _stored_model(model, existing)
        if path is not None:
            notice(f"continuing in the store's precision, {existing}")
            # The certificate checks fp16, whatever the budget.
            drift = _figures(path) if existing.startswith("int8+") else None
            if drift is not None:
                _allow(drift, budget, "write another store with --out")
            return path, {"precision": existing} | _facts(drift)
    if requested == "int8":
        path, drift = quantised(model, listing, workers)
        _allow(drift, budget, "use --precision fp32 or auto")
        notice(f"int8: {drift}")
        return path, {"precision": describe(path).precision} | _facts(drift)
    return _fastest(model, listing, budget, workers, notice)


def quantised(model: Path, listing: Listing, workers: int) -> tuple[Path, Drift]:
    """Return the int8 file calibrated on a sample of a listing, and its drift on other images."""
    preprocess = describe(model).preprocess
    refs = sample(listing)
    crops, hashes, used = _calibration(listing, refs, preprocess)
    name = f"int8+{digest_of({'recipe': quantization.VERSION, 'images': hashes})[:16]}"
    path = precision.place(model, name)
    measured, again = refs[used:], False
    if len(measured) < FEWEST:
        measured, again = refs, True
    if path.is_file():
        drift = _figures(path)
        if drift is not None and drift.labels == _labels(measured):
            return path, drift
        return path, _measure(model, path, listing, measured, again, workers)
    proof: dict[str, str] = {}

    def finish(partial: Path) -> dict[str, str]:
        runner = Runner(partial)
        drift = _measure(model, partial, listing, measured, again, workers)
        # The certificate holds int8 features, so other machines compare int8 with int8.
        issued = parity.issue(runner.embed, runner.backbone.preprocess)
        proof[FIGURES] = json.dumps(dataclasses.asdict(drift) | {"calibrated_on": len(hashes)})
        return proof | {parity.METADATA: issued.to_json()}

    precision.keep(quantization.quantise(model, crops), model, name, finish)
    drift = _figures(path)
    assert drift is not None
    return path, drift


def sample(listing: Listing) -> list[ImageRef]:
    """Return the images whose paths have the smallest hashes, in that order."""

    def key(ref: ImageRef) -> bytes:
        text = f"{_SEED}\0{ref.path}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=16).digest()

    return heapq.nsmallest(CALIBRATION + MEASURED, listing.images, key=key)


def _calibration(
    listing: Listing, refs: Sequence[ImageRef], preprocess: Preprocess
) -> tuple[NDArray[np.uint8], list[str], int]:
    """Decode the first readable images: crops, hashes of the files, and how many were tried."""
    crops: list[NDArray[np.uint8]] = []
    hashes: list[str] = []
    looked = 0
    for ref in refs:
        if len(crops) == CALIBRATION:
            break
        looked += 1
        try:
            data = datasets.read(listing, ref)[0]
            crops.append(images.decode(data, preprocess))
            hashes.append(hashlib.sha256(data).hexdigest())
        except ImageError:
            continue  # the run reports which images fail, and why
    if not crops:
        raise InputError("none of the images that int8 would be calibrated on can be read")
    return np.stack(crops), hashes, looked


def _measure(
    model: Path,
    other: Path,
    listing: Listing,
    refs: Sequence[ImageRef],
    on_calibration: bool,
    workers: int,
) -> Drift:
    """Compare two files on the same images: cosines, and accuracy if there are enough labels."""
    runners = [Runner(model), Runner(other)]
    sampled = features_of(images_of(listing, refs), runners, workers)
    if not len(sampled.rows):
        raise InputError("none of the images that the drift would be measured on can be read")
    cosine = row_cosine(*sampled.features)
    labels = [refs[row].label for row in sampled.rows]
    labelled, accuracies = _accuracies(sampled.features, labels, workers)
    return Drift(
        images=len(sampled.rows),
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine.min()),
        labelled=labelled,
        accuracy_fp32=accuracies[0],
        accuracy=accuracies[1],
        on_calibration=on_calibration,
        labels=_labels(refs),
    )


def _accuracies(
    features: list[NDArray[np.float32]], labels: Sequence[str | None], workers: int
) -> tuple[int, list[float | None]]:
    """Cross-validate logistic regression on several feature sets of the same images and folds."""
    _, codes = np.unique([label or "" for label in labels], return_inverse=True)
    counts = np.bincount(codes)
    usable = np.array([label is not None for label in labels]) & (counts[codes] >= FOLDS)
    if len(np.unique(codes[usable])) < 2 or not all(np.isfinite(f).all() for f in features):
        return 0, [None] * len(features)
    kept = np.unique(codes[usable], return_inverse=True)[1].astype(np.int64)
    fold = divisions(kept, FOLDS, _SEED, REPEATS)
    accuracies: list[float | None] = []
    for rows in features:
        data = TrainingSet(rows[usable], kept, fold, _SEED, workers)
        accuracies.append(LogisticRegressionHead().search(data).cv_accuracy)
    return len(kept), accuracies


def _fastest(
    model: Path, listing: Listing, budget: Budget, workers: int, notice: Notice
) -> tuple[Path, dict[str, Any]]:
    """Measure every precision on this machine and return the fastest inside the budget."""
    refs = sample(listing)
    files: dict[str, Path] = {"fp32": model}
    drifts: dict[str, Drift] = {}
    refused: dict[str, str] = {}
    for name in ("fp16", "int8"):
        try:
            if name == "int8":
                files[name], drifts[name] = quantised(model, listing, workers)
            else:
                files[name] = precision.variant(model, name)
                part = refs[-FP16_MEASURED:]
                drifts[name] = _measure(model, files[name], listing, part, False, workers)
        except HeadstartError as error:
            refused[name] = str(error)
    crops = _calibration(listing, refs[:CALIBRATION], describe(model).preprocess)[0]
    speeds = _speeds(files, crops)
    allowed = [name for name in files if name == "fp32" or drifts[name].within(budget)]
    best = max(allowed, key=lambda name: speeds[name])
    for name in files:
        verdict = "chosen" if name == best else "" if name in allowed else "outside the budget"
        summary = str(drifts[name]) if name in drifts else "the reference"
        ratio = speeds[name] / speeds["fp32"]
        notice(f"{name}: {speeds[name]:.1f} inferences/s a core, {ratio:.2f} × fp32; {summary}"
               + (f"; {verdict}" if verdict else ""))  # fmt: skip
    for name, reason in refused.items():
        notice(f"{name}: not available ({one_line(reason)})")
    drift = drifts.get(best)
    told_speeds = {name: round(speed, 2) for name, speed in speeds.items()}
    facts = {"precision": describe(files[best]).precision, "speeds": told_speeds}
    return files[best], facts | _facts(drift)


def _speeds(files: dict[str, Path], crops: NDArray[np.uint8]) -> dict[str, float]:
    """Return inferences per second on one core: the median of alternating rounds."""
    runners = {name: Runner(path) for name, path in files.items()}
    batch = np.resize(crops, (CPU_BATCH, *crops.shape[1:]))
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for number in range(_ROUNDS + 1):
        for name in list(files) if number % 2 else reversed(list(files)):
            started = time.perf_counter()
            for _ in range(_TIMED // CPU_BATCH):
                runners[name].embed(batch)
            seconds[name].append(time.perf_counter() - started)
    return {name: _TIMED / statistics.median(spent[1:]) for name, spent in seconds.items()}


def _allow(drift: Drift, budget: Budget, instead: str) -> None:
    """Raise `BackboneError` with int8's figures if they are outside the budget."""
    if drift.within(budget):
        return
    lost = "" if drift.loss is None else f" and {budget.loss:g} points of accuracy lost"
    raise BackboneError(
        f"int8 is outside the budget: {drift}; allowed: mean cosine {1 - budget.drift:g}{lost}; "
        f"{instead}, or allow more with --max-drift and --max-accuracy-loss"
    )


def _stored_model(model: Path, existing: str) -> Path | None:
    """Return the file of a store's precision if no calibration is needed for it."""
    try:
        return precision.variant(model, existing)
    except BackboneError:
        return None


def _figures(path: Path) -> Drift | None:
    try:
        document = json.loads(read_metadata(path)[FIGURES])
        document.pop("calibrated_on")
        return Drift(**document)
    except (KeyError, TypeError, ValueError):
        return None


def _facts(drift: Drift | None) -> dict[str, Any]:
    if drift is None:
        return {}
    return {"drift": dataclasses.asdict(drift) | {"accuracy_loss_points": drift.loss}}


def _labels(refs: Sequence[ImageRef]) -> str:
    return digest_of([[ascii(ref.path), ascii(ref.label)] for ref in refs])[:16]
