"""Convert a finished model to another precision, and measure the difference.

The network is extracted from the model and converted as `features --precision` does; head and
distance are joined to it unchanged. Both models then classify the same images. If their answers
differ too much, no file is written.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import datasets
from headstart.backbones.inference import external_data, parity, precision, precision_choice
from headstart.backbones.inference.description import (
    DISTANCE,
    HEAD_INPUT,
    INPUT,
    LABEL,
    LABELS,
    METADATA,
    OUTPUT,
    PROBABILITIES,
    read_metadata,
)
from headstart.backbones.inference.extract import extract, images_of
from headstart.backbones.inference.precision_budget import standard_error
from headstart.core import targets, training_profile
from headstart.core.choices import MODEL_PRECISIONS
from headstart.core.errors import BackboneError, HeadstartError, InputError, one_line
from headstart.core.files import replacing, sha256_of
from headstart.core.linalg import row_cosine
from headstart.core.onnx_format import ModelProto
from headstart.core.parallel import available_cores
from headstart.core.records import ImageRef, Listing
from headstart.datasets import DEFAULTS, Options
from headstart.models import training_images
from headstart.models.bundle.joining import declare_operators, joined, needs, save_sealed
from headstart.models.classifier import Answers, Classifier

KINDS = MODEL_PRECISIONS
MEASURED = 1000  # images, at most


@dataclass(frozen=True)
class KeptPoint:
    """A threshold, which is the original model's, and what the variant does beyond it.

    ``share`` of the labelled images are answered, with this ``accuracy``, None if none is;
    ``accuracy_before`` is the original's beyond the same threshold.
    """

    target: float
    threshold: float
    share: float
    accuracy: float | None
    accuracy_before: float | None

    def __str__(self) -> str:
        right = "none right" if self.accuracy is None else f"{self.accuracy:.1%} right"
        return f"{100 * self.target:g}% answers {self.share:.1%}, {right}"


@dataclass(frozen=True)
class Change:
    """How the converted model's answers differ from the model's, on the same images.

    Attributes:
        max_difference: largest absolute difference of a probability.
        mean_difference: mean over the images of the largest difference of a probability.
        mean_cosine: mean cosine of the features; ``min_cosine`` is the smallest.
        equal_labels: share of images, or of labels of images, with the same answer.
        labelled: number of images with a label that is one of the model's.
        accuracy_before: of the model on those, or what ``score`` names; None if there are none.
        unlike_before: share of images marked as unlike the training set; None without a threshold.
        points: what the thresholds of confidence, which stay those of the model, do in the variant.
        loss_error: standard error of `loss`, from what both answer to the same images.
    """

    images: int
    equal_labels: float
    max_difference: float
    mean_difference: float
    mean_cosine: float
    min_cosine: float
    labelled: int
    accuracy_before: float | None
    accuracy: float | None
    unlike_before: float | None
    unlike: float | None
    score: str = "accuracy"
    points: tuple[KeptPoint, ...] = ()
    loss_error: float = 0.0

    @property
    def loss(self) -> float:
        """Percentage points of accuracy lost; without labels, of predictions changed."""
        if self.accuracy is None or self.accuracy_before is None:
            return round(100 * (1 - self.equal_labels), 3)
        return round(100 * (self.accuracy_before - self.accuracy), 3)

    def within(self, allowed: precision_choice.Budget) -> bool:
        """Return whether drift and loss are within a budget, as those of features are."""
        return allowed.allows(self.mean_cosine, self.loss, self.loss_error)

    def __str__(self) -> str:
        accuracy = f"{self.score} not measured, as there are no labels"
        if self.accuracy is not None and self.accuracy_before is not None:
            accuracy = f"{self.score} {self.accuracy:.1%}, before {self.accuracy_before:.1%}" + (
                f" (a loss of {self.loss:.1f} ± {self.loss_error:.1f} points)"
                * (self.loss_error > 0)
            )
        return (
            f"{self.equal_labels:.2%} equal labels on {self.images:,} images, {accuracy}; "
            f"probabilities differ by up to {self.max_difference:.2g}, "
            f"{self.mean_difference:.2g} on average; features' cosine "
            f"{self.mean_cosine:.4f}, smallest {self.min_cosine:.4f}"
            + (
                f"; thresholds are the model's: {'; '.join(map(str, self.points))}"
                * bool(self.points)
            )
        )


def write_variant(
    path: Path,
    kind: str,
    data: str,
    out: Path,
    allowed: precision_choice.Budget | None = None,
    workers: int | None = None,
    reading: Options = DEFAULTS,
) -> Change:
    """Convert an fp32 model to one of `KINDS`; a model outside the budget is not written.

    The labelled ``data``, read as ``reading`` says, measure the difference, on the test split if
    there is one. The other images calibrate int8.

    Raises:
        InputError: there are no such images, or ``out`` is the model itself.
        BackboneError: the model cannot be used or converted, or is outside the budget.
    """
    if out.resolve() == path.resolve():
        raise InputError(f"{one_line(out)} is the model itself; choose another --out")
    model, allowed = Classifier(path), allowed or precision_choice.Budget()
    if model.takes_features:
        raise BackboneError(
            f"{one_line(path)} takes features and has no network to convert; ship it as it is"
        )
    if model.backbone.precision != "fp32":
        raise BackboneError(
            f"{one_line(path)} is in {model.backbone.precision} already; convert the fp32 model"
        )
    listing = datasets.open_source(data, reading)
    if listing.classes and listing.target != model.target:
        mine, theirs = (targets.by_name(name).answers for name in (model.target, listing.target))
        raise InputError(
            f"{one_line(path)} returns {mine} an image, but {one_line(data)} has {theirs}; give "
            f"images with {mine}, or add --target {model.target} if the labels can be read so"
        )
    workers = workers or available_cores()
    with tempfile.TemporaryDirectory(prefix="headstart-variant-") as folder:
        trunk, head = _parts(path, Path(folder) / "trunk.onnx")
        network, refs = _converted(trunk, kind, listing, workers)
    # Not by way of the network, whose variants are kept for all models that have it.
    metadata = read_metadata(path)
    # Features in int8 lie elsewhere, all of them a little, so there drift is not measured.
    keys = (training_images.KEY, *([training_profile.KEY] if kind == "fp16" else []))
    images = {key: metadata[key] for key in keys if key in metadata}
    with replacing(out) as partial:
        _save(partial, network, head, dict(model.facts), images)
        change = _compare(model, Classifier(partial), listing, refs, workers)
        if not change.within(allowed):
            unlabelled = change.accuracy is None
            lost = "% of the labels changed" if unlabelled else f"points of {change.score} lost"
            raise BackboneError(
                f"{out.name} was not written: {kind} is outside the budget: {change}; allowed: "
                f"{allowed.shown(lost)}; raise the budget with --max-drift and --max-accuracy-loss"
            )
        variant = {"kind": kind, "of": sha256_of(path)} | dataclasses.asdict(change)
        _save(partial, network, head, model.facts | {"variant": variant}, images)
    return change


def _parts(path: Path, trunk: Path) -> tuple[Path, Any]:
    """Split a model: the network as a file of its own, and head and distance as a graph."""
    import onnx
    from onnx.utils import Extractor

    external_data.refuse(path, "another precision")
    whole = onnx.load(path)
    extractor = Extractor(whole)
    outputs = [value.name for value in whole.graph.output]
    rest = [name for name in (PROBABILITIES, LABEL, LABELS, DISTANCE) if name in outputs]
    try:
        network = extractor.extract_model([INPUT], [OUTPUT])
        head = extractor.extract_model([OUTPUT], rest)
    except Exception as error:  # of any kind, from a graph of another origin
        raise BackboneError(
            f"{one_line(path)} cannot be split into network and head: {one_line(error)[:200]}"
        ) from error
    metadata = {prop.key: prop.value for prop in whole.metadata_props}
    kept = {key: metadata[key] for key in (METADATA, parity.METADATA) if key in metadata}
    declare_operators(network)
    onnx.helper.set_model_props(network, kept)
    onnx.save(network, trunk)
    for node in head.graph.node:
        node.input[:] = [HEAD_INPUT if name == OUTPUT else name for name in node.input]
    head.graph.input[0].name = HEAD_INPUT
    del head.graph.value_info[:]
    del head.metadata_props[:]
    return trunk, head


def _converted(
    trunk: Path, kind: str, listing: Listing, workers: int
) -> tuple[Any, Sequence[ImageRef]]:
    """Return the converted network, and the images to measure it on."""
    import onnx

    tested = [ref for ref in listing.images if ref.split == "test"]
    others = [ref for ref in listing.images if ref.split != "test"] if tested else listing.images
    if kind == "fp16":
        return onnx.load(precision.variant(trunk, kind)), _drawn(listing, tested or others)
    calibrating = dataclasses.replace(listing, images=tuple(others))
    quantised, _ = precision_choice.quantised(trunk, calibrating, workers)
    if not tested:  # the first images of this order calibrated; the last ones measure
        tested = precision_choice.sample(calibrating)[precision_choice.CALIBRATION :] or list(
            others
        )
    return onnx.load(quantised), _drawn(listing, tested)


def _drawn(listing: Listing, refs: Sequence[ImageRef]) -> Sequence[ImageRef]:
    return precision_choice.sample(dataclasses.replace(listing, images=tuple(refs)))[:MEASURED]


def _save(
    path: Path,
    network: ModelProto,
    head: ModelProto,
    facts: dict[str, Any],
    images: dict[str, str],
) -> None:
    """Write network and head as one sealed file."""
    import onnx

    model = joined(network, head, None)
    metadata = {prop.key: prop.value for prop in network.metadata_props} | images
    try:
        save_sealed(model, metadata, facts | needs(model), path)
    except onnx.checker.ValidationError as error:
        raise HeadstartError(f"the joined graph is not valid: {one_line(error)[:200]}") from error


def _compare(
    before: Classifier, after: Classifier, listing: Listing, refs: Sequence[ImageRef], workers: int
) -> Change:
    images = images_of(listing, refs)
    networks = [before.answer, after.answer]
    results = list(extract(images, before.backbone.preprocess, networks, workers))
    results = sorted((r for r in results if r.numbers), key=lambda result: result.numbers)
    if not results:
        raise InputError("none of the images to measure on can be read")
    numbers = [number for result in results for number in result.numbers]
    kind = targets.by_name(before.target).part("model")
    truth = kind.truth(before, [refs[number] for number in numbers], set(listing.classes))
    a, b = map(_stacked, zip(*(result.outputs for result in results), strict=True))
    decided = [kind.decided(before, part.probabilities) for part in (a, b)]
    scores = [kind.score(truth, part.probabilities) for part in (a, b)]
    cosine = row_cosine(a.features, b.features)
    apart = np.abs(a.probabilities - b.probabilities).max(axis=1)
    changed = (decided[0] != decided[1]).reshape(len(numbers), -1).mean(axis=1)
    error = kind.loss_error(truth, a.probabilities, b.probabilities)
    limit = before.threshold
    unlike = [float((part.distance > limit).mean()) if limit else None for part in (a, b)]
    return Change(
        images=len(numbers),
        equal_labels=float(1 - changed.mean()),
        max_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine.min()),
        labelled=int((truth.reshape(len(truth), -1) >= 0).any(axis=1).sum()),
        accuracy_before=scores[0],
        accuracy=scores[1],
        unlike_before=unlike[0],
        unlike=unlike[1],
        score=kind.SCORE,
        points=tuple(_points(before, truth, a, b)) if (truth >= 0).any() else (),
        loss_error=standard_error(changed) if scores[1] is None else error,
    )


def _points(
    model: Classifier, truth: NDArray[np.intp], before: Answers, after: Answers
) -> Iterator[KeptPoint]:
    """Yield what a model's thresholds do in its variant, on the labelled images."""
    labelled = truth >= 0
    for target, threshold in sorted(model.thresholds.items()):
        accuracies: list[float | None] = []
        share = 0.0
        for answers in (before, after):
            scores = answers.probabilities[labelled]
            right = scores.argmax(axis=1) == truth[labelled]
            answered = scores.max(axis=1) >= threshold
            accuracies.append(float(right[answered].mean()) if answered.any() else None)
            share = float(answered.mean())
        yield KeptPoint(target, threshold, share, accuracies[1], accuracies[0])


def _stacked(parts: Sequence[Answers]) -> Answers:
    fields = ("probabilities", "features", "distance")
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
