"""Writing the report of a comparison again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.choices import MAPS
from headstart.core.errors import StoreError, one_line
from headstart.workflows.locations import StrPath
from headstart.workflows.progress import showing

if TYPE_CHECKING:
    from headstart.core.hooks import Hooks
    from headstart.core.records import FeatureSet


def write_report(folder: StrPath, *, map_method: str = MAPS[0], hooks: Hooks | None = None) -> Path:
    """Write ``report.html`` from the results in a folder and the stores that they name.

    Args:
        folder: what `train_heads` or `finetune` wrote.
        map_method: how the map is made, one of `core.choices.MAPS`.
        hooks: receives a notice for each store that cannot be read any more; the report then has
            neither its map nor its thumbnails.

    Returns:
        The page.

    Raises:
        InputError: the results are missing or damaged.
        OutputError: the page cannot be written.
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
    return report.write_report(Path(folder), data, map_method)
