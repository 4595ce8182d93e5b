"""Fitted heads as ONNX graphs, from ``X``, ``(n, dim) float32``, to ``scores``, ``(n, k) float32``.

`stock` uses skl2onnx; `svm` and `knn` replace its graphs with a few matrix products.
"""
