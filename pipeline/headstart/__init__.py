"""Headstart: an honest image classifier from a folder of photos, without training a network.

    import headstart as hs

    features = hs.extract_features("photos", "photos.h5")
    result = hs.train_heads(features, "results")
    result.leaderboard()

Importing this package loads no library: each function imports what it needs when it runs.
docs/tutorial.md shows the names below in use. The import also turns off the reports that libraries
would send about you, unless you have set their variables yourself.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.core.errors import HeadstartError
    from headstart.core.hooks import Hooks
    from headstart.features.image_embedder import ImageEmbedder
    from headstart.features.store import FeatureStore
    from headstart.workflows.backbones import (
        choose_backbone,
        export_backbone,
        list_backbones,
        list_layers,
    )
    from headstart.workflows.drift import drift
    from headstart.workflows.evaluation import evaluate
    from headstart.workflows.features import (
        export_features,
        extract_features,
        verify,
        write_demo_data,
    )
    from headstart.workflows.finetuning import advise_finetuning, finetune
    from headstart.workflows.heads import train_heads
    from headstart.workflows.imported import import_features
    from headstart.workflows.models import export_model, load_model, predict, serve
    from headstart.workflows.reports import write_report
    from headstart.workflows.result import Result
    from headstart.workflows.suggestion import suggest

__version__ = "0.1.0"

# Read when the libraries are imported or started, by child processes and Ray's workers too.
_NO_TELEMETRY = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: device id, event database, look-ups by the import
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _variable, _value in _NO_TELEMETRY.items():
    os.environ.setdefault(_variable, _value)

_MODULES = {  # module: the public names that come from it
    "core.errors": ("HeadstartError",),
    "core.hooks": ("Hooks",),
    "features.image_embedder": ("ImageEmbedder",),
    "features.store": ("FeatureStore",),
    "workflows.backbones": ("choose_backbone", "export_backbone", "list_backbones", "list_layers"),
    "workflows.drift": ("drift",),
    "workflows.evaluation": ("evaluate",),
    "workflows.features": ("export_features", "extract_features", "verify", "write_demo_data"),
    "workflows.finetuning": ("advise_finetuning", "finetune"),
    "workflows.heads": ("train_heads",),
    "workflows.imported": ("import_features",),
    "workflows.models": ("export_model", "load_model", "predict", "serve"),
    "workflows.reports": ("write_report",),
    "workflows.result": ("Result",),
    "workflows.suggestion": ("suggest",),
}
_API = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "FeatureStore",
    "HeadstartError",
    "Hooks",
    "ImageEmbedder",
    "Result",
    "advise_finetuning",
    "choose_backbone",
    "drift",
    "evaluate",
    "export_backbone",
    "export_features",
    "export_model",
    "extract_features",
    "finetune",
    "import_features",
    "list_backbones",
    "list_layers",
    "load_model",
    "predict",
    "serve",
    "suggest",
    "train_heads",
    "verify",
    "write_demo_data",
    "write_report",
]


class _Package(ModuleType):
    """The package, whose function `finetune` is not hidden by the room of the same name."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        if name not in _API:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"headstart.{_API[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # Importing the room `headstart.finetune` would put the module in the function's place.
        if not (name in _API and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_API})


sys.modules[__name__].__class__ = _Package
