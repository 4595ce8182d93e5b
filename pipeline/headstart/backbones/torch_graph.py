"""A torch module from pixels to features, and its ONNX graph."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import INPUT
from headstart.core.errors import BackboneError
from headstart.core.onnx_format import OPSET, ModelProto
from headstart.core.records import Backbone

if TYPE_CHECKING:
    import torch


def normalised(module: torch.nn.Module, backbone: Backbone) -> torch.nn.Module:
    """Put the cast and the normalisation in front of a backbone."""
    import torch

    shape = (1, 3, 1, 1)
    mean = torch.tensor(backbone.mean).reshape(shape) * 255
    std = torch.tensor(backbone.std).reshape(shape) * 255
    turned = backbone.order == "BGR"

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = module

        def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
            pixels = (image.permute(0, 3, 1, 2).float() - mean) / std
            if turned:
                pixels = pixels.flip(1)
            return self.backbone(pixels)  # type: ignore[no-any-return]

    return Normalised().eval()


def to_onnx(module: torch.nn.Module, example: NDArray[Any], outputs: list[str]) -> ModelProto:
    """Return the ONNX graph of a module that takes a batch of any number of images."""
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (torch.from_numpy(example),),
            input_names=[INPUT],
            output_names=outputs,
            opset_version=OPSET,
            dynamic_shapes={INPUT: {0: torch.export.Dim("n")}},
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise BackboneError("torch returned no graph")
    return program.model_proto


def forward(module: torch.nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a module's features, those of several layers side by side."""
    import torch

    with torch.inference_mode():
        # A copy, because torch wants writable memory and decoded images are read-only.
        outputs = module(torch.from_numpy(images.copy()))
        features: NDArray[np.float32] = (
            torch.cat(outputs, 1) if isinstance(outputs, tuple) else outputs
        ).numpy()
    return features
