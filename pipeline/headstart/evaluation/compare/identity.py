"""The digest of a comparison's inputs, and its provenance."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import headstart
from headstart.core.choices import GROUP_ANSWERS
from headstart.core.records import FeatureSet, digest_of
from headstart.core.rows import StoredRows, blocks
from headstart.evaluation.compare.config import OF_LABELS, CompareConfig
from headstart.evaluation.operating_points import TARGETS

RUN = ("embedded", "seconds", "device", "provider")  # facts of a store's last run
BLOCK = 8192  # rows hashed at once
PACKAGES = ("numpy", "scipy", "scikit-learn", "joblib")


def inputs_digest(
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str] | None = None,
) -> str:
    """Return the digest of a comparison, which its provenance keeps as ``inputs``.

    It covers data, configuration and version of Headstart: the same digest means the same results.
    """
    settings = dataclasses.asdict(config)
    del settings["workers"]  # does not change the results
    for name in OF_LABELS:  # so that inputs without them keep their digest
        if not settings[name]:
            del settings[name]
    defaults = {"ignore": (), "targets": TARGETS, "group_answer": GROUP_ANSWERS[0], "costs": None}
    settings = {
        key: value
        for key, value in settings.items()
        if key not in defaults or defaults[key] != value
    }
    streamed = [number for number, store in enumerate(stores) if is_streamed(store)]
    return digest_of(
        ({"streamed": streamed} if streamed else {})
        | {
            "data": [_data_hash(store) for store in stores],
            "groups": dict(named_groups or {}),
            "config": settings,
            "headstart": headstart.__version__,
        }
    )


def provenance(inputs: str, stores: Mapping[str, FeatureSet]) -> dict[str, Any]:
    """Return the versions and the machine of a comparison, and the last runs of its stores."""
    software = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "software": {"headstart": headstart.__version__} | software,
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
        },
        "inputs": inputs,
        "features": [
            {"backbone": name} | {key: store.run[key] for key in RUN if key in store.run}
            for name, store in stores.items()
        ],
    }


def is_streamed(data: FeatureSet) -> bool:
    """Return whether the features stay on disk."""
    return isinstance(data.features, StoredRows)


def _data_hash(data: FeatureSet) -> str:
    """Return a SHA-256 over everything in the features that the results depend on."""
    names = {"path": data.path, "split": data.split, "classes": data.classes, "of": data.digest}
    names |= {"origin": data.origin} if data.origin else {}
    content = hashlib.sha256(digest_of(names).encode())
    arrays: list[Any] = [data.features, data.label, data.sha256]
    arrays += [] if data.label_sets is None else [data.label_sets]
    for array in arrays if data.pixels is None else [*arrays, data.pixels]:
        for _, rows in blocks(array, BLOCK):
            content.update(np.ascontiguousarray(rows).data)
    return content.hexdigest()
