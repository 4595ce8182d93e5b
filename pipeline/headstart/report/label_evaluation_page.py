"""The page about finished models for several labels on labelled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.files import write_text
from headstart.core.group_text import METHOD
from headstart.core.label_assessment import LabelEvaluation
from headstart.core.remark_kinds import KINDS
from headstart.report.multilabel import curves_of, data_uri, galleries, label_rows, stylesheet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHANGES_SHOWN = 30  # of each direction


def write_page(
    evaluation: LabelEvaluation,
    path: Path,
    picture: Callable[[str], NDArray[np.uint8] | None] = lambda path: None,
) -> None:
    """Write the page; ``picture`` returns the thumbnail of an image by its path, if there is one.

    Raises:
        OutputError: it cannot be written.
    """
    from headstart.report.page import environment

    best = vars(evaluation.models[0])
    labels = label_rows(evaluation.labels, best)
    changes = evaluation.paired.changes if evaluation.paired else []
    errors = [(e.label, e.path, e.present, e.probability) for e in evaluation.errors]
    page = (
        environment()
        .get_template("label_evaluation.html.j2")
        .render(
            vars(evaluation) | {"labels": labels},
            best=best,
            curves=curves_of(labels, best),
            galleries=galleries(errors, evaluation.labels, lambda name: data_uri(picture(name))),
            changed={
                direction: [
                    (change, data_uri(picture(change.path)))
                    for change in [c for c in changes if c.direction == direction][:CHANGES_SHOWN]
                ]
                for direction in ("loss", "gain")
            },
            style=stylesheet(),
            kinds=KINDS,
            methods=METHOD,
        )
    )
    write_text(path, page)
