"""Headstart: an honest image classifier from a folder of photos, without training a network.

Importing this package loads no torch, no onnxruntime and no scikit-learn: each stage imports
what it needs when it runs.
"""

__version__ = "0.1.0"
