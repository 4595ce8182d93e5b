"""A network file from elsewhere, imported once to try many ways to prepare images for it.

Presets differ in the values that the network gets, so these are inputs here and not constants of
the graph: one import and one session serve all. Nothing proves that the features are those of the
original; the preset that is taken is exported, and proven, as if the user had named it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import METADATA
from headstart.backbones.inference.runner import CPU_BATCH, Runner
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import.recipe import Recipe
from headstart.backbones.onnx_import.request import FILE, ImportRequest
from headstart.core import sandbox
from headstart.core.errors import BackboneError, RunnerError, one_line
from headstart.core.onnx_format import OPSET
from headstart.core.records import Backbone


class TrialNetwork:
    """A network that takes images with the values of any recipe.

    Attributes:
        backbone: its description, with the preprocessing of raw pixels.
        takes_bytes: whether its input is whole numbers, so that pixels stay as they are.
    """

    def __init__(self, foreign: Foreign, folder: Path) -> None:
        """Import a file, which is asked for raw pixels, into a folder.

        Raises:
            BackboneError: the file is broken, hostile, or no network of images.
        """
        path = folder / "trial.onnx"
        options = foreign.request.to_json()
        facts = sandbox.call(
            f"{__name__}:import_open", foreign.path, path, kind=FILE, options=options
        )
        self.takes_bytes: bool = facts["takes_bytes"]
        self._channels: int = facts["channels"]
        self._runner = Runner(path)
        self.backbone: Backbone = self._runner.backbone

    def prepared(self, recipe: Recipe) -> PreparedNetwork:
        """Return the network as one that prepares images by a recipe."""
        return PreparedNetwork(self._runner, recipe, self._channels, self.takes_bytes)


@dataclass(frozen=True)
class PreparedNetwork:
    """A network with the values of one recipe; it embeds images as a `Runner` does."""

    runner: Runner
    recipe: Recipe
    channels: int
    takes_bytes: bool
    batch: int = CPU_BATCH

    @property
    def backbone(self) -> Backbone:
        """The network's description."""
        return self.runner.backbone

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, d) float32`` features of ``(n, h, w, 3) uint8`` RGB images."""
        if self.takes_bytes:
            turned = self.recipe.order == "BGR" and self.channels == 3
            return self.runner.embed(images[..., ::-1] if turned else images)
        values = self.recipe.apply(images, "NHWC", np.float32)
        if self.channels == 1 and self.recipe.order == "BGR":
            values = np.ascontiguousarray(values[..., ::-1])  # the graph weighs red first
        return self.runner.embed(values)


def import_open(source: Path, target: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Import a file in the process that `TrialNetwork` starts, and say what its input is.

    It is run once here, where a crash does no harm.
    """
    import onnx

    from headstart.backbones.onnx_import import steps, wrap

    imported = steps.import_network(source, target.parent, ImportRequest.from_json(request), OPSET)
    model, image_input = imported.model, imported.image_input
    takes_bytes = wrap.types()[image_input.kind] in wrap.WHOLE
    if not takes_bytes:
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.helper.set_model_props(model, {METADATA: json.dumps(imported.backbone.to_json())})
    external_data.save(model, target)
    pixels = np.random.default_rng(0).integers(
        0, 256, (2, *imported.backbone.preprocess.size, 3), np.uint8
    )
    try:
        Runner(target).embed(pixels if takes_bytes else pixels.astype(np.float32))
    except RunnerError as error:
        raise BackboneError(
            f"{one_line(source)} takes a fixed number of images, or does not run ({error}); export "
            "it with a dynamic batch, or cut it earlier with #NODE"
        ) from error
    return {"takes_bytes": takes_bytes, "channels": image_input.channels}
