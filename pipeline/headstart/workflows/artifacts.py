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

from headstart.core import targets
from headstart.core.artifacts import CARD, EXAMPLE, MODEL, REPORT, RESULTS
from headstart.core.errors import HeadstartError
from headstart.core.targets import SINGLE_LABEL

if TYPE_CHECKING:
    from headstart.core.records import FeatureSet
    from headstart.report import Places

__all__ = ["COMMAND", "COMPANIONS", "MODEL", "REPORT", "RESULTS", "files", "is_complete"]

COMMAND: ContextVar[str] = ContextVar("COMMAND", default="import headstart")  # for provenance

_ENDS = {".html": b"</html>", ".svg": b"</svg>\n", ".csv": b"\n", ".md": b"\n", ".py": b"\n"}

COMPANIONS = (CARD, EXAMPLE)


def files(target: str) -> tuple[str, ...]:
    """Return the names of the files of a comparison of this target, but for the plots."""
    from headstart.evaluation import compare

    return (RESULTS, *compare.tables(target), MODEL, REPORT, *COMPANIONS)


def is_complete(folder: Path, inputs: str, head_formats: Sequence[str]) -> bool:
    """Return whether a folder has every file that these inputs lead to, none of them cut short."""
    from headstart.models import seal
    from headstart.report import plot_files

    saved = [f"head.{kind}" for kind in head_formats]
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        target = results.get("target", SINGLE_LABEL)
        expected = (*files(target), *plot_files(target), *saved)
        if not all(_is_whole(folder / name) for name in expected):
            return False
        seal.check(folder / MODEL)
        return bool(results["provenance"]["inputs"] == inputs)
    except (HeadstartError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_whole(path: Path) -> bool:
    """Return whether a file exists and ends as files of its kind do."""
    end = _ENDS.get(path.suffix, b"")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(end)))
        return size > 0 and file.read().endswith(end)


def stamped(comparison: Any, stores: Sequence[str]) -> Any:  # noqa: ANN401 - of any target
    """Return a comparison with the time, the command and the stores in its provenance."""
    facts = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": COMMAND.get(),
        "stores": [str(Path(path).resolve()) for path in stores],
    }
    return dataclasses.replace(comparison, provenance=comparison.provenance | facts)


def write_comparison(
    folder: Path,
    comparison: Any,  # noqa: ANN401
    outcome: Any,  # noqa: ANN401
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


def write_model(folder: Path, comparison: Any, outcome: Any) -> str:  # noqa: ANN401
    """Write the best head as ``model.onnx``, with companions; return how it agrees, in a line."""
    from headstart.backbones import export
    from headstart.core.records import Backbone
    from headstart.core.rows import take
    from headstart.models import bundle

    head, best, rows = comparison.heads[0], outcome.best, outcome.protocol
    data = best.data
    summary: dict[str, Any] = {
        "dataset": comparison.dataset["name"],
        "head": {"name": head.name, "params": head.params},
        **targets.by_name(comparison.TARGET).part("training").scores_of(comparison),
        "images": {"train": len(rows.train), "test": 0 if rows.out_of_fold else len(rows.test)},
        "scored_on": comparison.protocol["scored_on"],
        "inputs": comparison.provenance["inputs"],
    }
    own = targets.by_name(comparison.TARGET).part("training")
    trained = own.trained(outcome, summary | own.rules_of(comparison, best))
    described = data.extraction["backbone"]
    agreement = bundle.bundle(
        Backbone.from_json(described)
        if data.is_imported
        else export.locate(described, data.model, data.weights),
        trained,
        take(data.features, rows.test),
        folder / MODEL,
    )
    bundle.write_companions(folder, comparison)
    return f"{MODEL}: {agreement}"
