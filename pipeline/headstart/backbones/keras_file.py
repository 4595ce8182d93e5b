"""A whole network in a file of Keras, exported to ONNX in the process that `conversion` starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones import keras_2, torch_graph
from headstart.backbones.inference.runner import open_session
from headstart.backbones.keras_import import import_keras
from headstart.backbones.other_formats import is_hdf5
from headstart.core.errors import BackboneError, one_line

_ANY_SIZE = 224  # for a network that takes any
_DIFFERENCE = 1e-3  # to the outputs of Keras, by the largest value
_NO_NETWORK = ("No model config", "model_config")  # in Keras' messages on files of weights
_OTHERS = ("Could not locate", "Unknown", "Lambda", "safe_mode", "arbitrary code")


def convert(path: Path, target: Path, option: str = "") -> None:
    """Write a Keras file as an ONNX file with the same inputs and outputs.

    Sizes that the network leaves open become 224. Code in the file is refused.

    Raises:
        BackboneError: the file holds no network of images, or one with layers of others.
    """
    import onnx

    keras = import_keras()
    with keras.device("cpu"):
        model = _load(keras, path, target.parent)
        shape = _image_shape(model, path)
        module = _inference(keras, model)
        images = np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype(np.float32)
        try:
            expected = _run(module, images)
            names = [f"output{number}" for number in range(len(expected))]
            graph = torch_graph.to_onnx(module, images, names)
        except Exception as error:  # torch and its export fail in many ways
            raise BackboneError(
                f"{one_line(path)} cannot be exported by Keras on torch ({one_line(error)[:200]}); "
                "convert it with tf2onnx where TensorFlow is installed"
            ) from error
    graph.producer_name, graph.producer_version = "keras", keras.__version__
    graph.graph.name = " ".join(_names(keras, model))
    onnx.save(graph, target)
    session = open_session(target)
    outputs = session.run(None, {session.get_inputs()[0].name: images})
    for output, values in zip(outputs, expected, strict=True):
        if not np.abs(output - values).max() <= _DIFFERENCE * max(1.0, np.abs(values).max()):
            raise BackboneError(
                f"{one_line(path)} gives other values as ONNX than in Keras, so it cannot be taken"
            )


def _called(path: Path, folder: Path) -> Path:
    """Return a file whose suffix says its format, by which Keras goes: the file or a copy of it."""
    if path.suffix.lower() in (".h5", ".hdf5") or not is_hdf5(path):
        return path
    return Path(shutil.copyfile(path, folder / f"{path.name}.h5"))


def _load(keras: Any, path: Path, folder: Path) -> Any:  # noqa: ANN401 - the package, keras.Model
    try:
        with keras_2.readable(keras) as former:
            return keras.saving.load_model(
                _called(path, folder), custom_objects=former, compile=False, safe_mode=True
            )
    except Exception as error:  # Keras, h5py and zipfile have many types
        cause = one_line(error)
        if path.name.endswith(".weights.h5") or any(word in cause for word in _NO_NETWORK):
            cause = (
                "has weights without their network; name the network too: --backbone keras:NAME "
                "--weights FILE"
            )
        elif any(word in cause for word in _OTHERS):
            cause = (
                f"has layers or code that only the program knows that made it ({cause[:160]}); "
                'export it there: model.export("network.onnx", format="onnx"), or with Keras 2 '
                'model.save("folder", save_format="tf"), and give the folder'
            )
        else:
            cause = f"is no Keras network that can be read: {cause[:200]}"
        raise BackboneError(f"{one_line(path)} {cause}") from error


def _image_shape(model: Any, path: Path) -> tuple[int, int, int]:  # noqa: ANN401
    """Return height, width and channels of the only input."""
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or not shapes[0][3]:
        shown = ", ".join(str(shape) for shape in shapes)
        raise BackboneError(
            f"{one_line(path)} takes {shown or 'nothing that is known'}, where one image with its "
            "channels last is needed"
        )
    _, height, width, channels = shapes[0]
    return height or width or _ANY_SIZE, width or height or _ANY_SIZE, channels


def _inference(keras: Any, model: Any) -> Any:  # noqa: ANN401
    """Return a module that computes what a Keras model does when it is not trained."""
    import torch

    class Inference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(keras.tree.flatten(self.network(image, training=False)))

    return Inference().eval()


def _run(module: Any, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:  # noqa: ANN401
    import torch

    with torch.inference_mode():
        return [output.numpy() for output in module(torch.from_numpy(images))]


def _names(keras: Any, model: Any) -> list[str]:  # noqa: ANN401
    """Return the names of a model and of those inside it, which tell what kind it is."""
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return [model.name, *(name for layer in inner for name in _names(keras, layer))]
