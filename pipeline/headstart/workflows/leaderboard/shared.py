"""What the leaderboards of all target types say alike."""

from __future__ import annotations

from typing import Any

from headstart.core.errors import count
from headstart.core.targets import SINGLE_LABEL


def is_tested(results: dict[str, Any]) -> bool:
    """Return whether a test image shares no group with any training image."""
    return bool(results["protocol"]["n_leaked"] < results["protocol"]["n_test"])


def provenance(results: dict[str, Any]) -> str:
    """Return what the figures rest on: images, classes, and the test split."""
    data, protocol = results["dataset"], results["protocol"]
    classes = protocol.get("n_classes", len(data["classes"]))
    noun = "class" if results.get("target", SINGLE_LABEL) == SINGLE_LABEL else "label"
    images = f"{count(data['n_images'], 'image')}, {count(classes, noun)}"
    if protocol["scored_on"] == "out of fold":
        return f"{images}; trained on all {protocol['n_train']:,}, scored out of fold"
    tested = count(protocol["n_test"], "test image")
    return (
        f"{images}; tuned on {protocol['n_train']:,}, "
        + (f"scored once on {tested}" if is_tested(results) else f"none of {tested} independent")
        + f" ({data['test_split']})"
    )
