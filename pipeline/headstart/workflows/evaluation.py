"""Finished models, or their predictions, scored on labelled images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core import choices, remarks, targets
from headstart.core.errors import InputError, UsageError, count, one_line
from headstart.core.targets import MULTI_LABEL
from headstart.workflows.artifacts import COMMAND
from headstart.workflows.locations import StrPath, output_file
from headstart.workflows.models import load_model
from headstart.workflows.progress import showing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.core.assessment import Evaluation
    from headstart.core.hooks import Hooks
    from headstart.datasets import SourceImage
    from headstart.evaluation.answers import Answers
    from headstart.models.predict import Model

_OF_LABELS = "train-heads has the scores of a multi-label model in its results"


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
    workers: int | None = None,
    device: str = "cpu",
    ignore: str | Sequence[str] = (),
    seed: int = 0,
    hooks: Hooks | None = None,
) -> Evaluation:
    """Score a finished model on labelled images, and compare it with another one.

    Args:
        model: a model file, what `load_model` returns, a folder of results, or predictions
            (``.csv``, ``.jsonl``) that `predict` or `train_heads` wrote.
        data: labelled images, as for `extract_features`; for a model of imported features, a file
            of features with labels or a store of them; None takes the true labels from the
            predictions, in their column ``true`` or ``label_column``.
        against: the model in use, in any of the forms of ``model``.
        split: ``auto`` takes the images of the split named test if there is one, else all.
        groups: images that belong together, which widens intervals: a CSV of path and group, or a
            mapping.
        fail_below: conditions ``METRIC=VALUE``: the lower end of the interval of the score must be
            at least the value. A metric is ``accuracy``, ``balanced_accuracy``, ``macro_f1``,
            ``roc_auc``, ``recall:CLASS`` or ``precision:CLASS``.
        fail_worse: whether ``model`` must not be worse than ``against`` by more than chance.
        report: an HTML page to write.
        costs: a CSV table of costs, as for `predict`: what the answers cost, and what deciding by
            expected cost saves.
        max_failures: largest allowed share of images that cannot be used.
        label_column: as for `extract_features`, like ``path_column``.
        path_column: the column with the images' paths.
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
    from headstart.evaluation.assess import assess
    from headstart.evaluation.groups import by_name
    from headstart.workflows.heads import read_groups

    ignored = remarks.parse(ignore)
    minima = [gates.parse(text) for text in _texts(fail_below)]
    if fail_worse and against is None:
        raise UsageError("--fail-worse needs --against, the model to compare with")
    page = None if report is None else output_file(report)
    with showing("evaluate", hooks) as shown:
        compared = [model] if against is None else [model, against]
        if data is not None and any(map(_takes_features, compared)):
            images = _rows(data, split, label_column, path_column)
        else:
            images = _images(data, model, split, label_column, path_column)
        answers = [
            _answers(name, images, device, workers, max_failures, shown) for name in compared
        ]
    paths = [names[0] for names in images.names]
    partition = None
    if groups is not None:
        partition = by_name(paths, read_groups(groups))
    table = None if costs is None else Path(costs)
    evaluation = assess(images.title, paths, images.labels, answers, partition, seed, table)
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
        from headstart.report.evaluation_page import write_page

        write_page(evaluation, page, images.picture)
    return evaluation


def _texts(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


@dataclass(frozen=True)
class _Images:
    """Labelled images, and the names that predictions may have for each, its own first.

    ``sources`` are None where the labels are those of predictions, or of rows of ``features``.
    """

    title: str
    names: Sequence[tuple[str, ...]]
    labels: list[str | None]
    sources: list[SourceImage] | None
    features: NDArray[np.float32] | None = None

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


def _images(
    data: StrPath | None, model: Model | StrPath, split: str, label_column: str, path_column: str
) -> _Images:
    from headstart import datasets
    from headstart.backbones.inference.extract import images_of

    if data is None:
        table = _predictions_file(model)
        if table is None:
            raise UsageError(f"name the labelled images to evaluate {_title(model)} on")
        return _predicted_images(table, label_column)
    options = datasets.Options(label_column=label_column, path_column=path_column)
    listing = datasets.open_source(data, options)
    targets.refuse(listing.target, "evaluate", "give images with one class each")
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
    return _Images(name, names, [ref.label for ref in refs], sources)


def _takes_features(name: Model | StrPath) -> bool:
    """Return whether this is a model of features that another program computed."""
    from headstart.backbones.inference.description import describe
    from headstart.workflows.models import model_file

    if not isinstance(name, str | os.PathLike):
        return name.takes_features
    return _predictions_file(name) is None and describe(model_file(name)).is_imported


def _rows(data: StrPath, split: str, label_column: str, path_column: str) -> _Images:
    """Return the labelled rows of a file of features, or of a store of imported ones."""
    from headstart.workflows.models import feature_rows

    rows = feature_rows([data], path_column, label_column, labels=True)
    if not any(image.is_labelled for image in rows.images):
        raise InputError(
            f"no row of {one_line(data)} has a label; import it with its labels first, and evaluate"
            " the store: headstart import-features FILE --labels LABELS.csv --out STORE.h5"
        )
    if rows.images[0].labels is not None or rows.flags:
        targets.refuse(MULTI_LABEL, "evaluate", "give rows with one class each")
    tested = any(image.split == "test" for image in rows.images)
    chosen = ("test" if tested else "all") if split == choices.SCORED[0] else split
    kept = [n for n, image in enumerate(rows.images) if chosen in ("all", image.split)]
    if not kept:
        raise InputError(f"{one_line(data)} has no row in the split {chosen}")
    images = [rows.images[row] for row in kept]
    name = one_line(data) + ("" if chosen == "all" else f" (split {chosen})")
    labels = [image.label for image in images]
    return _Images(name, [(i.path,) for i in images], labels, None, rows.features[kept])


def _predicted_images(path: Path, label_column: str) -> _Images:
    """Return the images of a table of predictions, with the labels in one of its columns."""
    from headstart.evaluation import prediction_files

    table = prediction_files.read(path, label_column)
    if table.true is None:
        raise InputError(
            f"{one_line(path)} has no column of true labels; name it with --label-column, or name"
            " the labelled images"
        )
    return _Images(one_line(path), [(name,) for name in table.paths], table.true, None)


def _predictions_file(model: Model | StrPath) -> Path | None:
    """Return the path of a table of predictions; None for a model."""
    from headstart.evaluation.prediction_files import SUFFIXES

    path = Path(model) if isinstance(model, str | os.PathLike) else None
    return path if path is not None and path.suffix.lower() in SUFFIXES else None


def _title(model: Model | StrPath) -> str:
    return one_line(model) if isinstance(model, str | os.PathLike) else "the model"


def _answers(
    name: Model | StrPath,
    images: _Images,
    device: str,
    workers: int | None,
    max_failures: float,
    hooks: Hooks,
) -> Answers:
    """Return the answers of a model file, or those in a table, for the images."""
    from headstart.evaluation import prediction_files

    table = _predictions_file(name)
    if table is not None:
        return prediction_files.read(table).matched(images.names, images.title)
    if images.features is not None:
        if not _takes_features(name):
            raise UsageError(
                f"{_title(name)} takes images and the other model features; compare their"
                " predictions: headstart predict MODEL DATA --out predictions.csv"
            )
        return _predicted_rows(name, images.names, images.features, device)
    if images.sources is None:
        raise UsageError(f"name the labelled images to evaluate {_title(name)} on")
    return _predicted(name, images.sources, device, workers, max_failures, hooks)


def _predicted_rows(
    name: Model | StrPath,
    names: Sequence[tuple[str, ...]],
    features: NDArray[np.float32],
    device: str,
) -> Answers:
    import numpy as np

    from headstart.evaluation.answers import Answers
    from headstart.models.predict import predict_rows

    model = load_model(name, device=device) if isinstance(name, str | os.PathLike) else name
    targets.refuse(model.target, "evaluate", _OF_LABELS)
    paths = [own for own, *_ in names]
    answers = list(predict_rows(model, paths, features, check_training=True))
    return Answers(
        _title(name),
        model.classes,
        [answer.label for answer in answers],
        np.array([answer.probabilities for answer in answers], np.float32),
        None if model.trained_on is None else np.array([a.trained_on for a in answers], bool),
        True,
        model.thresholds,
    )


def _predicted(
    name: Model | StrPath,
    sources: Sequence[SourceImage],
    device: str,
    workers: int | None,
    max_failures: float,
    hooks: Hooks,
) -> Answers:
    import numpy as np

    from headstart.evaluation.answers import Answers
    from headstart.models.predict import predict_images

    model = load_model(name, device=device) if isinstance(name, str | os.PathLike) else name
    targets.refuse(model.target, "evaluate", _OF_LABELS)
    if model.backbone.warning:
        hooks.notice(f"WARNING: {one_line(model.backbone.warning)}")
    probabilities = np.zeros((len(sources), len(model.classes)), np.float32)
    answers, seen, errors = [""] * len(sources), np.zeros(len(sources), bool), []
    stream = predict_images(model, sources, workers, check_training=True)
    for row, prediction in enumerate(stream):
        if prediction.error:
            errors.append(f"{one_line(prediction.path)}: {prediction.error}")
        else:
            answers[row], probabilities[row] = prediction.label, prediction.probabilities
            seen[row] = bool(prediction.trained_on)
        hooks.progress(row + 1, len(sources))
    if errors:
        line = f"{len(errors):,} of {count(len(sources), 'image')} could not be used"
        if len(errors) > max_failures * len(sources):
            raise InputError(
                f"{line}, more than --max-failures {max_failures:g} allows; the first is"
                f" {errors[0]}"
            )
        hooks.notice(line)
    trained_on = None if model.trained_on is None else seen
    title = _title(name)
    return Answers(title, model.classes, answers, probabilities, trained_on, True, model.thresholds)
