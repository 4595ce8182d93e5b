"""Several networks side by side: one graph that reads one picture.

The picture holds what every network sees, at the size of the one that needs most pixels. In the
graph each network gets its own part of the picture, resized to its own input by the arithmetic of
`headstart.datasets.images.fixed_point`, normalises it its own way, and gives features of norm 1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.backbones import onnx_file
from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import describe
from headstart.backbones.joint_graph import SMALLEST, Part, Window, build
from headstart.core.errors import BackboneError, one_line
from headstart.core.onnx_format import ModelProto
from headstart.core.records import Backbone, Preprocess, digest_of
from headstart.datasets.images import fixed_point

if TYPE_CHECKING:
    from headstart.backbones.inference.runner import Runner

JOIN = "+"  # between the names of networks
VERSION = 1  # of what this module makes; part of the cache key


def split(name: str, is_network: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the networks of ``A+B``; none if that is the name of one network or file.

    Each part has to be a file or, by ``is_network``, spelt like a network. A file whose path has a
    ``+`` is one part.
    """
    pieces, names = name.split(JOIN), list[str]()
    while pieces:
        runs = (JOIN.join(pieces[:count]) for count in range(len(pieces), 0, -1))
        part = next((run for run in runs if _is_file(run) or is_network(run)), None)
        if part is None:
            return ()
        names.append(part)
        del pieces[: part.count(JOIN) + 1]
    return tuple(names) if len(names) > 1 else ()


def _is_file(text: str) -> bool:
    try:
        if text.startswith(f"{onnx_file.NAME}:"):
            return JOIN not in onnx_file.split(text)[1]
        return text.endswith(".onnx") and Path(text).is_file()
    except (BackboneError, OSError, ValueError):
        return False


@dataclasses.dataclass(frozen=True)
class Joint:
    """Exported networks, in the order of their features; see `of`.

    Attributes:
        files: one for each network.
        networks: their descriptions.
        preprocess: how the picture is made.
    """

    files: tuple[Path, ...]
    networks: tuple[Backbone, ...]
    preprocess: Preprocess

    @staticmethod
    def of(files: Sequence[Path]) -> Joint:
        """Return exported files side by side, in an order that does not depend on theirs.

        Raises:
            BackboneError: a file cannot be a part, or the networks do not fit each other.
        """
        described = [(describe(path), path) for path in files]
        described.sort(key=lambda pair: (pair[0].name, pair[0].layer, digest_of(pair[0].to_json())))
        networks = tuple(backbone for backbone, _ in described)
        for backbone, path in described:
            _check_part(backbone, path)
            external_data.refuse(path, "A+B")
        for before, after in itertools.pairwise(networks):
            if before == after:
                raise BackboneError(f"{one_line(after.name)} is repeated; name each network once")
        return Joint(tuple(path for _, path in described), networks, shared(networks))

    @property
    def digest(self) -> str:
        """SHA-256 of everything that determines the graph."""
        content = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in self.files)
        return hashlib.sha256(content + str(VERSION).encode()).hexdigest()

    @property
    def backbone(self) -> Backbone:
        """The description of the graph. Normalising is up to each network."""
        networks = self.networks
        layers, pools = ([getattr(n, key) for n in networks] for key in ("layer", "pool"))
        return Backbone(
            name=JOIN.join(backbone.name for backbone in networks),
            source="; ".join(backbone.source for backbone in networks),
            weights_sha256=digest_of([backbone.weights_sha256 for backbone in networks]),
            licence=" AND ".join(dict.fromkeys(backbone.licence for backbone in networks)),
            layer=", ".join(layers),
            pool=", ".join(dict.fromkeys(pools) if len(set(pools)) == 1 else pools),
            precision="fp32",
            dim=sum(backbone.dim for backbone in networks),
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            preprocess=self.preprocess,
            networks=networks,
        )

    @cached_property
    def windows(self) -> list[Window]:
        """What each network sees of the picture."""
        return [_window(backbone.preprocess, self.preprocess) for backbone in self.networks]

    @property
    def notes(self) -> list[str]:
        """How the picture reaches each network, a sentence each."""
        return [
            f"{one_line(backbone.name)} reads {_sides(window)}"
            for backbone, window in zip(self.networks, self.windows, strict=True)
        ]

    @cached_property
    def _runners(self) -> list[Runner]:
        from headstart.backbones.inference.runner import Runner  # loads onnxruntime

        return [Runner(path) for path in self.files]

    def embed(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, d)`` features of ``(n, h, w, 3) uint8``, network by network."""
        parts = []
        for runner, window, backbone in zip(
            self._runners, self.windows, self.networks, strict=True
        ):
            interpolation = backbone.preprocess.interpolation
            crops = [
                fixed_point.resize_pixels(picture, window.box, window.size, interpolation)
                for picture in pictures
            ]
            rows = runner.embed(np.stack(crops))
            parts.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SMALLEST))
        return np.hstack(parts).astype(np.float32)

    def graph(self) -> ModelProto:
        """Return the ONNX graph, without metadata; see `joint_graph.build`."""
        interpolations = [backbone.preprocess.interpolation for backbone in self.networks]
        parts = [
            Part(path, window, interpolation)
            for path, window, interpolation in zip(
                self.files, self.windows, interpolations, strict=True
            )
        ]
        return build(parts, self.preprocess.size, self.backbone.dim)


def shared(networks: Sequence[Backbone]) -> Preprocess:
    """Return the preprocessing to a picture that holds what every network sees.

    The picture is as large as the network that needs most pixels has it, so none is enlarged, and
    that network sees the pixels that it sees alone.

    Raises:
        BackboneError: the networks are made for images of different range, colour or proportions.
    """
    every = [backbone.preprocess for backbone in networks]
    if len({(each.value_range, each.colour) for each in every}) > 1:
        raise BackboneError(
            "the files were exported for different values or colours; export them without, and "
            "give --range and --colour for all"
        )
    if len({isinstance(each.resize, tuple) for each in every}) > 1:
        squashing = next(n for n in networks if isinstance(n.preprocess.resize, tuple))
        raise BackboneError(
            f"{one_line(squashing.name)} squashes whole images into its input, the others crop "
            "them, so they cannot share a picture; join networks that fit images the same way"
        )
    largest = max(every, key=lambda each: _resized(each))
    resized = tuple(max(sides) for sides in zip(*map(_resized, every), strict=True))
    crop = tuple(_crop_side(every, resized[axis], axis) for axis in (0, 1))
    return dataclasses.replace(
        largest,
        resize=(resized[0], resized[1]) if isinstance(largest.resize, tuple) else resized[0],
        crop=crop[0] if crop[0] == crop[1] else (crop[0], crop[1]),
        policy=max(each.policy for each in every),
    )


def _crop_side(every: Sequence[Preprocess], resized: int, axis: int) -> int:
    """Return a side of the picture, of which the largest network's own crop is the exact middle."""
    sides = [(each.size[axis], _resized(each)[axis]) for each in every]
    side = max(math.ceil(crop * resized / own) for crop, own in sides)
    crop = next(crop for crop, own in sides if own == resized)
    return min(resized, side + (side - crop) % 2)


def _resized(preprocess: Preprocess) -> tuple[int, int]:
    resize = preprocess.resize
    return resize if isinstance(resize, tuple) else (resize, resize)


def _window(own: Preprocess, picture: Preprocess) -> Window:
    def side(axis: int) -> tuple[float, float]:
        length = own.size[axis] * _resized(picture)[axis] / _resized(own)[axis]
        low = (picture.size[axis] - length) / 2
        if length == own.size[axis]:
            low = math.floor(low)
        return low, low + length

    (top, bottom), (left, right) = side(0), side(1)
    return Window((left, top, right, bottom), own.size)


def _sides(window: Window) -> str:
    left, top, right, bottom = window.box
    part = f"the middle {right - left:g} × {bottom - top:g} pixels"
    return part if window.is_plain else f"{part}, resized to {window.size[1]} × {window.size[0]}"


def _check_part(backbone: Backbone, path: Path) -> None:
    """Refuse what cannot stand beside others."""
    problem = ""
    if backbone.networks:
        problem = "is several networks already; name each of them"
    elif backbone.parts:
        problem = "has features of several layers apart; export it with one, or with A+B"
    elif backbone.precision != "fp32":
        problem = f"is in {backbone.precision}; join files in fp32, then use --precision"
    elif backbone.preprocess.interpolation == "nearest":
        problem = "resizes images by the nearest pixel, which cannot be done in the graph"
    if problem:
        raise BackboneError(f"{one_line(path)} ({one_line(backbone.name)}) {problem}")
