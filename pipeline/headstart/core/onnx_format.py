"""The operator sets that ONNX files are written in."""

OPSET = 18
ML_OPSET = 3  # of ai.onnx.ml, which skl2onnx uses
