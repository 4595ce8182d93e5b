"""The heads that give an image several labels as rows; the functions are those of the package."""

from __future__ import annotations

from typing import Any

from headstart.core import artifacts
from headstart.core.errors import one_line
from headstart.core.group_text import in_words
from headstart.workflows.leaderboard.shared import common, in_line, is_tested, shown

TITLES = {
    "backbone": "backbone",
    "head": "head",
    "map": "mAP",
    "interval": "95 % interval",
    "cv_map": "CV (spread)",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "subset_accuracy": "all right",
    "hamming_loss": "wrong cells",
    "calibration_error": "calibration",
    "seconds": "s",
    "verdict": "verdict",
    "p": "p",
}
OPTIONAL = (
    "seconds",
    "calibration_error",
    "hamming_loss",
    "subset_accuracy",
    "micro_f1",
    "p",
    "cv_map",
)
LEFT = ("backbone", "head", "verdict")  # columns of text
_PLAIN = ("macro_f1", "micro_f1", "hamming_loss", "calibration_error")
_SHOWN = 5  # labels of a line
_FEW = 10  # positives, below which the scores of a label are mere hints


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each head and each baseline."""
    return [
        {
            "backbone": head["backbone"],
            "head": head["name"],
            "kind": kind,
            "verdict": head["verdict"],
            "map": head["map"],
            "map_low": (head["intervals"].get("map") or [None, None])[0],
            "map_high": (head["intervals"].get("map") or [None, None])[1],
            "cv_map": head["cv_map"],
            "cv_std": head["cv_std"],
            **{name: head[name] for name in (*_PLAIN, "subset_accuracy", "macro_f1_at_half")},
            "seconds": head["seconds"],
            "p": head["p"],
            "approximation": head["approximation"],
        }
        for kind, key in (("head", "heads"), ("baseline", "baselines"))
        for head in results[key]
    ]


def columns(results: dict[str, Any]) -> list[str]:
    """Return the keys of `TITLES` to show."""
    return shown(results, TITLES, "cv_map")


def cells(row: dict[str, Any]) -> dict[str, str]:
    """Return a row's figures as texts."""
    low, high = row["map_low"], row["map_high"]
    return common(row) | {
        "map": f"{row['map']:.3f}",
        "interval": "–" if low is None else f"{low:.3f}–{high:.3f}",
        "cv_map": f"{row['cv_map']:.3f} ({row['cv_std']:.3f})",
        **{
            name: f"{row[name]:.3f}"
            for name in ("macro_f1", "micro_f1", "hamming_loss", "calibration_error")
        },
        "subset_accuracy": f"{row['subset_accuracy']:.1%}",
    }


def headline(results: dict[str, Any]) -> str:
    """Return the best head and its score."""
    best = results["heads"][0]
    kind, score = ("test", best["map"]) if is_tested(results) else ("CV", best["cv_map"])
    return f"{best['name']} has {score:.3f} {kind} mAP"


def summaries(results: dict[str, Any]) -> list[str]:
    """Return a line on the hardest labels, and one for each insight."""
    from headstart.report import sections

    best = results["heads"][0]
    names, table = results["dataset"]["classes"], best["per_label"]
    scored = [
        (ap, name, support)
        for ap, name, support in zip(table["ap"], names, table["support"], strict=True)
        if ap is not None and support >= _FEW
    ]
    lines = []
    if len(scored) > 1:
        hardest = ", ".join(f"{one_line(name)} {ap:.2f}" for ap, name, _ in sorted(scored)[:_SHOWN])
        lines.append(f"lowest average precisions: {hardest}")
    lines += map(in_line, results["insights"]["remarks"])
    if tiers := results["insights"]["label_errors"]["tiers"]:
        doubtful = ", ".join(
            f"{tier['images']:,} {tier['tier']} ({sections.expected_errors(tier)})"
            for tier in tiers
        )
        lines.append(f"label_issues.csv: labels of images that may be wrong: {doubtful}")
    if groups := results["insights"].get("group_answers"):
        lines.append(in_words(groups, artifacts.GROUP_PREDICTIONS))
    if doubling := results["insights"]["learning_curve"]["doubling"]:
        low, high = doubling["gain_ci"]
        lines.append(
            f"forecast for twice as many training images: {doubling['gain']:+.3f} mAP"
            f" ({low:+.3f} to {high:+.3f})"
        )
    duplicates = results["insights"]["duplicates"]
    if duplicates["images"]:
        lines.append(
            f"duplicates.csv: {duplicates['images']:,} duplicate images in"
            f" {duplicates['groups']:,} groups"
        )
    return lines
