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
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.backbones.inference import parity, precision, quantization
from headstart.backbones.inference.description import describe, read_metadata
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.precision_budget import Budget as Budget
from headstart.backbones.inference.precision_budget import Drift as Drift
from headstart.backbones.inference.runner import CPU_BATCH, Runner, has_integer_units
from headstart.core import targets
from headstart.core.errors import BackboneError, HeadstartError, ImageError, InputError, one_line
from headstart.core.linalg import row_cosine
from headstart.core.parallel import available_cores
from headstart.core.records import ImageRef, Listing, Preprocess, digest_of
from headstart.datasets import images

CALIBRATION = 64  # images
MEASURED = 1000  # images, none of them for calibration if there are enough
STEPS = (250, 500, MEASURED)  # of which a choice takes the most that its time suffices for
FEWEST = 30  # images to measure; with fewer, the calibration images measure too
FIGURES = "headstart.int8"
# Activations and normalisations that onnxruntime computes in float.
_IN_FLOAT = {
    "Sigmoid", "HardSigmoid", "HardSwish", "Erf", "Gelu", "Tanh", "Softmax", "LayerNormalization",
}  # fmt: skip
_SEED = 0
_ROUNDS, _TIMED = 5, 4 * CPU_BATCH  # rounds and images of the speed measurement
_CLEAR = {1: 2.0, 2: 1.1}  # after so many rounds, a ratio beyond this needs no other
_SECONDS = 3.5  # to infer the images that are measured for a choice

Notice = Callable[[str], None]
Enough = Callable[[Path], int]  # from a file to the number of images to measure it on; 0: drop it


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


class _NotFaster(BackboneError):
    """A file that is not worth measuring."""


def quantised(
    model: Path,
    listing: Listing,
    workers: int,
    enough: Enough = lambda path: MEASURED,
    budget: Budget | None = None,
) -> tuple[Path, Drift]:
    """Return the int8 file calibrated on a sample of a listing, and its drift on other images.

    ``enough`` is asked before the drift is measured, and may drop the file by 0. Accuracy outside
    ``budget`` is measured again on all images of the sample, since few make it uncertain.
    """
    preprocess = describe(model).preprocess
    refs = sample(listing)
    crops, hashes, used = _calibration(listing, refs, preprocess)
    name = f"int8+{digest_of({'recipe': quantization.VERSION, 'images': hashes})[:16]}"
    path = precision.place(model, name)
    others, again = refs[used:], False
    if len(others) < FEWEST:
        others, again = refs, True

    def measure(file: Path) -> Drift:
        count = enough(file)
        if not count:
            raise _NotFaster("slower than fp32 here")
        drift = _figures(file)
        digests = {_labels(others[:step]) for step in (*STEPS, len(others)) if step >= count}
        if drift is not None and drift.labels in digests:
            return drift
        drift = _measure(model, file, listing, others[:count], again, workers)
        if budget is None or 1 - drift.mean_cosine > budget.drift:
            return drift
        if drift.loss is None or drift.loss <= budget.loss:
            return drift
        if count >= len(others):
            return drift
        return _measure(model, file, listing, others, again, workers)

    if path.is_file():
        return path, measure(path)
    proof: dict[str, str] = {}

    def finish(partial: Path) -> dict[str, str]:
        runner = Runner(partial)
        drift = measure(partial)
        # The certificate holds int8 features, so other machines compare int8 with int8.
        issued = parity.issue(runner.embed, runner.backbone.preprocess)
        proof[FIGURES] = json.dumps(dataclasses.asdict(drift) | {"calibrated_on": len(hashes)})
        return proof | {parity.METADATA: issued.to_json()}

    precision.keep(quantization.quantise(model, crops), model, name, finish)
    drift = _figures(path)
    assert drift is not None
    return path, drift


def would_pay(model: Path) -> bool:
    """Say whether int8 is likely to be about twice as fast here; False if that is unknown.

    It is on processors with VNNI or AMX, for networks whose operators all have an integer form.
    What returns to float between two convolutions costs more than these gain.
    """
    if not has_integer_units():
        return False
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    return _IN_FLOAT.isdisjoint(node.op_type for node in graph.node)


def sample(listing: Listing) -> list[ImageRef]:
    """Return the images whose paths have the smallest hashes, in that order."""

    def key(ref: ImageRef) -> bytes:
        text = f"{_SEED}\0{ref.path}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=16).digest()

    return heapq.nsmallest(CALIBRATION + MEASURED, listing.images, key=key)


def _calibration(
    listing: Listing, refs: Sequence[ImageRef], preprocess: Preprocess
) -> tuple[list[NDArray[np.uint8]], list[str], int]:
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
    return crops, hashes, looked


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
    kind = targets.by_name(listing.target).part("precision")
    loss = kind.compare(sampled.features, [refs[row] for row in sampled.rows], workers)
    return Drift(
        images=len(sampled.rows),
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine.min()),
        labelled=0 if loss is None else loss.images,
        accuracy_fp32=None if loss is None else loss.before,
        accuracy=None if loss is None else loss.after,
        on_calibration=on_calibration,
        labels=_labels(refs),
        loss_error=0.0 if loss is None else loss.error,
        score=kind.SCORE,
    )


def _fastest(
    model: Path, listing: Listing, budget: Budget, workers: int, notice: Notice
) -> tuple[Path, dict[str, Any]]:
    """Return the fastest file on this machine inside the budget.

    Speed is measured first, within a second a file. What is slower than float32 cannot win, and
    its drift is not measured.
    """
    refs = sample(listing)
    crops = _calibration(listing, refs[:CALIBRATION], describe(model).preprocess)[0]
    race = _Race(model, crops, workers)
    files, drifts = {"fp32": model}, dict[str, Drift]()
    refused: dict[str, str] = {}
    for name in ("fp16", "int8"):
        try:
            if name == "int8":
                enough = race.enough(name)
                files[name], drifts[name] = quantised(model, listing, workers, enough, budget)
            else:
                half = precision.variant(model, name)
                if count := race.enough(name)(half):
                    part = refs[-min(count, STEPS[0]) :]  # enough to see rounding to 11 bits
                    drifts[name] = _measure(model, half, listing, part, False, workers)
                    files[name] = half
        except _NotFaster:
            continue
        except HeadstartError as error:
            refused[name] = str(error)
    allowed = [name for name in files if name == "fp32" or drifts[name].within(budget)]
    best = max(allowed, key=lambda name: race.speeds[name])
    for name, speed in race.speeds.items():
        if name not in files:
            summary = "slower, so its drift was not measured"
        else:
            summary = str(drifts[name]) if name in drifts else "the reference"
            verdict = "" if name in allowed else "; outside the budget"
            summary += "; chosen" if name == best else verdict
        ratio = speed / race.speeds["fp32"]
        notice(f"{name}: {speed:.1f} inferences/s a core, {ratio:.2f} × fp32; {summary}")
    for name, reason in refused.items():
        notice(f"{name}: not available ({one_line(reason)})")
    drift = drifts.get(best)
    rounded = {name: round(speed, 2) for name, speed in race.speeds.items()}
    facts = {"precision": describe(files[best]).precision, "speeds": rounded}
    return files[best], facts | _facts(drift)


class _Race:
    """Times files against the float32 one, on one core.

    Attributes:
        speeds: inferences a second, by the name of a precision.
    """

    def __init__(self, model: Path, crops: Sequence[NDArray[np.uint8]], workers: int) -> None:
        self._reference, self._workers = Runner(model), workers
        alike = np.stack([crop for crop in crops if crop.shape == crops[0].shape])
        self._batch = np.resize(alike, (CPU_BATCH, *alike.shape[1:]))
        self._reference.embed(self._batch)  # the first inference allocates
        self.speeds = {"fp32": _TIMED / _seconds(self._reference, self._batch)}

    def enough(self, name: str) -> Enough:
        """Return a function that times a file and says on how many images to measure its drift.

        On none if it is not faster than float32; else on the most of `STEPS` that `_SECONDS` allow.
        """

        def count(path: Path) -> int:
            self.speeds[name] = speed = self.speeds["fp32"] * self._ratio(Runner(path))
            if speed <= self.speeds["fp32"]:
                return 0
            images = _SECONDS * self._workers / (1 / speed + 1 / self.speeds["fp32"])
            return max([step for step in STEPS if step <= images], default=STEPS[0])

        return count

    def _ratio(self, runner: Runner) -> float:
        """Return the median speed against float32 in rounds of turning order."""
        pair, ratios = (self._reference, runner), list[float]()
        runner.embed(self._batch)
        while len(ratios) < _ROUNDS:
            order = pair if len(ratios) % 2 else pair[::-1]
            seconds = {each: _seconds(each, self._batch) for each in order}
            ratios.append(seconds[self._reference] / seconds[runner])
            clear = _CLEAR.get(len(ratios), math.inf)
            if min(ratios) > clear or max(ratios) < 1 / clear:
                break
        return statistics.median(ratios)


def _seconds(runner: Runner, batch: NDArray[np.uint8]) -> float:
    """Return the seconds that `_TIMED` images take."""
    started = time.perf_counter()
    for _ in range(_TIMED // CPU_BATCH):
        runner.embed(batch)
    return time.perf_counter() - started


def _allow(drift: Drift, budget: Budget, instead: str) -> None:
    """Raise `BackboneError` with int8's figures if they are outside the budget."""
    if drift.within(budget):
        return
    lost = "" if drift.loss is None else f"points of {drift.score} lost"
    raise BackboneError(
        f"int8 is outside the budget: {drift}; allowed: {budget.shown(lost)}; "
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
    return digest_of([[ascii(ref.path), *_names(ref)] for ref in refs])[:16]


def _names(ref: ImageRef) -> list[str]:
    """Return what is known of an image's class or labels, for a digest."""
    one_class = ascii(ref.label)
    return [one_class] if ref.labels is None else [one_class, *map(ascii, ref.labels)]
