"""What Keras 2 wrote into its files and Keras 3 does not read, as far as it can be told exactly.

Keras 2 came with TensorFlow until 2.15. Its convolutions have arguments that later ones lack, and
arithmetic between layers, such as that of ``preprocess_input``, is a layer ``TFOpLambda``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

# Arguments that had no effect.
_FORMER = {
    "Conv2DTranspose": ("groups",),
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}
_NETWORKS = ("Functional", "Model", "Sequential")
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
        yield {"TFOpLambda": _arithmetic(keras)}
    finally:
        keras.Model.from_config, keras.Sequential.from_config = own, chain
        for layer in layers:  # what they inherit is theirs again
            del layer.from_config


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

    def from_config(model: type, config: dict[str, Any], *rest: Any, **options: Any) -> Any:  # noqa: ANN401
        rejoin(config.get("layers", ()))
        return build(model, config, *rest, **options)

    return classmethod(from_config)


def _with_input(build: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return a ``from_config`` for chains whose input is a setting of their first layer."""

    def from_config(model: type, config: dict[str, Any], *rest: Any, **options: Any) -> Any:  # noqa: ANN401
        config["layers"] = [*input_of(config.get("layers", ())), *config.get("layers", ())]
        return build(model, config, *rest, **options)

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
        nodes = [node for node in layer.get("inbound_nodes", ()) if isinstance(node, list)]
        if nodes and layer.get("class_name") == "TFOpLambda":  # its nodes have no list around them
            layer["inbound_nodes"] = nodes = [[node] for node in nodes]
        inputs += [entry for node in nodes for entry in node]
    # A network inside has a node of its own in Keras 2, so its first use was number 1.
    networks = {layer.get("name") for layer in layers if layer.get("class_name") in _NETWORKS}
    counted = networks - {name for name, number, *_ in inputs if number == 0}
    for entry in inputs:
        if entry[0] in counted:
            entry[1] -= 1


def _arithmetic(keras: Any) -> type:  # noqa: ANN401
    """Return the layer that computes an image and a constant."""

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
            operand = y if self.operand == "y" else bias
            if operand is None or data_format not in (None, "NHWC"):
                raise ValueError("Unknown arithmetic: not of an image and a constant")
            return self.operation(image, keras.ops.convert_to_tensor(operand, image.dtype))

    return Arithmetic
