"""The facts that stages hand to each other: frozen dataclasses, no behaviour beyond identity.

Identity is one canonical JSON document hashed with SHA-256 (`Extraction.digest`): equal documents
mean interchangeable features, and anything that changes a feature vector must be in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.reading import ImageReader
from headstart.core.rows import Features, Pixels

SPLITS = ("train", "validation", "test", "")
RANDOM = "+random"  # in the name of a backbone without training
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image that a source lists."""

    path: str  # its name in stores and reports: relative to the source's root, with ``/``
    label: str | None  # the class name; None when unknown
    split: str  # train, validation, test or empty


@dataclass(frozen=True)
class Listing:
    """The images of a source.

    Attributes:
        root: the folder that image paths are relative to.
        classes: in natural order, as ``images`` are; a label's code is its index here.
        ignored: how many files are not images, by reason.
        reader: reads the images where they are not files of their own.
    """

    root: Path
    images: Sequence[ImageRef]
    classes: tuple[str, ...]
    ignored: dict[str, int]
    name: str
    reader: ImageReader | None = None


@dataclass(frozen=True)
class Preprocess:
    """How an image file becomes a ``(height, width, 3) uint8`` array.

    Attributes:
        resize: the shorter side after resizing, in pixels, as torchvision's ``Resize`` takes it; a
            pair ``(height, width)`` instead gives every image that size, whatever its proportions.
        crop: the side of the central square that is kept, in pixels, or ``(height, width)``.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``; always antialiased.
        policy: version of the rules of `datasets.images`; other pixels are another version.
    """

    resize: int | tuple[int, int]
    crop: int | tuple[int, int]
    interpolation: str = "bicubic"
    policy: int = 3

    def __post_init__(self) -> None:
        """Refuse impossible sizes and unknown interpolations with a ``ValueError``."""
        for crop, resize in zip(self.size, _pair(self.resize), strict=True):
            if not 1 <= crop <= resize:
                raise ValueError(f"crop {self.crop} must lie between 1 and resize {self.resize}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {self.interpolation!r} is none of {INTERPOLATIONS}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the array."""
        return _pair(self.crop)

    @staticmethod
    def from_json(document: dict[str, Any]) -> Preprocess:
        """Rebuild from JSON; a missing or unknown key is a ``TypeError``."""
        values = dict(document)
        for key in ("resize", "crop"):
            if isinstance(values.get(key), list):
                values[key] = tuple(values[key])
        return Preprocess(**values)


@dataclass(frozen=True)
class Choice:
    """The backbone that a user asks for, in the user's words.

    Attributes:
        name: a name from ``headstart backbones``, or an exported ONNX file.
        weights: a weights file, ``random`` or ``random:SEED``; empty means the published weights.
        layer: a layer as the library spells it; empty means the input of its own classifier.
        pool: ``avg``, ``max``, ``gem``, ``cls`` or ``flatten``; empty means the layer's default.
        preprocess: for an ONNX file from elsewhere, see `backbones.onnx_import.recipe.read`.
        layers: several layers in one pass, in place of ``layer``; ``pool`` is for each of them.
    """

    name: str
    weights: str = ""
    layer: str = ""
    pool: str = ""
    preprocess: str = ""
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One of several layers whose features are computed together; see `Backbone`."""

    layer: str
    pool: str
    dim: int


@dataclass(frozen=True)
class Backbone:
    """A pretrained network, cut at one layer, as the exported ONNX file describes itself.

    Attributes:
        name: for instance ``efficientnet-lite0`` or ``timm:resnet50.a1_in1k``; a final ``+file``
            means the user's own weights, ``+random`` no training at all.
        source: where architecture and weights come from.
        weights_sha256: hash of the weights file.
        licence: SPDX identifier of the weights' licence.
        layer: the layer whose output is pooled.
        precision: the arithmetic of the exported graph: ``fp32``, ``fp16``, or ``int8+`` and the
            digest of the images that it was calibrated on and of the recipe.
        dim: features per image.
        mean: per-channel mean, red first, on the 0…1 scale; applied inside the graph.
        std: per-channel standard deviation, likewise.
        order: the channels' order in the network, ``RGB`` or ``BGR``; converted inside the graph.
        parts: the layers of a network with several as outputs, in the order of computation; a row
            of features is theirs side by side, ``layer`` and ``pool`` name them all and ``dim`` is
            their sum. Empty for a network with one output.
    """

    name: str
    source: str
    weights_sha256: str
    licence: str
    layer: str
    pool: str
    precision: str
    dim: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    preprocess: Preprocess
    order: str = "RGB"
    parts: tuple[Part, ...] = ()

    def with_layers(self, parts: Sequence[Part]) -> Backbone:
        """Return the same network with these layers as outputs, one or several."""
        if len(parts) == 1:
            return dataclasses.replace(self, **dataclasses.asdict(parts[0]), parts=())
        pools = dict.fromkeys(part.pool for part in parts)
        return dataclasses.replace(
            self,
            layer=", ".join(part.layer for part in parts),
            pool=parts[0].pool if len(pools) == 1 else ", ".join(part.pool for part in parts),
            dim=sum(part.dim for part in parts),
            parts=tuple(parts),
        )

    def split_layers(self) -> list[Backbone]:
        """Return what each of several layers would be alone; a network with one is itself."""
        return [self.with_layers([part]) for part in self.parts] or [self]

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each of several layers; empty for a network with one."""
        return tuple(part.dim for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON document: no ``parts`` without any, no order of channels but BGR."""
        document = dataclasses.asdict(self)
        if self.order == "RGB":
            del document["order"]
        if not self.parts:
            del document["parts"]
        return document

    @property
    def warning(self) -> str:
        """What every reader of its results must know; empty if nothing."""
        return warning_about(self.name)

    @staticmethod
    def from_json(document: dict[str, Any]) -> Backbone:
        """Rebuild from `to_json`'s document; a bad one is a ``TypeError`` or ``ValueError``."""
        values = dict(document)
        values["preprocess"] = Preprocess.from_json(values["preprocess"])
        values["mean"] = tuple(values["mean"])
        values["std"] = tuple(values["std"])
        values["parts"] = tuple(Part(**part) for part in values.get("parts", ()))
        backbone = Backbone(**values)
        if backbone.parts and sum(backbone.widths) != backbone.dim:
            raise ValueError(f"layers of {backbone.widths} features make no {backbone.dim}")
        return backbone


@dataclass(frozen=True)
class Extraction:
    """Everything that determines a feature vector, given the bytes of an image file."""

    backbone: Backbone

    def to_json(self) -> dict[str, Any]:
        """Return the identity as a JSON document."""
        return {"backbone": self.backbone.to_json()}

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical identity; the same digest means interchangeable features."""
        return digest_of(self.to_json())

    def difference(self, other: dict[str, Any]) -> str:
        """Say in one line how this extraction differs from another one's JSON document."""
        mine, theirs = flat(self.to_json()), flat(other)
        keys = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
        if len(keys) > 1:  # the layers' names say enough
            keys = [key for key in keys if key != "backbone.parts"]
        return "; ".join(
            f"{key}: {theirs.get(key, 'absent')} there, {mine.get(key, 'absent')} now"
            for key in sorted(keys)
        )


@dataclass(frozen=True, repr=False)
class FeatureSet:
    """The rows of a feature store. Features and miniatures of a large one may stay on disk.

    Attributes:
        features: ``(n, d) float32``.
        label: ``(n,) int32`` codes into ``classes``, -1 where unknown.
        split: ``train``, ``validation``, ``test`` or empty, for each of n images.
        sha256: ``(n, 32) uint8``, hash of each image file's bytes.
        extraction: the document of `Extraction.to_json`; ``digest`` is its hash.
        pixels: ``(n, 32, 32, 3) uint8`` miniatures of the crops, or None if the store has none.
        failures: ``(path, reason)`` of the images that could not be embedded.
        model: the backbone's ONNX file that computed the features; it may no longer exist.
        weights: the user's own weights file; empty if there was none.
        source: as the user named it; it may no longer exist.
        run: facts about the last run that embedded something (JSON).
    """

    features: Features
    path: list[str]
    label: NDArray[np.int32]
    split: list[str]
    sha256: NDArray[np.uint8]
    classes: tuple[str, ...]
    extraction: dict[str, Any]
    digest: str
    pixels: Pixels | None
    failures: list[tuple[str, str]]
    name: str
    model: str = ""
    weights: str = ""
    source: str = ""
    run: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows, dim = self.features.shape
        return (
            f"FeatureSet({self.name!r}: {rows:,} images, {len(self.classes):,} classes, "
            f"{dim:,} features)"
        )

    def __len__(self) -> int:
        return len(self.path)

    @property
    def paths(self) -> list[str]:
        """The images' names, relative to their source."""
        return self.path

    @property
    def labels(self) -> list[str | None]:
        """The images' classes; None where unknown."""
        return [self.classes[code] if code >= 0 else None for code in self.label.tolist()]

    @property
    def splits(self) -> list[str]:
        """The images' splits: ``train``, ``validation``, ``test`` or empty."""
        return self.split


def warning_about(backbone: str) -> str:
    """Return what everybody must be told of a backbone of that name; empty if nothing.

    >>> warning_about("timm:resnet18.a1_in1k")
    ''
    """
    if RANDOM not in backbone:
        return ""
    return (
        f"The backbone {backbone} has random weights: it was never trained, so its results say "
        "nothing of the network; they are for trials of the pipeline only."
    )


def digest_of(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """Return the SHA-256, in hex, of a JSON document in canonical form.

    >>> digest_of({"b": 1, "a": [1.0, 2]}) == digest_of({"a": [1.0, 2], "b": 1})
    True
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def flat(document: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Return the values of a JSON document by their dotted keys.

    >>> flat({"a": {"b": 1, "c": [2]}})
    {'a.b': 1, 'a.c': [2]}
    """
    if not isinstance(document, dict):
        return {prefix: document if not isinstance(document, tuple) else list(document)}
    out: dict[str, Any] = {}
    for key, value in document.items():
        out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out
