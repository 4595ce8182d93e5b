"""The report on heads that give one class an image, as a part of its target type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core import artifacts
from headstart.core.records import FeatureSet
from headstart.core.results import Comparison
from headstart.report import tables
from headstart.report.plots import FIGURES
from headstart.report.schema import schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.report import Places

__all__ = ["FIGURES", "MAPPED", "SCHEMA", "defects", "listed_errors", "page_of", "schema"]

SCHEMA = Comparison.SCHEMA
MAPPED = True  # the page has a map of the images


def defects(results: Any) -> Iterator[str]:  # noqa: ANN401 - JSON that matches the schema
    """Yield what is wrong with a document that matches the schema."""
    k = len(results["dataset"]["classes"])
    for head in [*results["heads"], *results["baselines"]]:
        if not _is_square(head["confusion"], k):
            yield f"the confusion matrix of {head['name']} is not {k} by {k}"
        if len({len(column) for column in head["reliability"].values()}) != 1:
            yield f"the bins of the reliability of {head['name']} differ in number"


def page_of(
    results: Mapping[str, Any],
    folder: Path,
    stores: Sequence[FeatureSet],
    map_method: str,
    places: Places | None,
    maps: Mapping[tuple[str, str], NDArray[np.uint8]] | None = None,
) -> str:
    """Return the page for checked results and the files beside them; see `report.write_report`."""
    from headstart.report import page  # loads the templates' library

    digest = results["extraction"]["digest"]
    companions = page.Companions(
        tables.read_answers(folder / artifacts.PREDICTIONS),
        tables.read_suspects(folder / artifacts.LABEL_ISSUES),
        tables.read_duplicates(folder / artifacts.DUPLICATES),
        tables.read_history(folder / artifacts.HISTORY),
        next((store for store in stores if store.digest == digest), None),
        map_method,
        folder,
        places() if places else None,
        maps=maps or {},
    )
    return page.write(results, companions)


def listed_errors(results: Mapping[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Return the path and the predicted class of each error that the page lists."""
    answers = tables.read_answers(folder / artifacts.PREDICTIONS) or []
    return [(error.path, error.predicted) for error in tables.mistakes(answers)]


def _is_square(confusion: Any, k: int) -> bool:  # noqa: ANN401 - either form of a confusion matrix
    if isinstance(confusion, Mapping):
        codes = (code for cell in confusion["cells"] for code in cell[:2])
        return set(confusion["shape"]) == {k} and all(code < k for code in codes)
    return {len(confusion), *map(len, confusion)} == {k}
