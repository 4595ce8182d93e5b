"""Finished models, or their predictions, scored on labelled images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from headstart.core import choices, remarks, targets
from headstart.core.errors import InputError, UsageError, count, one_line
from headstart.workflows.artifacts import COMMAND
from headstart.workflows.locations import StrPath, output_file
from headstart.workflows.models import load_model
from headstart.workflows.progress import showing
from headstart.workflows.reading import source_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.core.assessment import Evaluation
    from headstart.core.hooks import Hooks
    from headstart.core.label_assessment import LabelEvaluation
    from headstart.datasets import Options, SourceImage
    from headstart.evaluation.answers import Answers, LabelAnswers
    from headstart.evaluation.prediction_files import Predictions
    from headstart.models.predict import Model


def evaluate(
    model: Model | StrPath,
    data: StrPath | None = None,
    *,
    against: Model | StrPath | None = None,
    split: str = choices.SCORED[0],
    groups: StrPath | Mapping[str, str] | None = None,
    fail_below: str | Sequence[str] = (),
    fail_worse: bool = False,
    report: StrPath | None = None,
    costs: StrPath | None = None,
    max_failures: float = choices.MAX_FAILURES,
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    workers: int | None = None,
    device: str = "cpu",
    ignore: str | Sequence[str] = (),
    seed: int = 0,
    hooks: Hooks | None = None,
) -> Evaluation | LabelEvaluation:
    """Score a finished model on labelled images, and compare it with another one.

    A model for several labels on one image takes images with several labels.

    Args:
        model: a model file, what `load_model` returns, a folder of results, or predictions
            (``.csv``, ``.jsonl``) that `predict` or `train_heads` wrote.
        data: labelled images, as for `extract_features`; None takes the true labels from the
            predictions, in their column ``true`` or ``label_column``.
        against: the model in use, in any of the forms of ``model``.
        split: ``auto`` takes the images of the split named test if there is one, else all.
        groups: images that belong together, which widens intervals: a CSV of path and group, or a
            mapping.
        fail_below: conditions ``METRIC=VALUE``: the lower end of the interval of the score must be
            at least the value. A metric is ``accuracy``, ``balanced_accuracy``, ``macro_f1``,
            ``roc_auc``, ``recall:CLASS`` or ``precision:CLASS``; of several labels it is ``map``,
            ``macro_auc``, ``macro_f1``, ``micro_f1``, ``subset_accuracy``, or with ``:LABEL``
            ``ap``, ``auc``, ``f1``, ``recall`` or ``precision``.
        fail_worse: whether ``model`` must not be worse than ``against`` by more than chance: in
            accuracy, or of several labels in mean average precision.
        report: an HTML page to write.
        costs: a CSV table of costs, as for `predict`: what the answers cost, and what deciding by
            expected cost saves.
        max_failures: largest allowed share of images that cannot be used.
        label_column: as for `extract_features`, like ``path_column``.
        path_column: the column with the images' paths.
        label_columns: 0/1 columns, one a label, as for `extract_features`.
        target: one of `core.choices.TARGETS`; empty takes that of the model.
        workers: threads; None means one per core.
        device: one of `core.choices.DEVICES`.
        ignore: codes of remarks to leave out, such as ``HS506``.
        seed: of intervals, 0 or more.
        hooks: receives notices and progress.

    Returns:
        The scores; ``passed`` says whether all conditions are met, ``to_json`` gives the document.

    Raises:
        UsageError: a condition cannot be read, or arguments contradict each other.
        InputError: the images, labels or predictions cannot be used.
        BackboneError: a model cannot be used.
    """
    from headstart import __version__
    from headstart.evaluation import gates
    from headstart.evaluation.groups import by_name
    from headstart.workflows.heads import read_groups

    ignored = remarks.parse(ignore)
    minima = [gates.parse(text) for text in _texts(fail_below)]
    if fail_worse and against is None:
        raise UsageError("--fail-worse needs --against, the model to compare with")
    page = None if report is None else output_file(report)
    reading = source_options(label_column, path_column, label_columns, target)
    with showing("evaluate", hooks) as shown:
        contenders = [
            _opened(each, device, label_column if data is None else "")
            for each in ([model] if against is None else [model, against])
        ]
        images = _images(data, contenders[0], split, reading)
        part = targets.by_name(images.target).part("assessment")
        for contender in contenders:
            contender.check_target(images)
        gates.check(minima, images.target, contenders[0].classes, contenders[0].title)
        answers = [_answers(each, images, workers, max_failures, shown) for each in contenders]
    paths = [names[0] for names in images.names]
    partition = None
    if groups is not None:
        partition = by_name(paths, read_groups(groups))
    table = None if costs is None else Path(costs)
    evaluation = part.assess(images.title, paths, images.labels, answers, partition, seed, table)
    facts = {
        "headstart": __version__,
        "command": COMMAND.get(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    evaluation = dataclasses.replace(
        evaluation,
        remarks=remarks.without(evaluation.remarks, ignored),
        gates=gates.judge(evaluation, minima, fail_worse),
        provenance=facts,
    )
    if page is not None:
        writer = targets.by_name(images.target).part("assessment page")
        writer.write_page(evaluation, page, images.picture)
    return cast("Evaluation | LabelEvaluation", evaluation)


def _texts(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


@dataclass(frozen=True)
class _Images:
    """Labelled images, and the names that predictions may have for each, its own first.

    ``sources`` are None where the labels are those of predictions. ``labels`` are what the
    ``target``'s assessment calls the truths.
    """

    title: str
    names: Sequence[tuple[str, ...]]
    labels: Any
    sources: list[SourceImage] | None
    target: str = targets.SINGLE_LABEL

    def picture(self, path: str) -> NDArray[np.uint8] | None:
        """Return the thumbnail of an image, by its own name; None if there is none."""
        from headstart import datasets
        from headstart.core.errors import ImageError
        from headstart.datasets.images.thumbnails import of_bytes
        from headstart.report.thumbnails_sheet import SIDE

        if self.sources is None:
            return None
        row = next(row for row, names in enumerate(self.names) if names[0] == path)
        try:
            return of_bytes(datasets.read(*self.sources[row])[0], SIDE)
        except ImageError:
            return None


@dataclass(frozen=True)
class _Contender:
    """A model, or predictions in a file, that is to be scored."""

    title: str
    model: Model | None
    table: Predictions | None

    @property
    def target(self) -> str:
        if self.model is not None:
            return self.model.target
        assert self.table is not None
        return self.table.answers.TARGET

    @property
    def classes(self) -> Sequence[str]:
        if self.model is not None:
            return self.model.classes
        assert self.table is not None
        return self.table.answers.classes

    def check_target(self, images: _Images) -> None:
        """Raise an `InputError` if the images have labels of another kind than the answers."""
        if self.target != images.target:
            mine, theirs = (targets.by_name(name).answers for name in (self.target, images.target))
            raise InputError(
                f"{self.title} returns {mine} an image, but {images.title} has {theirs}; give "
                f"images and models of one kind, or add --target {self.target} if the labels can be"
                " read so"
            )


def _opened(model: Model | StrPath, device: str, label_column: str) -> _Contender:
    from headstart.evaluation import prediction_files

    if not isinstance(model, str | os.PathLike):
        return _Contender("the model", model, None)
    path, title = Path(model), one_line(model)
    if path.suffix.lower() in prediction_files.SUFFIXES:
        return _Contender(title, None, prediction_files.read(path, label_column))
    return _Contender(title, load_model(model, device=device), None)


def _images(data: StrPath | None, model: _Contender, split: str, reading: Options) -> _Images:
    from headstart import datasets
    from headstart.backbones.inference.extract import images_of

    if data is None:
        if model.table is None:
            raise UsageError(f"name the labelled images to evaluate {model.title} on")
        return _predicted_images(model)
    several = model.target if model.target != targets.SINGLE_LABEL else ""
    options = dataclasses.replace(reading, target=reading.target or several)
    listing = datasets.open_source(data, options)
    if not listing.classes:
        raise InputError(
            f"no image in {one_line(data)} has a label"
            f"{': ' + listing.hint if listing.hint else ''}; give labelled images, for instance a"
            " folder with one folder per class or a CSV with path,label"
        )
    tested = any(ref.split == "test" for ref in listing.images)
    chosen = ("test" if tested else "all") if split == choices.SCORED[0] else split
    refs = [ref for ref in listing.images if chosen in ("all", ref.split)]
    if not refs:
        raise InputError(f"{one_line(data)} has no image in the split {chosen}")
    sources = images_of(listing, refs)
    name = one_line(data) + ("" if chosen == "all" else f" (split {chosen})")
    names = [(ref.path, source.path) for ref, source in zip(refs, sources, strict=True)]
    truths = targets.by_name(listing.target).part("assessment").truths(listing, refs)
    return _Images(name, names, truths, sources, listing.target)


def _predicted_images(model: _Contender) -> _Images:
    """Return the images of a table of predictions, with the labels in its columns."""
    assert model.table is not None
    table = model.table
    if table.true is None:
        raise InputError(
            f"{model.title} has no column of true labels; name it with --label-column, or name"
            " the labelled images"
        )
    return _Images(model.title, [(name,) for name in table.paths], table.true, None, model.target)


def _answers(
    contender: _Contender,
    images: _Images,
    workers: int | None,
    max_failures: float,
    hooks: Hooks,
) -> Answers | LabelAnswers:
    """Return the answers of a model file, or those in a table, for the images."""
    if contender.table is not None:
        return contender.table.matched(images.names, images.title)
    if images.sources is None:
        raise UsageError(f"name the labelled images to evaluate {contender.title} on")
    assert contender.model is not None
    return _predicted(contender.title, contender.model, images, workers, max_failures, hooks)


def _predicted(
    title: str,
    model: Model,
    images: _Images,
    workers: int | None,
    max_failures: float,
    hooks: Hooks,
) -> Answers | LabelAnswers:
    from headstart.models.predict import predict_images

    assert images.sources is not None
    if model.backbone.warning:
        hooks.notice(f"WARNING: {one_line(model.backbone.warning)}")
    predictions, total = [], len(images.sources)
    for prediction in predict_images(model, images.sources, workers, check_training=True):
        predictions.append(prediction)
        hooks.progress(len(predictions), total)
    errors = [f"{one_line(each.path)}: {each.error}" for each in predictions if each.error]
    if errors:
        line = f"{len(errors):,} of {count(total, 'image')} could not be used"
        if len(errors) > max_failures * total:
            raise InputError(
                f"{line}, more than --max-failures {max_failures:g} allows; the first is"
                f" {errors[0]}"
            )
        hooks.notice(line)
    part = targets.by_name(model.target).part("assessment")
    return cast("Answers | LabelAnswers", part.answers(title, model, predictions))
