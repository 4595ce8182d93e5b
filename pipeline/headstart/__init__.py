"""Headstart: an honest image classifier from a folder of photos, without training a network.

Importing this package loads no torch, no onnxruntime and no scikit-learn: each stage imports
what it needs when it runs. docs/tutorial.md shows the names below at work.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_API = {  # name: where it comes from
    "embed": "headstart.features.embed:embed",
    "EmbedConfig": "headstart.features.embed:EmbedConfig",
    "FeatureStore": "headstart.features.store:read",
    "compare": "headstart.evaluation.compare:compare",
    "CompareConfig": "headstart.evaluation.compare:CompareConfig",
    "load_model": "headstart.models.classifier:load_model",
    "predict": "headstart.models.predict:predict",
    "ImageEmbedder": "headstart.features.image_embedder:ImageEmbedder",
    "export_features": "headstart.features.export_table:export_features",
    "HeadstartError": "headstart.core.errors:HeadstartError",
}
__all__ = [*_API]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _API[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
