"""The heads that give one class an image as rows; the functions are those of the package."""

from __future__ import annotations

from typing import Any

from headstart.workflows.leaderboard.shared import common, is_tested, shown

TITLES = {
    "backbone": "backbone",
    "head": "head",
    "test_accuracy": "accuracy",
    "interval": "95 % interval",
    "cv_accuracy": "CV (spread)",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "calibration_error": "ECE (chance)",
    "seconds": "s",
    "verdict": "verdict",
    "p": "p",
}
OPTIONAL = ("seconds", "calibration_error", "log_loss", "macro_f1", "p", "cv_accuracy")
LEFT = ("backbone", "head", "verdict")  # columns of text


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each head, best first, then each baseline: fractions and seconds."""
    return [
        {
            "backbone": head["backbone"],
            "head": head["name"],
            "kind": kind,
            "verdict": head["verdict"],
            "test_accuracy": head["test_accuracy"],
            "test_accuracy_low": head["test_accuracy_ci"][0],
            "test_accuracy_high": head["test_accuracy_ci"][1],
            "cv_accuracy": head["cv_accuracy"],
            "cv_std": head["cv_std"],
            "macro_f1": head["macro_f1"],
            "log_loss": head["log_loss"],
            "ece": head["ece"],
            "calibration_error": head["calibration_error"],
            "calibration_chance": head["calibration_chance"],
            "seconds": head["seconds"],
            "p": head["p"],
            "mcnemar_p": head["mcnemar_p"],
            "approximation": head["approximation"],
        }
        for kind, key in (("head", "heads"), ("baseline", "baselines"))
        for head in results[key]
    ]


def headline(results: dict[str, Any]) -> str:
    """Return the best head and its score."""
    best, tested = results["heads"][0], is_tested(results)
    score, kind = ("test_accuracy", "test") if tested else ("cv_accuracy", "CV")
    return f"{best['name']} has {best[score]:.1%} {kind} accuracy"


def summaries(results: dict[str, Any]) -> list[str]:
    """Return one line for each insight that has something to report."""
    from headstart.report import sections

    return sections.summaries(results)


def columns(results: dict[str, Any]) -> list[str]:
    """Return the keys of `TITLES` to show."""
    return shown(results, TITLES, "cv_accuracy")


def cells(row: dict[str, Any]) -> dict[str, str]:
    """Return a row's figures as texts, by the keys of `TITLES`."""
    low, high = row["test_accuracy_low"], row["test_accuracy_high"]
    return common(row) | {
        "test_accuracy": f"{row['test_accuracy']:.1%}",
        "interval": f"{100 * low:.1f}–{100 * high:.1f}",
        "cv_accuracy": f"{100 * row['cv_accuracy']:.1f} ({100 * row['cv_std']:.1f})",
        "macro_f1": f"{row['macro_f1']:.3f}",
        "log_loss": f"{row['log_loss']:.3f}",
        "calibration_error": _calibration(row),
    }


def _calibration(row: dict[str, Any]) -> str:
    """Return the calibration error beyond chance and chance, or of old results the whole error."""
    if row["calibration_error"] is None:
        return f"{row['ece']:.3f}"
    return f"{row['calibration_error']:.3f} ({row['calibration_chance']:.3f})"
