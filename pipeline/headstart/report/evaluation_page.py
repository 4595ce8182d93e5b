"""The page about finished models on labelled images: sections of the report, and two of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.assessment import Evaluation, ModelScores
from headstart.core.files import write_text
from headstart.report import page, sections, tables, thumbnails_sheet

CHANGES_SHOWN = 30  # of each direction
_NO_BINS: dict[str, list[Any]] = {"images": [], "confidence": [], "accuracy": []}

Picture = Callable[[str], NDArray[np.uint8] | None]


def write_page(evaluation: Evaluation, path: Path, picture: Picture = lambda path: None) -> None:
    """Write the page; ``picture`` returns the thumbnail of an image by its path, if there is one.

    Raises:
        OutputError: it cannot be written.
    """
    results = _as_results(evaluation)
    answers = [
        *(
            tables.Answer(e.path, e.true, e.predicted, e.probability or 0)
            for e in evaluation.errors
        ),
        *(
            tables.Answer(change.path, change.true, change.after, change.probability_after or 0)
            for change in (evaluation.paired.changes if evaluation.paired else [])
            if change.direction == "gain"
        ),
    ]
    pictures = {
        name: pixels
        for name in _shown(evaluation)[: thumbnails_sheet.LARGE]
        if (pixels := picture(name)) is not None
    }
    context = page.context(results, page.Companions(answers, pictures=pictures)) | {
        "subject": evaluation.models[0].title,
        "rest": "The other model",
        "models": evaluation.models,
        "paired": evaluation.paired,
        "baseline": evaluation.baseline,
        "groups": evaluation.group_answers,
        "gates": evaluation.gates,
        "remarks": evaluation.remarks,
        "skipped": evaluation.skipped,
        "scored": f"{evaluation.images:,} image{'' if evaluation.images == 1 else 's'}",
        "changes_shown": CHANGES_SHOWN,
    }
    write_text(
        path,
        page.render(results, context, "evaluation.html.j2", sections.OF_AN_EVALUATION),
    )


def _shown(evaluation: Evaluation) -> Sequence[str]:
    """Return the paths of the images in lists, in their order."""
    changes = evaluation.paired.changes if evaluation.paired else []
    by_direction = (
        [change.path for change in changes if change.direction == direction][:CHANGES_SHOWN]
        for direction in ("loss", "gain")
    )
    errors = [error.path for error in evaluation.errors[: tables.ERRORS_SHOWN]]
    return list(dict.fromkeys([*(path for paths in by_direction for path in paths), *errors]))


def _as_results(evaluation: Evaluation) -> dict[str, Any]:
    """Return what the report's sections read of ``results.json``; models stand for heads."""
    first, *others = evaluation.models
    same = [model for model in others if model.classes == first.classes]
    heads = [_as_head(model, number) for number, model in enumerate([first, *same])]
    return {
        "dataset": {
            "name": evaluation.data,
            "classes": first.classes,
            "images": {},
            "n_images": evaluation.images,
        },
        "protocol": {"n_test": evaluation.images, "scored_on": "test split", "n_leaked": 0},
        "extraction": {"digest": "", "document": {"backbone": {}}},
        "heads": heads,
        "baselines": [],
        "best": heads[0]["name"],
        "backbones": [],
        "insights": {"label_errors": {}, "learning_curve": None, "remarks": []},
        "warnings": [],
        "conclusion": "",
        "provenance": evaluation.provenance,
    }


def _as_head(model: ModelScores, number: int) -> Mapping[str, Any]:
    return {
        **vars(model),
        "name": f"model {number}",
        "label": model.title,
        "backbone": "",
        "params": {},
        "grid": [],
        "verdict": "" if number else "best",
        "test_accuracy": model.accuracy,
        "test_accuracy_ci": model.accuracy_ci,
        "reliability": model.reliability or _NO_BINS,
    }
