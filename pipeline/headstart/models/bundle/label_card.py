"""The model card of a model for several labels on one image; see `model_card`."""

from __future__ import annotations

from headstart.core.artifacts import EXAMPLE
from headstart.core.choices import TUNED
from headstart.core.label_results import LabelComparison
from headstart.models.bundle.model_card import CLASSES_SHOWN, render


def card(comparison: LabelComparison) -> str:
    """Return a comparison's best head as a model card, in Markdown."""
    head, names = comparison.heads[0], comparison.dataset["classes"]
    table = head.per_label
    columns = ("ap", "ap_ci", "precision", "recall", "f1", "threshold", "support")
    labels = [
        {"name": name, **{column: table[column][code] for column in columns}}
        for code, name in enumerate(names)
    ]
    return render(
        "label_card.md.j2",
        data=comparison.dataset,
        protocol=comparison.protocol,
        backbone=comparison.extraction["document"]["backbone"],
        head=head,
        tuned=head.name == TUNED,
        params=", ".join(
            f"{key} by label" if isinstance(value, list) else f"{key} = {value}"
            for key, value in head.params.items()
        ),
        created=comparison.provenance.get("created", ""),
        labels=labels[:CLASSES_SHOWN],
        n_labels=len(names),
        baselines=comparison.baselines,
        warnings=comparison.warnings,
        example=EXAMPLE,
    )
