"""What Keras writes into its files and Keras 3 on torch does not read, as far as it is exact.

Keras 2 came with TensorFlow until 2.15. Its convolutions have arguments that later ones lack, and
arithmetic between layers, such as that of ``preprocess_input``, is a layer ``TFOpLambda``, or
``SlicingOpLambda`` for the slice that reverses the channels of colour. Keras 3 writes that slice,
which torch does not compute, and .h5 files with arithmetic that it does not read again.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# Arguments that had no effect.
_FORMER = {
    "Conv2DTranspose": ("groups",),
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    # Augmentation, which does nothing here.
    "RandomBrightness": ("rng_type",),
    "RandomContrast": ("rng_type",),
    "RandomCrop": ("rng_type",),
    "RandomFlip": ("rng_type",),
    "RandomRotation": ("rng_type",),
    "RandomTranslation": ("rng_type",),
    "RandomZoom": ("rng_type",),
}
_NETWORKS = ("Functional", "Model", "Sequential")
# Layers of networks of Keras Applications, whose modules have them in Keras 3.
_OF_NETWORKS = {
    "LayerScale": ("convnext", "LayerScale"),
    "Custom>CustomScaleLayer": ("inception_resnet_v2", "CustomScaleLayer"),
}
_SLICING = "SlicingOpLambda"
_OPERATIONS = ("TFOpLambda", _SLICING)
# Those of Keras 3, between layers, and what their names begin with while a file is read.
_KERAS_3_OPERATIONS = (
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide"),
    *("GetItem", "Stack", "Concatenate", "Cast"),
)
_OPERATION = "Operation>"
_EVERYTHING = {"start": None, "stop": None, "step": None}  # a slice, as Keras 2 writes it
_REVERSED = {"start": None, "stop": None, "step": -1}
_ELLIPSIS = {"class_name": "__ellipsis__", "config": {}}  # as Keras 3 writes it
_WHOLE_NODE = 4  # name, number of its use, number of its output, and arguments
_CHANNELS = 3  # the axis of colour; there are three before it
# Arithmetic with a constant: TensorFlow's name of it, the name of the constant, and Keras' name.
_ARITHMETIC = {
    "__operators__.add": ("y", "add"),
    "math.add": ("y", "add"),
    "math.multiply": ("y", "multiply"),
    "math.subtract": ("y", "subtract"),
    "math.truediv": ("y", "true_divide"),
    "nn.bias_add": ("bias", "add"),
}


@contextlib.contextmanager
def readable(keras: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - the package
    """Let Keras build what Keras 2 wrote; yields the layers to give it as ``custom_objects``."""
    layers = [getattr(keras.layers, name) for name in _FORMER]
    for layer in layers:
        layer.from_config = _without(layer.from_config.__func__, _FORMER[layer.__name__])
    own = keras.Model.__dict__["from_config"]
    keras.Model.from_config = _with_nodes(own.__func__)
    chain = keras.Sequential.__dict__["from_config"]
    keras.Sequential.from_config = _with_input(chain.__func__)
    try:
        yield {
            "TFOpLambda": _arithmetic(keras),
            _SLICING: _reversal(keras),
            **_operations(keras),
            **{name: _layer(*place) for name, place in _OF_NETWORKS.items()},
        }
    finally:
        keras.Model.from_config, keras.Sequential.from_config = own, chain
        for layer in layers:  # what they inherit is theirs again
            del layer.from_config


def _layer(module: str, name: str) -> type:
    layer: type = getattr(importlib.import_module(f"keras.src.applications.{module}"), name)
    return layer


def _without(build: Callable[..., Any], former: tuple[str, ...]) -> Any:  # noqa: ANN401
    """Return a ``from_config`` that leaves out former arguments; groups but 1 had an effect."""

    def from_config(layer: type, config: dict[str, Any]) -> Any:  # noqa: ANN401
        kept = {
            key: value
            for key, value in config.items()
            if key not in former or (key == "groups" and value != 1)
        }
        return build(layer, kept)

    return classmethod(from_config)


def _with_nodes(build: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return a ``from_config`` for networks whose layers are joined as Keras 2 wrote it."""

    # Keras looks for the name ``custom_objects`` before it passes them to a network inside.
    def from_config(model: type, config: dict[str, Any], custom_objects: Any = None) -> Any:  # noqa: ANN401
        rejoin(config.get("layers", ()))
        rename(config)
        return build(model, config, custom_objects=custom_objects)

    return classmethod(from_config)


def _with_input(build: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return a ``from_config`` for chains whose input is a setting of their first layer."""

    def from_config(model: type, config: dict[str, Any], custom_objects: Any = None) -> Any:  # noqa: ANN401
        config["layers"] = [*input_of(config.get("layers", ())), *config.get("layers", ())]
        return build(model, config, custom_objects=custom_objects)

    return classmethod(from_config)


def input_of(layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Take the input out of a chain's first layer, where Keras 2 put it; empty if it is not there.

    Keras 3 would take the batch for a side of the image.
    """
    first = layers[0] if layers else {}
    shape = first.get("config", {}).get("batch_input_shape")
    if "module" in first or first.get("class_name") == "InputLayer" or shape is None:
        return []
    name = f"{first['config'].get('name', 'image')}_input"
    del first["config"]["batch_input_shape"]
    return [{"class_name": "InputLayer", "config": {"batch_input_shape": shape, "name": name}}]


def rejoin(layers: Sequence[dict[str, Any]]) -> None:
    """Write the inputs of layers as Keras 3 reads them, in place; its own are mappings."""
    inputs: list[list[Any]] = []
    for layer in layers:
        layer["inbound_nodes"] = [
            _undecoded(node) if isinstance(node, dict) else node
            for node in layer.get("inbound_nodes", ())
        ]
        plain = "module" not in layer and "trainable" not in layer.get("config", ())
        if plain and layer.get("class_name") in _KERAS_3_OPERATIONS:  # some are layers, too
            layer["class_name"] = _OPERATION + layer["class_name"]
        nodes = [node for node in layer["inbound_nodes"] if isinstance(node, list)]
        if nodes and layer.get("class_name") in _OPERATIONS:  # no list around their nodes
            layer["inbound_nodes"] = nodes = [_inputs_of(node) for node in nodes]
        entries = [entry for node in nodes for entry in node]
        if layer.get("class_name") == _SLICING:
            _name_axes(entries)
        inputs += entries
    # A network inside has a node of its own in Keras 2, so its first use was number 1.
    networks = {layer.get("name") for layer in layers if layer.get("class_name") in _NETWORKS}
    counted = networks - {name for name, number, *_ in inputs if number == 0}
    for entry in inputs:
        if entry[0] in counted:
            entry[1] -= 1


def _inputs_of(node: list[Any]) -> list[list[Any]]:
    """Return the inputs of an operation; Keras 2 has the second one among the arguments."""
    arguments = node[3] if len(node) == _WHOLE_NODE else {}
    second = arguments.get("y")
    if not isinstance(second, list) or not second or not isinstance(second[0], str):
        return [node]
    others = {name: value for name, value in arguments.items() if name != "y"}
    return [[*node[:3], {}], [*second, others]]


def rename(network: dict[str, Any]) -> None:
    """Take the slashes out of the names in a network of Keras 2, in place; Keras 3 refuses them."""
    layers = network.get("layers", ())
    names = {layer.get("name") for layer in layers} | {
        layer.get("config", {}).get("name") for layer in layers
    }
    renamed = {name: name.replace("/", "_") for name in names if name and "/" in name}
    if renamed:
        network |= _renamed(network, renamed)


def _renamed(document: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(document, dict):
        return {key: _renamed(value, names) for key, value in document.items()}
    if isinstance(document, list):
        return [_renamed(value, names) for value in document]
    return names.get(document, document) if isinstance(document, str) else document


def _undecoded(arguments: Any) -> Any:  # noqa: ANN401 - JSON
    """Return arguments with an ellipsis as Keras 3 writes it; from .h5 files, it reads it twice."""
    if arguments is Ellipsis:
        return _ELLIPSIS
    if isinstance(arguments, dict):
        return {name: _undecoded(value) for name, value in arguments.items()}
    if isinstance(arguments, (list, tuple)):
        return [_undecoded(value) for value in arguments]
    return arguments


def _arithmetic(keras: Any) -> type:  # noqa: ANN401
    """Return the layer that computes an image and a constant, or two images."""

    class Arithmetic(keras.layers.Layer):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self, function: str, **options: Any) -> None:  # noqa: ANN401
            super().__init__(**options)
            if function not in _ARITHMETIC:
                raise ValueError(f"Unknown arithmetic: {function}")
            self.operand, operation = _ARITHMETIC[function]
            self.operation = getattr(keras.ops, operation)

        def call(
            self,
            image: Any,  # noqa: ANN401
            y: Any = None,  # noqa: ANN401
            bias: Any = None,  # noqa: ANN401
            data_format: str | None = None,
            name: str | None = None,
        ) -> Any:  # noqa: ANN401
            if isinstance(image, list) and len(image) == 2:
                return self.operation(*image)
            operand = y if self.operand == "y" else bias
            if operand is None or data_format not in (None, "NHWC"):
                raise ValueError("Unknown arithmetic: not of images and constants")
            return self.operation(image, keras.ops.convert_to_tensor(operand, image.dtype))

    return Arithmetic


def _name_axes(entries: Sequence[list[Any]]) -> None:
    """Write the axis of channels in place of a slice that reverses it; refuse other slices."""
    for entry in entries:
        axis = _reversed_axis(entry[3].get("slice_spec") if len(entry) == _WHOLE_NODE else None)
        if axis is None:
            raise ValueError("Unknown slice: not [..., ::-1], which reverses channels")
        entry[3] = {"axis": axis}


def _reversed_axis(key: Any) -> int | None:  # noqa: ANN401 - JSON
    """Return the axis of channels if a slice, as Keras 2 writes it, reverses it and no more."""
    if not isinstance(key, (list, tuple)) or not key or key[-1] != _REVERSED:
        return None
    others = [part for part in key[:-1] if part is not Ellipsis]
    ellipses = len(key) - 1 - len(others)
    if any(part != _EVERYTHING for part in others) or ellipses > 1:
        return None
    if ellipses:
        return -1
    return _CHANNELS if len(others) == _CHANNELS else None


def _reversal(keras: Any) -> type:  # noqa: ANN401
    """Return the layer that reverses channels."""

    class Reversal(keras.layers.Layer):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self, function: str, **options: Any) -> None:  # noqa: ANN401
            super().__init__(**options)

        def call(self, image: Any, axis: int = -1) -> Any:  # noqa: ANN401
            return keras.ops.flip(image, axis=axis)

    return Reversal


def _operations(keras: Any) -> dict[str, type]:  # noqa: ANN401
    """Return operations of ``preprocess_input`` in Keras 3, which does not find them in .h5 files.

    They have no public names.
    """
    ops, image = keras.ops, keras.Input((1, 1, 1))
    used = [image + 1, image - 1, image * 2, image / 2, ops.divide(image, 2), image[..., 0]]
    used += [ops.stack([image, image]), ops.concatenate([image, image]), ops.cast(image, "int32")]
    kinds = [type(tensor._keras_history.operation) for tensor in used]
    index = _index(keras, kinds[5])
    named = {_OPERATION + kind.__name__: kind for kind in kinds}
    return named | {_OPERATION + "GetItem": index, "GetItem": index}


def _index(keras: Any, own: type) -> type:  # noqa: ANN401
    """Return the operation of slices in Keras 3, which reverses channels on torch too."""

    class Index(own):  # type: ignore[misc, valid-type, unused-ignore]
        def call(self, x: Any, key: Any) -> Any:  # noqa: ANN401
            parts = key if isinstance(key, (list, tuple)) else [key]
            axis = _reversed_axis([_as_keras_2(part) for part in parts])
            if axis is not None:  # torch has no negative steps
                return keras.ops.flip(x, axis=axis)
            return super().call(x, key)

    return Index


def _as_keras_2(part: Any) -> Any:  # noqa: ANN401
    """Return a part of a slice as Keras 2 writes it."""
    if not isinstance(part, slice):
        return part
    return {"start": part.start, "stop": part.stop, "step": part.step}
