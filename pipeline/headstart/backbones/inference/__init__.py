"""Run exported backbones: ONNX sessions, precisions, and proof that they compute the same."""
