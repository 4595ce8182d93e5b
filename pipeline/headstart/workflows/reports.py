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


def _maps(
    folder: Path, stores: Sequence[FeatureSet], hooks: Hooks
) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Return where the model looks in the errors that the report lists, by path and class."""
    from headstart.datasets.images.thumbnails import unchanged
    from headstart.models.explain import Explainer, stage
    from headstart.report.validation import part_of, read_results
    from headstart.workflows.models import load_model

    results = read_results(folder / artifacts.RESULTS)
    digest = results["extraction"]["digest"]
    data = next((store for store in stores if store.digest == digest), None)
    part = part_of(results.get("target", targets.SINGLE_LABEL))
    errors: dict[str, list[str]] = {}
    for path, name in part.listed_errors(results, folder):
        errors.setdefault(path, []).append(name)
    files = {} if data is None else unchanged(errors, data)
    if len(files) < len(errors):
        hooks.notice(
            f"{len(errors) - len(files):,} of {count(len(errors), 'image')} with errors have no"
            " map: they are not where they were embedded from, or have changed"
        )
    if not files:
        return {}
    model = load_model(folder)
    explainer = Explainer(model, model.path)
    maps: dict[tuple[str, str], NDArray[np.uint8]] = {}
    for path, content in files.items():
        names = [name for name in errors[path] if name in model.classes]
        drawn = stage.pictures(explainer, content, [model.classes.index(name) for name in names])
        maps |= {(path, name): picture for name, picture in zip(names, drawn, strict=True)}
    return maps
