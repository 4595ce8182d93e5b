"""The deliverable: one ONNX file with backbone and head. Write, open, serve and apply it."""
