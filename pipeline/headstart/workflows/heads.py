"""Features become trained heads, compared on the same test images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core import choices, remarks
from headstart.core.errors import InputError, UsageError, one_line
from headstart.workflows import artifacts
from headstart.workflows.group_names import check_group_answer, groups_of
from headstart.workflows.locations import StrPath, local
from headstart.workflows.result import HeadsResult, Training

if TYPE_CHECKING:
    from headstart.core.hooks import Hooks
    from headstart.core.records import FeatureSet

_LOOKED_FOR = 20  # images, by which their folder is recognised


def head_names() -> list[str]:
    """Return the names of the heads that there are; `train_heads` trains them all by default."""
    from headstart.heads import default_heads

    return list(default_heads())


def train_heads(
    stores: StrPath | FeatureSet | Sequence[StrPath | FeatureSet],
    out: StrPath | None = None,
    *,
    heads: str | Sequence[str] = (),
    layers: str | Sequence[str] = (),
    folds: int = 5,
    repeats: int | None = None,
    validation: str = choices.VALIDATION[0],
    holdout: bool | None = None,
    groups: StrPath | Mapping[str, str] | None = None,
    group_answer: str = choices.GROUP_ANSWERS[0],
    class_weight: str | None = None,
    small_classes: str = choices.SMALL_CLASSES[0],
    per_label: bool = False,
    precision_at_least: float | None = None,
    recall_at_least: float | None = None,
    near_duplicates: bool = True,
    stream_above: int = choices.IN_MEMORY,
    map_method: str | None = None,
    head_formats: Sequence[str] = (),
    targets: str | Sequence[float] = (),
    costs: StrPath | None = None,
    ignore: str | Sequence[str] = (),
    seed: int = 0,
    workers: int | None = None,
    force: bool = False,
    hooks: Hooks | None = None,
) -> HeadsResult:
    """Train heads, choose the best by cross-validation, and score each on images new to it.

    With several stores, of the same images by different backbones, or one with several layers,
    every backbone or layer and every head are compared on the images that all stores have.

    Args:
        stores: feature stores: paths, URLs, or what `extract_features` and `FeatureStore` return.
        out: folder for results, tables, model, model card, report and plots; None writes nothing
            until `HeadsResult.save`. If it has the results of the same inputs, nothing is trained.
        heads: names, see `head_names`; empty means all.
        layers: the layers of stores with several; empty means all.
        folds: folds of the cross-validation, 2 or more.
        repeats: how often it is repeated with other folds; None means 1, more for few images.
        validation: ``predefined`` chooses heads on the data's own validation split.
        holdout: without a test split, whether to hold 20 % of the images out as one, or to fit on
            all and score out-of-fold answers; None holds out from 1,000 images on.
        groups: images that stay on one side of every split, such as those of a patient: a CSV of
            path and group, a pattern such as ``{group}/*`` for the end of a path, or a mapping. One
            answer for each group is scored, too.
        group_answer: how a group gets it, one of `core.choices.GROUP_ANSWERS`.
        class_weight: ``balanced`` lets every class count the same in training.
        small_classes: for a class with fewer training images than folds: ``reduce`` the folds,
            raise an ``error``, or ``drop`` the class.
        per_label: with several labels on one image, choose hyper-parameters for each by itself.
        precision_at_least: choose each label's threshold for this precision on out-of-fold scores,
            0 to 1; the default is the best F1.
        recall_at_least: the same for a recall.
        near_duplicates: look for photos that were saved again, and keep them in one fold.
        stream_above: bytes; larger features stay on disk and are read in blocks.
        map_method: how the report's map is made, one of `core.choices.MAPS`.
        head_formats: any of `core.choices.HEAD_FORMATS`, see `HeadsResult.save`.
        targets: shares of right answers that thresholds of the confidence are chosen for, such as
            ``95%,99%``; empty means 95, 98 and 99 %.
        costs: a CSV table of what errors cost, as for `headstart.predict`: the results say what the
            answers cost, and what deciding by expected cost saves.
        ignore: codes of remarks to leave out of the results, such as ``HS101``.
        seed: of folds, the held-out test and intervals, 0 or more.
        workers: threads; None means one per core.
        force: train again even if ``out`` has these results.
        hooks: receives notices; None shows them in a terminal or a notebook.

    Raises:
        InputError: the data or an argument cannot be used; the message says why.
        StoreError: a store is missing or damaged.
        OutputError: ``out`` cannot be written.
    """
    from headstart import report
    from headstart.evaluation.compare import CompareConfig, inputs_digest
    from headstart.evaluation.operating_points import TARGETS, parse_targets
    from headstart.report.validation import read_results

    check_group_answer(groups, group_answer)
    names = [heads] if isinstance(heads, str) else list(heads)
    config = CompareConfig(
        heads=tuple(filter(None, names)) or tuple(head_names()),
        folds=folds,
        seed=seed,
        repeats=repeats,
        validation=validation,
        holdout=holdout,
        small_classes=small_classes,
        per_label=per_label,
        precision_at_least=precision_at_least,
        recall_at_least=recall_at_least,
        near_duplicates=near_duplicates,
        ignore=remarks.parse(ignore),
        targets=parse_targets(targets) or TARGETS,
        class_weight=class_weight,
        group_answer=group_answer,
        workers=workers,
    )
    data, paths = _read(stores, layers, stream_above)
    named_groups = groups_of(groups, data[0].path)
    if costs is not None:
        config = dataclasses.replace(config, costs=_costs(Path(costs), data[0]))
    training = Training(data, config, named_groups, paths)
    if out is None:
        training.run(hooks)
        return HeadsResult(training, None, None)
    folder = Path(out)
    _refuse_images(folder, data[0])
    inputs = inputs_digest(data, config, named_groups)
    if not force and artifacts.is_complete(folder, inputs, head_formats):
        if map_method:
            report.write_report(folder, data, map_method)
        return HeadsResult(training, read_results(folder / artifacts.RESULTS), folder)
    result = HeadsResult(training, None, None)
    result.save(
        folder,
        map_method=map_method or choices.MAPS[0],
        head_formats=head_formats,
        hooks=hooks,
    )
    return result


def _costs(path: Path, data: FeatureSet) -> tuple[tuple[float, ...], ...]:
    """Read a table of costs for the classes of a store."""
    from headstart.core.costs import read

    if data.label_sets is not None:
        raise UsageError("costs are for one class an image; leave out --costs")
    return tuple(map(tuple, read(path, data.classes).matrix.tolist()))


def _refuse_images(folder: Path, data: FeatureSet) -> None:
    """Refuse to write results among the images that they are about."""
    first = [folder / path for path in data.path[:_LOOKED_FOR]]
    if any(map(os.path.isfile, first)):  # unlike Path.is_file, false for a name that is too long
        raise InputError(
            f"{one_line(folder)} holds the images; choose another folder for the results"
        )


def _read(
    stores: StrPath | FeatureSet | Sequence[StrPath | FeatureSet],
    layers: str | Sequence[str],
    stream_above: int,
) -> tuple[list[FeatureSet], list[str]]:
    """Return the features of every store, one set for each layer, and the paths read."""
    from headstart.core.records import FeatureSet
    from headstart.features import store

    if isinstance(stores, str | os.PathLike | FeatureSet):
        stores = [stores]
    names = [layers] if isinstance(layers, str) else list(layers)
    data: list[FeatureSet] = []
    paths: list[Path] = []
    for entry in stores:
        if isinstance(entry, FeatureSet):
            data.append(entry)
            continue
        path = local(entry)
        if path.resolve() in [other.resolve() for other in paths]:
            raise InputError(f"{one_line(path)} is repeated; name each store once")
        paths.append(path)
        data += store.read_layers(path, list(filter(None, names)), stream_above)
    return data, [str(path) for path in paths]
