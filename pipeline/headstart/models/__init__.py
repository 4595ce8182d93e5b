"""The deliverable: one ONNX file with backbone and head, opened, served and predicted with."""
