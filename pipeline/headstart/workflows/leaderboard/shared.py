"""What the leaderboards of all target types say alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headstart.core import targets
from headstart.core.errors import count, one_line
from headstart.core.targets import SINGLE_LABEL


def is_tested(results: dict[str, Any]) -> bool:
    """Return whether a test image shares no group with any training image."""
    return bool(results["protocol"]["n_leaked"] < results["protocol"]["n_test"])


def provenance(results: dict[str, Any]) -> str:
    """Return what the figures rest on: images, classes, and the test split."""
    data, protocol = results["dataset"], results["protocol"]
    classes = protocol.get("n_classes", len(data["classes"]))
    noun = targets.by_name(results.get("target", SINGLE_LABEL)).noun
    images = f"{count(data['n_images'], 'image')}, {count(classes, noun)}"
    if protocol["scored_on"] == "out of fold":
        return f"{images}; trained on all {protocol['n_train']:,}, scored out of fold"
    tested = count(protocol["n_test"], "test image")
    return (
        f"{images}; tuned on {protocol['n_train']:,}, "
        + (f"scored once on {tested}" if is_tested(results) else f"none of {tested} independent")
        + f" ({data['test_split']})"
    )


def in_line(remark: Mapping[str, str]) -> str:
    """Return a remark as a line with its code; those of former versions have none."""
    return f"remark {remark['code']}".rstrip() + f": {one_line(remark['text'])}"


def shown(results: dict[str, Any], titles: Iterable[str], of_folds: str) -> list[str]:
    """Return the columns to show.

    The backbone only if there are several; scores on the test images only if one of them is
    independent of the training images, else that ``of_folds`` alone.
    """
    several, tested = len(results["backbones"]) > 1, is_tested(results)
    always = ("backbone", "head", of_folds, "seconds")
    return [key for key in titles if (several or key != "backbone") and (tested or key in always)]


def common(row: dict[str, Any]) -> dict[str, str]:
    """Return what the rows of all target types have, as texts."""
    p = row["p"]
    return {
        "backbone": one_line(row["backbone"]),
        "head": row["head"] + (" *" if row["approximation"] else ""),
        "seconds": f"{row['seconds']:.1f}",
        "verdict": row["verdict"] or "–",
        "p": "–" if p is None else "<0.001" if p < 0.0005 else f"{p:.3f}",
    }
