"""Headstart: an honest image classifier from a folder of photos, without training a network.

Importing this package loads no torch, no onnxruntime and no scikit-learn: each stage imports
what it needs when it runs. docs/tutorial.md shows the names below at work.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_API = {  # name: where it comes from; a stage's module can be called like its function
    "embed": "pipeline.embed",
    "EmbedConfig": "pipeline.embed:EmbedConfig",
    "FeatureStore": "pipeline.feature_store:FeatureStore",
    "compare": "pipeline.compare",
    "CompareConfig": "pipeline.compare:CompareConfig",
    "load_model": "pipeline.classifier:load_model",
    "predict": "pipeline.predict",
    "ImageEmbedder": "pipeline.image_embedder:ImageEmbedder",
    "export_features": "pipeline.feature_export:export_features",
    "HeadstartError": "pipeline.errors:HeadstartError",
}
__all__ = [*_API]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _API[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
