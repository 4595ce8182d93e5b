"""What Keras 2 wrote into its files and Keras 3 does not read, as far as it can be told exactly.

Keras 2 came with TensorFlow until 2.15. Its convolutions have arguments that later ones lack, and
arithmetic between layers, such as that of ``preprocess_input``, is a layer ``TFOpLambda``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# Arguments that had no effect.
_FORMER = {
    "Conv2DTranspose": ("groups",),
    "DepthwiseConv2D": ("groups",),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
}
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
    try:
        yield {"TFOpLambda": _arithmetic(keras)}
    finally:
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
