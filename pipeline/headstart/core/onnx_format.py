"""The operator sets of written ONNX files, and names for the messages of the package ``onnx``."""

from typing import Any, TypeAlias

OPSET = 18
ML_OPSET = 3  # of ai.onnx.ml, which skl2onnx uses

# The package is loaded late, and its generated classes have no attributes to check.
ModelProto: TypeAlias = Any
NodeProto: TypeAlias = Any
