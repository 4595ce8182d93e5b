"""A finished model in other arithmetic: the network converted, the head as it is, and measured.

The network is taken out of the model and converted as `features --precision` does; head and
distance are sewn behind it again. Both models then answer labelled images, and what they differ
in decides whether there is a file.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import datasets
from headstart.backbones.inference import parity, precision, precision_choice
from headstart.backbones.inference.description import (
    DISTANCE,
    HEAD_INPUT,
    INPUT,
    LABEL,
    METADATA,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
)
from headstart.backbones.inference.extract import extract, images_of
from headstart.core.choices import MODEL_PRECISIONS
from headstart.core.errors import (
    BackboneError,
    HeadstartError,
    InputError,
    one_line,
)
from headstart.core.files import replacing, sha256_of
from headstart.core.linalg import row_cosine
from headstart.core.parallel import available_cores
from headstart.core.records import ImageRef, Listing
from headstart.models import seal
from headstart.models.bundle.joining import declare_operators, joined, needs
from headstart.models.classifier import Answers, Model

KINDS = MODEL_PRECISIONS
MEASURED = 1000  # images, at most


@dataclass(frozen=True)
class Change:
    """How a variant's answers differ from the model's, on the same images.

    Attributes:
        images: how many.
        equal_labels: share of images that get the same label.
        max_difference: largest absolute difference of a probability.
        mean_difference: mean over the images of the largest difference of a probability.
        mean_cosine: mean cosine of the features.
        min_cosine: smallest cosine.
        labelled: images whose class is known to the model.
        accuracy_before: share of those that the model gets right; None if there are none.
        accuracy: likewise the variant.
        unlike_before: share of images marked as unlike the training set; None if not known.
        unlike: likewise by the variant.
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

    @property
    def loss(self) -> float:
        """Percentage points of accuracy lost; without labels, of labels changed."""
        if self.accuracy is None or self.accuracy_before is None:
            return round(100 * (1 - self.equal_labels), 3)
        return round(100 * (self.accuracy_before - self.accuracy), 3)

    def within(self, allowed: precision_choice.Budget) -> bool:
        """Say whether drift and loss are inside a budget."""
        return 1 - self.mean_cosine <= allowed.drift and self.loss <= allowed.loss

    def __str__(self) -> str:
        """Say it in one line."""
        known = self.accuracy is not None and self.accuracy_before is not None
        accuracy = (
            f"accuracy {self.accuracy:.1%}, before {self.accuracy_before:.1%}"
            if known
            else "no labels, so accuracy is not known"
        )
        return (
            f"{self.equal_labels:.2%} equal labels on {self.images:,} images, {accuracy}; "
            f"probabilities differ by up to {self.max_difference:.2g}, "
            f"{self.mean_difference:.2g} on average; features' cosine "
            f"{self.mean_cosine:.4f}, smallest {self.min_cosine:.4f}"
        )


def write_variant(
    path: Path,
    kind: str,
    data: str,
    out: Path,
    allowed: precision_choice.Budget | None = None,
    workers: int | None = None,
) -> Change:
    """Write a model in other arithmetic; one outside the budget is not written.

    Args:
        path: a model file in fp32.
        kind: one of `KINDS`.
        data: labelled images, as `headstart.datasets.open_source` takes them. Those of the test
            split, if there is one, measure; the others calibrate int8.
        out: the file to write.
        allowed: how far answers may be from the model's; None for the defaults.
        workers: threads; None means one per core.

    Raises:
        InputError: there are no such images, or ``out`` is the model itself.
        BackboneError: the model cannot be used or converted, or the variant is outside the budget;
            the message gives the figures.
        OutputError: the file cannot be written.
    """
    if out.resolve() == path.resolve():
        raise InputError(f"{one_line(out)} is the model itself; give another --out")
    model, allowed = Model(path), allowed or precision_choice.Budget()
    if model.backbone.precision != "fp32":
        raise BackboneError(
            f"{one_line(path)} is in {model.backbone.precision} already; take the fp32 model"
        )
    listing = datasets.open_source(data)
    workers = workers or available_cores()
    with tempfile.TemporaryDirectory(prefix="headstart-variant-") as folder:
        trunk, head = _parts(path, Path(folder) / "trunk.onnx")
        network, refs = _converted(trunk, kind, listing, workers)
    with replacing(out) as partial:
        _save(partial, network, head, dict(model.facts))
        change = _compare(model, Model(partial), listing, refs, workers)
        if not change.within(allowed):
            raise BackboneError(
                f"{out.name} was not written, {kind} is outside the budget: {change}; allowed: "
                f"mean cosine {1 - allowed.drift:g} and {allowed.loss:g} points of accuracy lost; "
                "allow more with --max-drift and --max-accuracy-loss"
            )
        told = {"kind": kind, "of": sha256_of(path)} | dataclasses.asdict(change)
        _save(partial, network, head, model.facts | {"variant": told})
    return change


def _parts(path: Path, trunk: Path) -> tuple[Path, Any]:
    """Take a model apart: the network as a file of its own, and head and distance as a graph."""
    import onnx
    from onnx.utils import Extractor

    whole = onnx.load(path)
    extractor = Extractor(whole)
    outputs = [value.name for value in whole.graph.output]
    rest = [name for name in (PROBABILITIES, LABEL, DISTANCE) if name in outputs]
    try:
        network = extractor.extract_model([INPUT], [OUTPUT])
        head = extractor.extract_model([OUTPUT], rest)
    except Exception as error:  # whatever a foreign graph does to the extractor
        raise BackboneError(
            f"{one_line(path)} cannot be taken apart: {one_line(error)[:200]}"
        ) from error
    held = {prop.key: prop.value for prop in whole.metadata_props}
    kept = {key: held[key] for key in (METADATA, parity.METADATA) if key in held}
    declare_operators(network)
    del network.metadata_props[:]
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
    """Return the network in other arithmetic, and the images to measure it on."""
    import onnx

    tested = [ref for ref in listing.images if ref.split == "test"]
    others = [ref for ref in listing.images if ref.split != "test"] if tested else listing.images
    if kind == "fp16":
        return onnx.load(precision.variant(trunk, kind)), _drawn(listing, tested or others)
    calibrating = dataclasses.replace(listing, images=tuple(others))
    made, _ = precision_choice.quantised(trunk, calibrating, workers)
    if not tested:  # those that calibrated come first in this order; the last ones measure
        tested = precision_choice.sample(calibrating)[precision_choice.CALIBRATION :] or list(
            others
        )
    return onnx.load(made), _drawn(listing, tested)


def _drawn(listing: Listing, refs: Sequence[ImageRef]) -> Sequence[ImageRef]:
    return precision_choice.sample(dataclasses.replace(listing, images=tuple(refs)))[:MEASURED]


def _save(path: Path, network: Any, head: Any, facts: dict[str, Any]) -> None:  # noqa: ANN401
    """Write network and head as one sealed file."""
    import onnx

    model = joined(network, head, None)
    metadata = {prop.key: prop.value for prop in network.metadata_props}
    metadata[MODEL_METADATA] = json.dumps(facts | needs(model))
    metadata[seal.KEY] = seal.blank()
    onnx.helper.set_model_props(model, metadata)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise HeadstartError(f"the joined graph is not valid: {one_line(error)[:200]}") from error
    onnx.save(model, path)
    seal.seal(path)


def _compare(
    before: Model, after: Model, listing: Listing, refs: Sequence[ImageRef], workers: int
) -> Change:
    images = images_of(listing, refs)
    networks = [before.answer, after.answer]
    results = list(extract(images, before.backbone.preprocess, networks, workers))
    results = sorted((one for one in results if one.numbers), key=lambda one: one.numbers)
    if not results:
        raise InputError("none of the images that it would be measured on can be read")
    numbers = [number for result in results for number in result.numbers]
    code = {name: number for number, name in enumerate(before.classes)}
    truth = np.array([code.get(refs[number].label or "", -1) for number in numbers])
    a, b = (_stacked([result.outputs[part] for result in results]) for part in (0, 1))
    labels = [part.probabilities.argmax(axis=1) for part in (a, b)]
    known = truth >= 0
    cosine = row_cosine(a.features, b.features)
    right = [float((part == truth)[known].mean()) if known.any() else None for part in labels]
    apart = np.abs(a.probabilities - b.probabilities).max(axis=1)
    limit = before.threshold
    unlike = [float((part.distance > limit).mean()) if limit else None for part in (a, b)]
    return Change(
        images=len(numbers),
        equal_labels=float((labels[0] == labels[1]).mean()),
        max_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
        mean_cosine=float(cosine.mean()),
        min_cosine=float(cosine.min()),
        labelled=int(known.sum()),
        accuracy_before=right[0],
        accuracy=right[1],
        unlike_before=unlike[0],
        unlike=unlike[1],
    )


def _stacked(parts: Sequence[Answers]) -> Answers:
    fields = ("probabilities", "features", "distance")
    return Answers(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
