"""The comparison that a target type asks for: see `headstart.core.targets`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.core import targets
from headstart.core.records import FeatureSet
from headstart.evaluation.compare.alignment import leading
from headstart.evaluation.compare.config import CompareConfig
from headstart.evaluation.compare.network import TunedNetwork


def compare(
    stores: Sequence[FeatureSet],
    config: CompareConfig,
    named_groups: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
    step: Callable[[str], None] = lambda name: None,
    chosen: Callable[[str], None] = lambda digest: None,
) -> tuple[Any, Any]:
    """Tune every head by cross-validation on the training images and score it once on the test.

    `headstart.evaluation.compare.stage.compare` says what the arguments mean. The record of the
    comparison and its outcome are those of the stores' target.

    Raises:
        InputError: the data or the configuration cannot be used.
    """
    own = _of(stores[leading(stores)].target)
    own.check_settings(config)
    compared: tuple[Any, Any] = own.compare(stores, config, named_groups, progress, step, chosen)
    return compared


def count_steps(stores: Sequence[FeatureSet], config: CompareConfig) -> int:
    """Return how many steps `compare` has."""
    return int(_of(stores[leading(stores)].target).count_steps(stores, config))


def compare_tuned(
    frozen: FeatureSet,
    tuned: FeatureSet,
    network: TunedNetwork,
    config: CompareConfig,
    progress: Callable[[str], None] | None = None,
    named_groups: Mapping[str, str] | None = None,
) -> tuple[Any, Any]:
    """Compare heads on frozen features with a network that was trained on the same images.

    `headstart.evaluation.compare.finetuned.compare_tuned` says what the arguments mean.
    """
    own = _of(frozen.target)
    compared: tuple[Any, Any] = own.compare_tuned(
        frozen, tuned, network, config, progress, named_groups
    )
    return compared


def write_results(folder: Path, comparison: Any, outcome: Any) -> tuple[Path, Path]:  # noqa: ANN401
    """Write ``results.json`` and the tables beside it; return the paths of the first two."""
    paths: tuple[Path, Path] = _of(comparison.TARGET).write_results(folder, comparison, outcome)
    return paths


def tables(target: str) -> tuple[str, ...]:
    """Return the names of the tables that `write_results` writes."""
    names: tuple[str, ...] = _of(target).TABLES
    return names


def _of(target: str) -> Any:  # noqa: ANN401 - a module
    return targets.by_name(target).part("comparison")
