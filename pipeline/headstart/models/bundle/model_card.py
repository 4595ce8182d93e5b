"""The files beside a model: an example that uses it, and a model card.

The card has the sections of Mitchell et al., *Model Cards for Model Reporting* (2019). A program
can fill in some of them; the people who trained the model add the rest.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from headstart.core import targets
from headstart.core.artifacts import CARD, EXAMPLE
from headstart.core.choices import TUNED
from headstart.core.errors import one_line
from headstart.core.files import write_text
from headstart.core.group_text import METHOD
from headstart.core.names import is_imported
from headstart.core.results import Comparison
from headstart.models.bundle.example import example

CLASSES_SHOWN = 50
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]<>#|~"})
_SCORES = {
    "balanced accuracy": "balanced_accuracy",
    "macro F1": "macro_f1",
    "ROC AUC": "roc_auc",
    "log loss": "log_loss",
    "calibration error beyond chance": "calibration_error",
}


def write_companions(folder: str | PathLike[str], comparison: Any) -> None:  # noqa: ANN401
    """Write the card and the example beside ``model.onnx``, for a comparison of any target."""
    own = targets.by_name(comparison.TARGET).part("card")
    write_text(Path(folder) / CARD, own.card(comparison))
    backbone = comparison.extraction["document"]["backbone"]
    write_text(Path(folder) / EXAMPLE, example(is_imported(backbone["name"])))


def card(comparison: Comparison) -> str:
    """Return a comparison's best head as a model card, in Markdown."""
    head, classes = comparison.heads[0], comparison.dataset["classes"]
    recalls = zip(head.per_class.get("recall", []), map(str, classes), strict=False)
    return render(
        "model_card.md.j2",
        data=comparison.dataset,
        protocol=comparison.protocol,
        backbone=comparison.extraction["document"]["backbone"],
        head=head,
        tuned=head.name == TUNED,
        params=", ".join(f"{key} = {value}" for key, value in head.params.items()),
        created=comparison.provenance.get("created", ""),
        classes=classes,
        shown=CLASSES_SHOWN,
        scores=_SCORES.items(),
        baselines=comparison.baselines,
        weakest=sorted(
            (recall, name) for recall, name in recalls if recall is not None and recall < 1
        )[:3],
        warnings=comparison.warnings,
        example=EXAMPLE,
        operating=comparison.insights.operating_points,
        sets=comparison.insights.prediction_sets,
        costs=comparison.insights.costs,
        groups=comparison.insights.group_answers,
        methods=METHOD,
    )


def render(template: str, **values: Any) -> str:  # noqa: ANN401
    """Return a template of a card with its values; the filter ``plain`` escapes Markdown."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headstart.models.bundle", ""),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["plain"] = _plain
    environment.tests["imported"] = is_imported
    # Blocks that end a line take its end along; a file without the last one counts as cut short.
    return environment.get_template(template).render(**values).rstrip() + "\n"


def _plain(value: object) -> str:
    """Return a text as one line without Markdown syntax."""
    return one_line(value).translate(_SPECIAL)
