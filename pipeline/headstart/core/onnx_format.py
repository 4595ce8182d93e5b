"""The operator sets of written ONNX files."""

OPSET = 18
ML_OPSET = 3  # of ai.onnx.ml, which skl2onnx uses
