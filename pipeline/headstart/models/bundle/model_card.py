"""The files beside a model: an example that uses it, and a model card.

The card has the sections of Mitchell et al., *Model Cards for Model Reporting* (2019). A program
can fill in some of them; the people who trained the model add the rest.
"""

from __future__ import annotations

from importlib.resources import files
from os import PathLike
from pathlib import Path

from headstart.core.artifacts import CARD, EXAMPLE
from headstart.core.errors import one_line
from headstart.core.files import write_text
from headstart.core.results import Comparison, HeadResult

CLASSES_SHOWN = 50
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>#|~"})
_SCORES = {
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "macro_f1",
    "ROC AUC": "roc_auc",
    "log loss": "log_loss",
    "expected calibration error": "ece",
}


def write_companions(folder: str | PathLike[str], comparison: Comparison) -> None:
    """Write the card and the example beside ``model.onnx``."""
    write_text(Path(folder) / CARD, card(comparison))
    write_text(Path(folder) / EXAMPLE, example())


def example() -> str:
    """Return a program that predicts with onnxruntime, numpy and Pillow alone."""
    return files("headstart.models.bundle").joinpath("example.txt").read_text(encoding="utf-8")


def card(comparison: Comparison) -> str:
    """Return a comparison's best head as a model card, in Markdown."""
    sections = [
        f"# Model card: {_plain(comparison.dataset['name'])}",
        _model(comparison),
        "## Data\n\n" + _data(comparison),
        "## Scores\n\n" + _scores(comparison),
        "## Limits\n\n" + _limits(comparison),
        "## Licence\n\n" + _licence(comparison),
        "## Usage\n\n" + _usage(),
    ]
    return "\n\n".join(sections) + "\n"


def _model(comparison: Comparison) -> str:
    head, backbone = comparison.heads[0], comparison.extraction["document"]["backbone"]
    params = ", ".join(f"{key} = {value}" for key, value in head.params.items())
    created = comparison.provenance.get("created", "")
    lines = [
        "An image classifier in one ONNX file, `model.onnx`: a frozen backbone computes features, "
        "and a head trained on them returns calibrated probabilities.",
        "",
        f"- Backbone: {_plain(backbone['name'])} ({_plain(backbone['source'])}), "
        f"{backbone['dim']:,} features, {backbone['precision']}; not fine-tuned.",
        f"- Head: {_plain(head.title)} ({_plain(params)}), chosen by cross-validation.",
        *([f"- Created: {created}"] if created else []),
    ]
    return "\n".join(lines)


def _data(comparison: Comparison) -> str:
    data, protocol = comparison.dataset, comparison.protocol
    names = list(data["classes"])
    shown = ", ".join(_plain(name) for name in names[:CLASSES_SHOWN])
    more = f" and {len(names) - CLASSES_SHOWN:,} more" if len(names) > CLASSES_SHOWN else ""
    return "\n".join(
        [
            f"- Images: {protocol['n_train']:,} for training, {protocol['n_test']:,} for testing.",
            f"- Test split: {_plain(protocol['test_split'])}",
            f"- Classes ({len(names):,}): {shown}{more}.",
        ]
    )


def _scores(comparison: Comparison) -> str:
    head = comparison.heads[0]
    return "\n".join(
        [
            "Scores on the test images, which took no part in training, tuning or selection, with"
            " 95 % bootstrap intervals.",
            "",
            "| score | value | interval |",
            "|---|---|---|",
            *_score_rows(head),
            "",
            f"Cross-validated accuracy: {head.cv_accuracy:.1%} ± {head.cv_std:.1%}.",
            *(
                f"Accuracy of the baseline {_plain(baseline.title)}: {baseline.test_accuracy:.1%}."
                for baseline in comparison.baselines
            ),
        ]
    )


def _score_rows(head: HeadResult) -> list[str]:
    low, high = head.test_accuracy_ci
    rows = [f"| accuracy | {head.test_accuracy:.3f} | {low:.3f} to {high:.3f} |"]
    for name, key in _SCORES.items():
        value, interval = getattr(head, key), head.intervals.get(key)
        if value is not None:
            bounds = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
            rows.append(f"| {name} | {value:.3f} | {bounds} |")
    return rows


def _limits(comparison: Comparison) -> str:
    lines = [
        "- The model always returns one of its classes, whatever the image shows. `distance` "
        "measures how far an image is from the training images; `headstart predict` marks an image "
        "as `unlike` if it is farther away than 99 % of the training images are from each other.",
        "- Scores apply to images like the test images. Other cameras, locations or times may give"
        " other scores.",
        *_weak_classes(comparison),
        *(f"- {_plain(warning)}" for warning in comparison.warnings),
    ]
    return "\n".join(lines)


def _weak_classes(comparison: Comparison) -> list[str]:
    recalls = comparison.heads[0].per_class.get("recall", [])
    classes = zip(recalls, comparison.dataset["classes"], strict=False)
    weakest = sorted((recall, str(name)) for recall, name in classes if recall is not None)[:3]
    listed = ", ".join(f"{_plain(name)} {recall:.0%}" for recall, name in weakest)
    return [f"- Lowest recalls: {listed}."] if weakest else []


def _licence(comparison: Comparison) -> str:
    licence = comparison.extraction["document"]["backbone"]["licence"] or "not stated"
    return (
        f"Weights of the backbone: {_plain(licence)}. The head is yours, as far as the licence of "
        "your images permits."
    )


def _usage() -> str:
    return (
        "```\nheadstart predict model.onnx IMAGE...\n```\n\n"
        f"Or run `{EXAMPLE}` in this folder, which needs only onnxruntime, numpy and Pillow. The"
        " input is `image`, `(n, height, width, 3) uint8` RGB; the outputs are `label`,"
        " `probabilities`, `features` and `distance`. The metadata of the file describes the"
        " preprocessing."
    )


def _plain(value: object) -> str:
    """Return a text as one line without Markdown syntax."""
    return one_line(value).translate(_SPECIAL)
