"""The results of a comparison as one self-contained HTML page, and its figures as SVG files.

Every function raises `InputError` if a file is missing, damaged or of another program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from headstart.core import artifacts
from headstart.core.choices import MAPS
from headstart.core.files import write_text
from headstart.core.parallel import run_beside
from headstart.core.records import FeatureSet
from headstart.core.targets import SINGLE_LABEL
from headstart.report import tables, validation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "PLOTS",
    "Places",
    "begin_map",
    "plot_files",
    "render",
    "store_paths",
    "write_plots",
    "write_report",
]

Places: TypeAlias = "Callable[[], NDArray[np.float64] | None]"

PLOTS = "plots"


def render(results: dict[str, Any], predictions: list[dict[str, str]] | None = None) -> str:
    """Return the report as one HTML page that loads nothing else.

    ``results`` is the document of `Comparison.to_json`, of this schema or an earlier one.
    ``predictions`` are the best head's rows of ``predictions.csv``, with the keys ``path``,
    ``true``, ``predicted`` and ``p:<class>`` for each class; None leaves out the list of errors.
    """
    from headstart.report import page

    checked = validation.check(results, "the results")
    answers = None if predictions is None else tables.answers(predictions, "the predictions")
    return page.write(checked, page.Companions(answers))


def write_report(
    folder: str | PathLike[str],
    stores: Sequence[FeatureSet] = (),
    map_method: str = MAPS[0],
    places: Places | None = None,
    maps: Mapping[tuple[str, str], NDArray[np.uint8]] | None = None,
) -> Path:
    """Write ``report.html`` from ``results.json`` and the tables beside it, and return its path.

    The page appears whole or not at all; an older one stays until then. The store in ``stores``
    that the best head reads provides thumbnails and the map; without it the page says that they are
    missing. ``map_method`` is one of `headstart.core.choices.MAPS`; ``places`` returns the map of
    that store if `begin_map` began it. ``maps`` are pictures of where the model looks, by the path
    of an image and a class, which the lists of errors show.
    """
    folder = Path(folder)
    results = validation.read_results(folder / artifacts.RESULTS)
    part = validation.part_of(results.get("target", SINGLE_LABEL))
    path = folder / artifacts.REPORT
    write_text(path, part.page_of(results, folder, stores, map_method, places, maps))
    return path


def begin_map(data: FeatureSet, map_method: str = MAPS[0]) -> Places:
    """Draw the map of a store beside other work, and return a function that waits for it.

    It returns None if the page has no map.
    """
    from headstart.report import thumbnails_sheet

    if not validation.part_of(data.target).MAPPED:
        return lambda: None

    return run_beside(lambda: thumbnails_sheet.draw_map(data, map_method)).result


def store_paths(folder: str | PathLike[str]) -> list[Path]:
    """Return the feature stores that ``results.json`` names, if any."""
    provenance = validation.read_results(Path(folder) / artifacts.RESULTS)["provenance"]
    return [Path(path) for path in provenance.get("stores", ())]


def plot_files(target: str) -> tuple[str, ...]:
    """Return the names of the figures that `write_plots` writes."""
    return tuple(f"{PLOTS}/{name}.svg" for name in validation.part_of(target).FIGURES)


def write_plots(folder: str | PathLike[str]) -> list[Path]:
    """Write the figures of ``results.json`` as SVG files to ``plots`` and return their paths."""
    results = validation.read_results(Path(folder) / artifacts.RESULTS)
    target = results.get("target", SINGLE_LABEL)
    paths = [Path(folder) / name for name in plot_files(target)]
    for path, draw in zip(paths, validation.part_of(target).FIGURES.values(), strict=True):
        write_text(path, draw(results))
    return paths
