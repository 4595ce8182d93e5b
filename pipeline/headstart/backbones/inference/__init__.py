"""Exported backbones at work: ONNX sessions, precisions, and proof that they compute the same."""
