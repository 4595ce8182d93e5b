"""What lies beside a model file: an example that uses it, and a card that says what it is.

The card has the sections of Mitchell et al., *Model Cards for Model Reporting* (2019), as far as a
program can fill them in; the rest is for the people who trained the model.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from headstart.core.artifacts import CARD, EXAMPLE
from headstart.core.errors import one_line
from headstart.core.files import write_text
from headstart.core.results import Comparison, HeadResult

MANY = 50  # classes in full; more are counted
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>#|~"})


def write_companions(folder: Path, comparison: Comparison) -> None:
    """Write the card and the example beside a model.

    Args:
        folder: where ``model.onnx`` lies.
        comparison: what the model came out of.

    Raises:
        OutputError: they cannot be written.
    """
    write_text(folder / CARD, card(comparison))
    write_text(folder / EXAMPLE, example())


def example() -> str:
    """Return the program that predicts with onnxruntime, numpy and Pillow alone."""
    return files("headstart.models.bundle").joinpath("example.txt").read_text(encoding="utf-8")


def card(comparison: Comparison) -> str:
    """Return a comparison's best head as a model card, in Markdown."""
    parts = [
        f"# Model card: {_plain(comparison.dataset['name'])}",
        _what(comparison),
        "## Data\n\n" + _data(comparison),
        "## Scores\n\n" + _scores(comparison),
        "## Limits\n\n" + _limits(comparison),
        "## Licence\n\n" + _licence(comparison),
        "## How to use it\n\n" + _use(),
    ]
    return "\n\n".join(parts) + "\n"


def _what(comparison: Comparison) -> str:
    head, backbone = comparison.heads[0], comparison.extraction["document"]["backbone"]
    params = ", ".join(f"{key} = {value}" for key, value in head.params.items())
    made = comparison.provenance.get("created", "")
    lines = [
        "An image classifier in one ONNX file, `model.onnx`: a frozen network makes features, and "
        "a head trained on them gives calibrated probabilities.",
        "",
        f"- Network: {_plain(backbone['name'])} ({_plain(backbone['source'])}), "
        f"{backbone['dim']:,} features, {backbone['precision']}; it was not trained further.",
        f"- Head: {head.name} ({_plain(params)}), chosen by cross-validation.",
        *([f"- Made: {made}"] if made else []),
    ]
    return "\n".join(lines)


def _data(comparison: Comparison) -> str:
    data, protocol = comparison.dataset, comparison.protocol
    names = list(data["classes"])
    shown = ", ".join(_plain(name) for name in names[:MANY])
    more = f" and {len(names) - MANY:,} more" if len(names) > MANY else ""
    return "\n".join(
        [
            f"- Images: {protocol['n_train']:,} to train, {protocol['n_test']:,} to test.",
            f"- Test: {_plain(protocol['test_split'])}",
            f"- Classes ({len(names):,}): {shown}{more}.",
        ]
    )


def _scores(comparison: Comparison) -> str:
    rows = [
        "On the test images, which neither tuned nor chose anything; 95 % bootstrap intervals.",
        "",
        "| | score | interval |",
        "|---|---|---|",
        *_score_rows(comparison.heads[0]),
        "",
        f"In cross-validation: {comparison.heads[0].cv_accuracy:.1%}"
        f" ± {comparison.heads[0].cv_std:.1%}.",
    ]
    for other in comparison.baselines:
        rows.append(f"Baseline {other.name}: {other.test_accuracy:.1%}.")
    return "\n".join(rows)


def _score_rows(head: HeadResult) -> list[str]:
    low, high = head.test_accuracy_ci
    rows = [f"| accuracy | {head.test_accuracy:.3f} | {low:.3f} to {high:.3f} |"]
    figures = {
        "balanced accuracy": ("balanced_accuracy", head.balanced_accuracy),
        "macro F1": ("macro_f1", head.macro_f1),
        "ROC AUC": ("roc_auc", head.roc_auc),
        "log loss": ("log_loss", head.log_loss),
        "expected calibration error": ("ece", head.ece),
    }
    for name, (key, value) in figures.items():
        interval = head.intervals.get(key)
        if value is not None:
            told = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
            rows.append(f"| {name} | {value:.3f} | {told} |")
    return rows


def _limits(comparison: Comparison) -> str:
    lines = [
        "- It knows its classes only, and answers with one of them whatever the image shows. "
        "`distance` tells how far an image is from the training images; `headstart predict` marks "
        "those beyond 99 % of the training images' own distances as `unlike`.",
        "- Scores hold for images like the test images; other cameras, places or times may differ.",
        *_weak_classes(comparison),
        *(f"- {_plain(warning)}" for warning in comparison.warnings),
    ]
    return "\n".join(lines)


def _weak_classes(comparison: Comparison) -> list[str]:
    recall = comparison.heads[0].per_class.get("recall", [])
    found = zip(recall, comparison.dataset["classes"], strict=False)
    weakest = sorted((value, str(name)) for value, name in found if value is not None)[:3]
    told = ", ".join(f"{_plain(name)} {value:.0%}" for value, name in weakest)
    return [f"- Lowest recalls: {told}."] if weakest else []


def _licence(comparison: Comparison) -> str:
    licence = comparison.extraction["document"]["backbone"]["licence"] or "not stated"
    return (
        f"The network's weights: {_plain(licence)}. The head is yours, as far as the licence of "
        "your images lets you."
    )


def _use() -> str:
    return (
        "```\nheadstart predict model.onnx IMAGE...\n```\n\n"
        f"or, with onnxruntime, numpy and Pillow alone, `{EXAMPLE}` beside this file. The model "
        "takes `image`, `(n, height, width, 3) uint8` RGB, and returns `label`, `probabilities`, "
        "`features` and `distance`; what comes before it is in its metadata."
    )


def _plain(value: Any) -> str:  # noqa: ANN401
    """Return a text as one line in which Markdown sees no marks."""
    return one_line(value).translate(_SPECIAL)
