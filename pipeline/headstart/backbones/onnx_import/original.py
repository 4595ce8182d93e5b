"""A foreign graph as it was, run on plain numpy input, to compare the imported network with."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.runner import open_session
from headstart.backbones.layers import GEM_POWER, Layer
from headstart.backbones.onnx_import.recipe import Recipe
from headstart.backbones.onnx_import.wrap import PLACES, Input, layer_of, types
from headstart.core.errors import BackboneError, RunnerError, one_line
from headstart.core.onnx_format import ModelProto

_MAX_FEATURES = 1 << 22  # of one image, before pooling


@dataclass
class Original:
    """The kept part of a foreign graph, run in its own opset, type, layout and batch.

    ``part`` is a ``ModelProto`` with one output; ``folder`` holds a copy of it while it is opened.
    """

    part: dataclasses.InitVar[Any]
    folder: Path
    image_input: Input
    recipe: Recipe

    def __post_init__(self, part: ModelProto) -> None:
        copy = self.folder / "original.onnx"
        try:
            copy.write_bytes(part.SerializeToString())
        except OSError:
            raise
        except Exception as error:  # protobuf's error type differs between its releases
            raise BackboneError(
                f"the network does not fit into one ONNX file, which holds 2 GB at most "
                f"({one_line(error)[:120]}); cut it earlier with #NODE"
            ) from error
        try:
            self._session = open_session(copy)
        except RunnerError as error:
            cause = str(error).partition("onnxruntime: ")[2]
            raise BackboneError(f"onnxruntime refuses the network: {cause[:300]}") from error
        finally:
            copy.unlink()

    def layer(self, name: str) -> Layer:
        """Return the layer that the graph ends with, found by running it on one image."""
        size = self.recipe.preprocess(self.image_input.size).size
        out = self._run(np.zeros((1, *size, 3), np.uint8))
        shape = out.shape[1:]
        if out.dtype.kind != "f" or not 2 <= out.ndim <= 4 or math.prod(shape) < 1:
            raise BackboneError(
                f"{one_line(name)} gives {out.dtype} of shape {out.shape} for an image, which are "
                "no features; choose another #NODE"
            )
        if math.prod(shape) > _MAX_FEATURES:
            raise BackboneError(f"{one_line(name)} gives more than {_MAX_FEATURES:,} values")
        return layer_of(name, shape, size, self.image_input.layout)

    def features(self, layer: Layer, pool: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return ``(n, d) float32`` features of ``(n, h, w, 3) uint8`` crops."""
        rows = [self._run(image[np.newaxis]) for image in images]
        return pool_rows(np.concatenate(rows).astype(np.float32), layer, pool)

    def _run(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Run one image, filling up the batch that the graph demands."""
        count = self.image_input.batch or 1
        batch = np.concatenate([image, *[np.zeros_like(image)] * (count - 1)])
        prepared = self.recipe.apply(
            batch,
            self.image_input.layout,
            types()[self.image_input.kind],
            self.image_input.channels,
        )
        try:
            out: NDArray[Any] = self._session.run(None, {self.image_input.name: prepared})[0]
        except Exception as error:  # onnxruntime has its own exception types
            raise BackboneError(
                f"the network does not run on an image of {image.shape[1]} × {image.shape[2]}: "
                f"{one_line(error)[:200]}; give its size with --preprocess PRESET:SIZE "
                "or PRESET:HEIGHTxWIDTH, such as imagenet:48x320 for lines of text"
            ) from error
        if out.ndim == 0 or len(out) != count:
            raise BackboneError(
                f"for {count} images the network gives {out.shape}, not a row an image; choose "
                "another #NODE"
            )
        return out[:1]


def pool_rows(out: NDArray[np.float32], layer: Layer, pool: str) -> NDArray[np.float32]:
    """Pool a layer's output ``(n, *shape)`` to ``(n, d)``, as `layers.pooled` does."""
    if pool == "flatten":
        return out.reshape(len(out), -1)
    if pool == "cls":
        return out[:, 0]
    if pool == "cls+avg":
        return np.concatenate([out[:, 0], pool_rows(out, layer, "avg")], axis=1)
    if layer.layout == "tokens":
        out = out[:, layer.prefix :]
    axes = PLACES[layer.layout]
    pooled: NDArray[np.float32]
    if pool == "max":
        pooled = out.max(axis=axes)
    elif pool == "avg":
        pooled = out.mean(axis=axes)
    else:
        powers = np.maximum(out, np.float32(1e-6)) ** np.float32(GEM_POWER)
        pooled = powers.mean(axis=axes) ** np.float32(1 / GEM_POWER)
    return pooled
