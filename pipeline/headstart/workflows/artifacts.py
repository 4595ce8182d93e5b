"""The files that a comparison leaves in its folder."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core.artifacts import (
    CARD,
    DUPLICATES,
    EXAMPLE,
    LABEL_ISSUES,
    MODEL,
    PREDICTIONS,
    REPORT,
    RESULTS,
    SESSIONS,
)
from headstart.core.errors import HeadstartError

if TYPE_CHECKING:
    from headstart.core.records import FeatureSet
    from headstart.core.results import Comparison, HeadResult
    from headstart.evaluation.compare import Outcome
    from headstart.report import Places

__all__ = [
    "COMMAND", "COMPANIONS", "FILES", "MODEL", "REPORT", "RESULTS", "TABLES", "is_complete",
]  # fmt: skip

COMMAND: ContextVar[str] = ContextVar("COMMAND", default="import headstart")  # for provenance

_ENDS = {".html": b"</html>", ".svg": b"</svg>\n", ".csv": b"\n", ".md": b"\n", ".py": b"\n"}

TABLES = (PREDICTIONS, LABEL_ISSUES, DUPLICATES, SESSIONS)
COMPANIONS = (CARD, EXAMPLE)
FILES = (RESULTS, *TABLES, MODEL, REPORT, *COMPANIONS)


def is_complete(folder: Path, inputs: str, head_formats: Sequence[str]) -> bool:
    """Return whether a folder has every file that these inputs lead to, none of them cut short."""
    from headstart.models import seal
    from headstart.report import PLOT_FILES

    saved = [f"head.{kind}" for kind in head_formats]
    try:
        if not all(_is_whole(folder / name) for name in (*FILES, *PLOT_FILES, *saved)):
            return False
        seal.check(folder / MODEL)
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return bool(results["provenance"]["inputs"] == inputs)
    except (HeadstartError, OSError, ValueError, KeyError, TypeError):
        return False


def _is_whole(path: Path) -> bool:
    """Return whether a file exists and ends as files of its kind do."""
    end = _ENDS.get(path.suffix, b"")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(end)))
        return size > 0 and file.read().endswith(end)


def stamped(comparison: Comparison, stores: Sequence[str]) -> Comparison:
    """Return a comparison with the time, the command and the stores in its provenance."""
    facts = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": COMMAND.get(),
        "stores": [str(Path(path).resolve()) for path in stores],
    }
    return dataclasses.replace(comparison, provenance=comparison.provenance | facts)


def write_comparison(
    folder: Path,
    comparison: Comparison,
    outcome: Outcome,
    data: Sequence[FeatureSet],
    map_method: str,
    places: Places | None = None,
) -> None:
    """Write results, tables, report and plots; the results first, so that a failure keeps them."""
    from headstart import report
    from headstart.evaluation import compare

    compare.write_results(folder, comparison, outcome)
    report.write_report(folder, data, map_method, places)
    report.write_plots(folder)


def tested(comparison: Comparison, head: HeadResult) -> dict[str, Any]:
    """Return the test accuracy that a model file states; none if no test image is independent."""
    if comparison.protocol["n_leaked"] == comparison.protocol["n_test"]:
        return {}
    return {"test_accuracy": head.test_accuracy, "test_accuracy_ci": head.test_accuracy_ci}


def write_model(folder: Path, comparison: Comparison, outcome: Outcome) -> str:
    """Write the best head as ``model.onnx``, with companions; return how it agrees, in a line."""
    from headstart.backbones import export
    from headstart.core.rows import take
    from headstart.models import bundle, novelty

    head, best, rows = comparison.heads[0], outcome.best, outcome.protocol
    data, train = best.data, rows.train
    summary: dict[str, Any] = {
        "dataset": comparison.dataset["name"],
        "head": {"name": head.name, "params": head.params},
        **tested(comparison, head),
        "images": {"train": len(train), "test": 0 if rows.out_of_fold else len(rows.test)},
        "scored_on": comparison.protocol["scored_on"],
        "inputs": comparison.provenance["inputs"],
    }
    operating = comparison.insights.operating_points
    if operating is not None:
        summary["operating_points"] = [
            {"target": point.target, "threshold": point.threshold, "share": point.share}
            for point in operating.points
            if point.reached
        ]
    sets = comparison.insights.prediction_sets
    if sets is not None:
        summary["prediction_sets"] = {
            "level": sets.level,
            "mass": sets.mass,
            "least": [sets.least[code] for code in best.head.estimator.classes_],
        }
    reference = novelty.learn(
        take(data.features, train),
        data.label[train],
        rows.group[train],
        out_of_fold=best.head.out_of_fold,
    )
    agreement = bundle.bundle(
        export.locate(data.extraction["backbone"], data.model, data.weights),
        bundle.TrainedHead(
            best.head.estimator,
            data.classes,
            summary,
            reference,
            head.name,
            data.sha256[train],
        ),
        take(data.features, rows.test),
        folder / MODEL,
    )
    bundle.write_companions(folder, comparison)
    return f"{MODEL}: {agreement}"
