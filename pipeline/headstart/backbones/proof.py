"""How closely an exported graph gives the features of the original network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import parity as certificate
from headstart.backbones.inference.description import read_metadata
from headstart.backbones.inference.runner import Runner
from headstart.core.errors import BackboneError, HeadstartError, count, one_line
from headstart.core.linalg import row_cosine
from headstart.core.records import Backbone
from headstart.datasets import demo
from headstart.datasets.images.geometry import proportioned

MIN_COSINE = 0.9999
MAX_DIFFERENCE = 1e-3  # relative to the largest feature
_NARROW = 2  # features an image that tell few classes apart
_STILL = 0.9  # share of features that may be the same for all images before it is worth a line


@dataclasses.dataclass(frozen=True)
class Parity:
    """How far the ONNX graph is from the original on the same images.

    Attributes:
        max_difference: largest absolute difference of a feature.
        min_cosine: smallest cosine between the two feature vectors of an image.
        notes: what was chosen or assumed, for the user.
    """

    images: int
    max_difference: float
    min_cosine: float
    original: str = "torch"
    notes: tuple[str, ...] = ()

    @staticmethod
    def from_json(document: dict[str, Any]) -> Parity:
        """Rebuild the figures from their JSON document."""
        return Parity(**document | {"notes": tuple(document["notes"])})

    def __str__(self) -> str:
        figures = (
            f"ONNX against {self.original} on {self.images} images: largest difference "
            f"{self.max_difference:.1e}, smallest cosine {self.min_cosine:.7f}"
        )
        return "; ".join([figures, *self.notes])


def read_parity(model: Path) -> Parity:
    """Return the figures that `export` stored in a file."""
    try:
        properties = read_metadata(model)
        return Parity.from_json(json.loads(properties["headstart.parity"]))
    except Exception as error:  # parsers raise anything on foreign files
        raise BackboneError(
            f"{one_line(model)} is not a backbone that Headstart exported"
        ) from error


def samples(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw ``(n, h, w, 3)`` images to check parity on, one of every texture."""
    height, width = size
    return np.stack(
        [
            demo.draw(name, np.random.default_rng(index), max(size))[:height, :width]
            for index, name in enumerate(demo.CLASSES)
        ]
    )


def prove(
    runner: Runner,
    images: NDArray[np.uint8],
    expected: NDArray[np.float32],
    called: str,
    notes: Sequence[str],
) -> Parity:
    """Compare the graph's features with those of the original, layer by layer."""
    # A batch of one and one of the rest: a graph that only takes the example's batch fails here.
    features = np.concatenate([runner.embed(images[:1]), runner.embed(images[1:])])
    backbone = runner.backbone
    figures = []
    pairs = (certificate.by_layer(rows, backbone.widths) for rows in (features, expected))
    for ours, theirs, described in zip(*pairs, backbone.split_layers(), strict=True):
        difference = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
        parity = Parity(len(images), difference, float(row_cosine(ours, theirs).min()), called)
        limit = MAX_DIFFERENCE * float(np.abs(theirs).max())
        if not (parity.min_cosine >= MIN_COSINE and parity.max_difference <= limit):
            layer = f", layer {described.layer}," if backbone.parts else ""
            raise BackboneError(
                f"{one_line(backbone.name + layer)} was exported but is not equal ({parity}; "
                f"allowed: {limit:.1e} and {MIN_COSINE}); no file was written: choose another "
                "layer, because features must not depend on randomness or on the rest of the batch"
            )
        figures.append(parity)
    return Parity(
        len(images),
        max(parity.max_difference for parity in figures),
        min(parity.min_cosine for parity in figures),
        called,
        tuple(notes),
    )


def prove_shapes(runner: Runner, original: certificate.Embed) -> None:
    """Compare a graph with the original on images of other proportions than the square."""
    backbone = runner.backbone
    for width, height in ((2, 1), (3, 4)):
        images = samples(proportioned(width, height, backbone.preprocess.input_size))[:2]
        try:
            ours, theirs = runner.embed(images), original(images)
        except HeadstartError as error:
            raise _fixed(backbone, error) from error
        limit = MAX_DIFFERENCE * float(np.abs(theirs).max())
        if not float(np.abs(ours - theirs).max()) <= limit:
            raise _fixed(backbone, "its graph gives other features for other proportions")


def _fixed(backbone: Backbone, cause: object) -> BackboneError:
    height, width = backbone.preprocess.input_size
    return BackboneError(
        f"{one_line(backbone.name)} takes images of {height} × {width} only, so --fit whole cannot "
        f"be; use --fit pad or squash ({one_line(cause)[:120]})"
    )


def remarks(features: NDArray[np.float32], backbone: Backbone) -> list[str]:
    """Return remarks on the features ``(n, d)`` of different images, if they tell little.

    Raises:
        BackboneError: they are the same for all images, and so of no use.
    """
    name, advice = one_line(backbone.name), "choose another --layer"
    spread = np.ptp(features.astype(np.float64), axis=0)
    still = spread <= 1e-5 * np.abs(features).max(axis=0)
    if still.all():
        raise BackboneError(
            f"{name}: layer {one_line(backbone.layer)} gives the same features for "
            f"{len(features)} different images, so nothing can be learned from them; {advice}, or "
            "check the file and its preprocessing"
        )
    notes = []
    if still.mean() > _STILL:
        moving = int((~still).sum())
        notes.append(f"only {moving:,} of {len(still):,} features differ between images; {advice}")
    if len(still) <= _NARROW:
        few = count(len(still), "feature")
        notes.append(f"only {few} an image, which tell few classes apart; {advice}")
    return notes
