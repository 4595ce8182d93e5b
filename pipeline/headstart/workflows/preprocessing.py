"""``--preprocess auto``: a preset chosen by trying, in place of one that the user names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.choices import AUTO, PERCENTILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from headstart.core.records import Choice
    from headstart.datasets import Options
    from headstart.workflows.locations import StrPath


def prepared(
    choice: Choice,
    data: StrPath,
    reading: Options,
    workers: int | None,
    notice: Callable[[str], None],
    store: Path | None = None,
) -> Choice:
    """Return a choice with a preprocessing in place of `AUTO`: a store's own, or else the best.

    Other choices, and networks whose preprocessing is known, are returned as they are.
    """
    if choice.preprocess != AUTO or "onnx:" not in choice.name:
        return choice
    from headstart import datasets
    from headstart.backbones.onnx_import import recipe
    from headstart.core.records import Backbone
    from headstart.evaluation import preprocess_choice
    from headstart.features.embed.set_range import measured_range
    from headstart.features.store import stored_extraction

    document = stored_extraction(store) if store is not None else None
    stored = Backbone.from_json(document["backbone"]) if document else None
    if stored is not None and not stored.networks:
        notice(f"--preprocess {AUTO}: the store goes on with its own preprocessing")
        return dataclasses.replace(choice, preprocess=recipe.of(stored))
    listing = datasets.open_source(os.fspath(data), reading)
    trial = choice
    if choice.value_range == PERCENTILE:
        trial = dataclasses.replace(choice, value_range=measured_range(listing))
    chosen = preprocess_choice.choose(listing, trial, workers, notice)
    return dataclasses.replace(choice, preprocess=chosen.preprocess)
