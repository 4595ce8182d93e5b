"""Writing the report of a comparison again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core import artifacts, targets
from headstart.core.choices import MAPS
from headstart.core.errors import StoreError, count, one_line
from headstart.workflows.locations import StrPath
from headstart.workflows.progress import showing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.core.hooks import Hooks
    from headstart.core.records import FeatureSet


def write_report(
    folder: StrPath,
    *,
    map_method: str = MAPS[0],
    explain: bool = False,
    hooks: Hooks | None = None,
) -> Path:
    """Write ``report.html`` from the results in a folder and the stores that they name.

    Args:
        folder: what `train_heads` or `finetune` wrote.
        map_method: how the map is made, one of `core.choices.MAPS`.
        explain: show where the model looks in the images of the errors, as far as their files
            are where they were and unchanged; it takes the time of classifying them, and a second.
        hooks: receives a notice for each store that cannot be read any more; the report then has
            neither its map nor its thumbnails.

    Returns:
        The page.

    Raises:
        InputError: the results are missing or damaged.
        OutputError: the page cannot be written.
        BackboneError: ``explain`` is set, and the model is missing or damaged.
    """
    from headstart import report
    from headstart.features import store

    data: list[FeatureSet] = []
    with showing("report", hooks) as shown:
        for path in report.store_paths(Path(folder)):
            try:
                data += store.read_layers(path)
            except StoreError as error:
                shown.notice(f"without the map and thumbnails of {one_line(path)}: {error}")
        maps = _maps(Path(folder), data, shown) if explain else {}
    return report.write_report(Path(folder), data, map_method, maps=maps)


def _maps(folder: Path, stores: Sequence[FeatureSet], hooks: Hooks) -> dict[str, NDArray[np.uint8]]:
    """Return where the model looks in the errors that the report lists, by path."""
    from headstart.datasets.images.thumbnails import unchanged
    from headstart.models.explain import Explainer, stage
    from headstart.report import tables
    from headstart.report.validation import read_results
    from headstart.workflows.models import load_model

    results = read_results(folder / artifacts.RESULTS)
    targets.refuse(
        results.get("target", targets.SINGLE_LABEL),
        "report --explain",
        "explain images with: headstart predict --explain DIR",
    )
    digest = results["extraction"]["digest"]
    data = next((store for store in stores if store.digest == digest), None)
    errors = tables.mistakes(tables.read_answers(folder / artifacts.PREDICTIONS) or [])
    files = {} if data is None else unchanged([error.path for error in errors], data)
    if len(files) < len(errors):
        hooks.notice(
            f"{len(errors) - len(files):,} of {count(len(errors), 'error')} have no map: their"
            " images are not where they were embedded from, or have changed"
        )
    if not files:
        return {}
    model = load_model(folder)
    explainer = Explainer(model, model.path)
    maps: dict[str, NDArray[np.uint8]] = {}
    for error in errors:
        if error.path in files and error.predicted in model.classes:
            code = model.classes.index(error.predicted)
            maps[error.path] = stage.picture(explainer, files[error.path], code)
    return maps
