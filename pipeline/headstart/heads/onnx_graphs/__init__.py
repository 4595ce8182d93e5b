"""Fitted heads as ONNX graphs, from ``X``, ``(n, dim) float32``, to ``scores``, ``(n, k) float32``.

`stock` is skl2onnx's conversion; `svm` and `knn` are graphs of a few matrix products in place of
what it makes of these; `builder` is what they are built with.
"""
