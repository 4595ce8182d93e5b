"""Records that the stages pass to each other: frozen dataclasses without behaviour.

Two sets of features are interchangeable if their `Extraction.digest` is equal: the SHA-256 of a
canonical JSON document of everything that changes a feature vector.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.core import label_text
from headstart.core.names import is_imported, warning_about
from headstart.core.preprocess import Preprocess as Preprocess
from headstart.core.reading import ImageReader
from headstart.core.rows import Features, Pixels
from headstart.core.targets import SINGLE_LABEL

SPLITS = ("train", "validation", "test", "")
SUGGESTED = "suggested"  # the origin of images that `suggest` chose to be labelled


class LabelSet(NamedTuple):
    """The labels of an image that may have several; all others are known to be absent."""

    present: tuple[str, ...]
    unknown: tuple[str, ...] = ()  # nobody looked whether the image has these


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image that a source lists."""

    path: str  # its name in stores and reports: relative to the source's root, with ``/``
    label: str | None  # None if unknown
    split: str  # train, validation, test or empty
    labels: LabelSet | None = None  # of a multi-label listing in place of the label
    origin: str = ""  # `SUGGESTED`, or empty

    @property
    def names(self) -> tuple[str, ...]:
        """The image's classes: one, several, or none."""
        if self.labels is not None:
            return self.labels.present
        return () if self.label is None else (self.label,)

    @property
    def is_labelled(self) -> bool:
        """Whether anything is known of its labels; a set may be empty."""
        return self.label is not None or self.labels is not None


@dataclass(frozen=True)
class Listing:
    """The images of a source in natural order, with counts of ignored files by reason.

    The code of a label is its index in ``classes``. ``reader`` reads images that are not separate
    files below ``root``.

    Attributes:
        remarks: what the user should know about how the source was read, a sentence each.
        problem: why labels and splits are uncertain, and what to do; empty if they are not.
        hint: where labels seem to be, if no image has one; empty if there is no sign of them.
        target: the name of what is predicted, see `headstart.core.targets`.
        origins: state of each local file or folder that was read, see `datasets.unchanged`; empty
            if they are not known.
    """

    root: Path
    images: Sequence[ImageRef]
    classes: tuple[str, ...]
    ignored: dict[str, int]
    name: str
    reader: ImageReader | None = None
    remarks: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""
    origins: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)
    target: str = SINGLE_LABEL


@dataclass(frozen=True)
class Choice:
    """The backbone that a user asks for.

    Attributes:
        name: a name from ``headstart backbones``, or an ONNX file.
        weights: a weights file, ``random`` or ``random:SEED``; empty for the published weights.
        layer: a layer's name in its library; empty for the input of the network's classifier.
        pool: one of `choices.POOLS`; empty for the layer's default.
        preprocess: for an imported ONNX file, see `backbones.onnx_import.recipe.read`.
        layers: several layers to extract in one pass instead of ``layer``, all with ``pool``.
        value_range: see `Preprocess`; like ``colour`` and ``quality``.
        policy: version of the decoding rules, for rows and models that were made by an earlier one;
            0 means the latest, or that of an exported file.
        networks: several networks side by side, each with its own layer and pooling; empty for one,
            or for those that ``name`` lists.
        fit: one of `choices.FITS`; empty for the network's own way.
        size: height and width of the network's input; None for its own.
        views: one of `core.preprocess.VIEWS`; empty for a single view.
    """

    name: str
    weights: str = ""
    layer: str = ""
    pool: str = ""
    preprocess: str = ""
    layers: tuple[str, ...] = ()
    value_range: str = ""
    colour: str = ""
    policy: int = 0
    quality: str = ""
    networks: tuple[Choice, ...] = ()
    fit: str = ""
    size: tuple[int, int] | None = None
    views: str = ""


@dataclass(frozen=True)
class Part:
    """One of several layers that a `Backbone` extracts together."""

    layer: str
    pool: str
    dim: int


@dataclass(frozen=True)
class Backbone:
    """A pretrained network, cut at one or more layers, as described in its exported ONNX file.

    Attributes:
        name: such as ``timm:resnet50.a1_in1k``; a final ``+file`` marks the user's own weights,
            ``+random`` an untrained network.
        licence: SPDX identifier of the weights' licence.
        precision: ``fp32``, ``fp16``, or ``int8+`` and a digest of calibration images and recipe.
        dim: features per image.
        mean: per channel, red first, on the 0…1 scale; applied inside the graph, like ``std``.
        order: channel order of the network, ``RGB`` or ``BGR``; converted inside the graph.
        parts: two or more layers in the order of computation, empty for a single layer. Their
            features are concatenated, so ``layer`` and ``pool`` name all, and ``dim`` is the sum.
        networks: two or more networks that read one picture, in the order of their features; empty
            for one. The other attributes then name what all have, and ``preprocess`` makes the
            picture. See `headstart.backbones.joint`.
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
    networks: tuple[Backbone, ...] = ()

    def with_layers(self, parts: Sequence[Part]) -> Backbone:
        """Return the same network with one or more other layers as outputs."""
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
        """Return one backbone per layer; a network with a single layer is returned itself."""
        return [self.with_layers([part]) for part in self.parts] or [self]

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each part; empty for a network with a single layer."""
        return tuple(part.dim for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document, without ``parts`` and ``networks`` of one, and the order RGB."""
        document = dataclasses.asdict(self) | {"preprocess": self.preprocess.to_json()}
        if self.order == "RGB":
            del document["order"]
        if not self.parts:
            del document["parts"]
        document["networks"] = [network.to_json() for network in self.networks]
        if not self.networks:
            del document["networks"]
        return document

    @property
    def warning(self) -> str:
        """A warning to show with all results of this backbone; empty if there is none."""
        return warning_about(self.name)

    @property
    def is_imported(self) -> bool:
        """Whether another program computed the features, so that no image can be embedded."""
        return is_imported(self.name)

    @staticmethod
    def from_json(document: dict[str, Any]) -> Backbone:
        """Restore from `to_json`; a bad document is a ``TypeError`` or ``ValueError``."""
        values = dict(document)
        values["preprocess"] = Preprocess.from_json(values["preprocess"])
        values["mean"] = tuple(values["mean"])
        values["std"] = tuple(values["std"])
        values["parts"] = tuple(Part(**part) for part in values.get("parts", ()))
        values["networks"] = tuple(map(Backbone.from_json, values.get("networks", ())))
        backbone = Backbone(**values)
        if backbone.parts and sum(backbone.widths) != backbone.dim:
            raise ValueError(f"layers of {backbone.widths} features make no {backbone.dim}")
        return backbone


@dataclass(frozen=True)
class Extraction:
    """Everything that determines a feature vector, given the bytes of an image file."""

    backbone: Backbone

    def to_json(self) -> dict[str, Any]:
        """Return the document that `digest` hashes."""
        return {"backbone": self.backbone.to_json()}

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical document; equal digests mean interchangeable features."""
        return digest_of(self.to_json())

    def difference(self, other: dict[str, Any]) -> str:
        """Describe in one line how this extraction differs from another's JSON document."""
        mine, theirs = flat(self.to_json()), flat(other)
        keys = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
        if len(keys) > 1:  # the names of the layers and networks are enough
            keys = [key for key in keys if key not in ("backbone.parts", "backbone.networks")]
        return "; ".join(
            f"{key}: {theirs.get(key, 'absent')} there, {mine.get(key, 'absent')} now"
            for key in sorted(keys)
        )


@dataclass(frozen=True, repr=False)
class FeatureSet:
    """The rows of a feature store. Large features and miniatures may stay on disk.

    Attributes:
        features: ``(n, d) float32``.
        label: ``(n,) int32`` codes into ``classes``, -1 where unknown.
        split: one of `SPLITS` for each image.
        sha256: ``(n, 32) uint8``, hash of each image file's bytes.
        extraction: the document of `Extraction.to_json`; ``digest`` is its hash.
        pixels: ``(n, 32, 32, 3) uint8`` miniatures of the crops, or None.
        failures: ``(path, reason)`` of images that could not be embedded.
        model: the ONNX file that computed the features; it may be gone, like ``source``.
        run: facts (JSON) about the last run that embedded images.
        target: the name of what is predicted, see `headstart.core.targets`.
        label_sets: of a multi-label store, ``(n, k) int8``: 1 where an image has a label, 0 where
            it has not, -1 where nobody knows; ``label`` is -1 throughout.
        origin: `SUGGESTED` or empty for each image; an empty list if all are empty.
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
    target: str = SINGLE_LABEL
    label_sets: NDArray[np.int8] | None = None
    origin: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        rows, dim = self.features.shape
        kinds = "classes" if self.label_sets is None else "labels"
        return (
            f"FeatureSet({self.name!r}: {rows:,} images, {len(self.classes):,} {kinds}, "
            f"{dim:,} features)"
        )

    def __len__(self) -> int:
        return len(self.path)

    @property
    def paths(self) -> list[str]:
        """The images' paths, relative to their source."""
        return self.path

    @property
    def labels(self) -> list[Any]:
        """The images' classes; None where unknown. Of a multi-label store, tuples of classes."""
        if self.label_sets is not None:
            return [
                None if (row < 0).all() else tuple(self.classes[i] for i in np.flatnonzero(row > 0))
                for row in self.label_sets
            ]
        return [self.classes[code] if code >= 0 else None for code in self.label.tolist()]

    @property
    def is_imported(self) -> bool:
        """Whether another program computed the features, so that there are no image files."""
        return is_imported(str(self.extraction.get("backbone", {}).get("name", "")))

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """Whether anything is known of each image's labels, ``(n,)``."""
        if self.label_sets is None:
            return np.asarray(self.label >= 0)
        return np.asarray((self.label_sets >= 0).any(axis=1))

    def label_text(self, row: int) -> str:
        """Return the class of an image, or its labels separated by ``|``; empty if unknown."""
        if self.label_sets is not None:
            codes = np.flatnonzero(self.label_sets[row] > 0).tolist()
            return label_text.join(self.classes[code] for code in codes)
        code = int(self.label[row])
        return self.classes[code] if code >= 0 else ""

    @property
    def is_suggested(self) -> NDArray[np.bool_]:
        """Whether `suggest` chose each image to be labelled, ``(n,)``."""
        return np.array([o == SUGGESTED for o in self.origin or [""] * len(self.path)], bool)

    @property
    def splits(self) -> list[str]:
        """The images' splits: ``train``, ``validation``, ``test`` or empty."""
        return self.split


def digest_of(document: Any) -> str:  # noqa: ANN401 - any JSON document
    """Return the SHA-256, in hex, of a JSON document in canonical form.

    >>> digest_of({"b": 1, "a": [1.0, 2]}) == digest_of({"a": [1.0, 2], "b": 1})
    True
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def flat(document: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Return the values of a JSON document by dotted keys.

    >>> flat({"a": {"b": 1, "c": [2]}})
    {'a.b': 1, 'a.c': [2]}
    """
    if not isinstance(document, dict):
        return {prefix: document if not isinstance(document, tuple) else list(document)}
    out: dict[str, Any] = {}
    for key, value in document.items():
        out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out
