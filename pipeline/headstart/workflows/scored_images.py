"""What an evaluation scores: labelled images, or rows of features, and answers for them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from headstart.core import choices, targets
from headstart.core.errors import InputError, UsageError, count, one_line
from headstart.workflows.locations import StrPath
from headstart.workflows.models import feature_rows, load_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.core.hooks import Hooks
    from headstart.core.records import ImageRef
    from headstart.datasets import Options, SourceImage
    from headstart.evaluation.answers import Answers, LabelAnswers
    from headstart.evaluation.prediction_files import Predictions
    from headstart.models.predict import Model, Prediction


@dataclass(frozen=True)
class ScoredImages:
    """Labelled images, and the names that predictions may have for each, its own first.

    ``sources`` are None where the labels are those of predictions, or of rows of ``features``.
    ``labels`` are what the assessment of the ``target`` calls truths.
    """

    title: str
    names: Sequence[tuple[str, ...]]
    labels: Any
    target: str
    sources: list[SourceImage] | None = None
    features: NDArray[np.float32] | None = None

    def picture(self, path: str) -> NDArray[np.uint8] | None:
        """Return the thumbnail of an image, by its own name; None if there is none."""
        if self.sources is None:
            return None
        row = next(row for row, names in enumerate(self.names) if names[0] == path)
        return thumbnail_of(self.sources[row])


def thumbnail_of(image: SourceImage) -> NDArray[np.uint8] | None:
    """Return the thumbnail of an image for a page; None if it cannot be read."""
    from headstart import datasets
    from headstart.core.errors import ImageError
    from headstart.datasets.images.thumbnails import of_bytes
    from headstart.report.thumbnails_sheet import SIDE

    try:
        return of_bytes(datasets.read(*image)[0], SIDE)
    except ImageError:
        return None


@dataclass(frozen=True)
class Contender:
    """A model, or predictions in a file, that is to be scored: one of the two is not None."""

    title: str
    model: Model | None
    table: Predictions | None

    @classmethod
    def open(cls, model: Model | StrPath, device: str, label_column: str) -> Contender:
        """Open a model file or a table of predictions, whose true labels a column may have."""
        from headstart.evaluation import prediction_files

        if not isinstance(model, str | os.PathLike):
            return cls("the model", model, None)
        path, title = Path(model), one_line(model)
        if path.suffix.lower() in prediction_files.SUFFIXES:
            return cls(title, None, prediction_files.read(path, label_column))
        return cls(title, load_model(model, device=device), None)

    @property
    def target(self) -> str:
        """The name of what is predicted."""
        if self.model is not None:
            return self.model.target
        assert self.table is not None
        return self.table.answers.TARGET

    @property
    def classes(self) -> Sequence[str]:
        """The classes or labels."""
        if self.model is not None:
            return self.model.classes
        assert self.table is not None
        return self.table.answers.classes

    @property
    def is_complete(self) -> bool:
        """Whether ``classes`` are all; those of a table without probabilities are the answers'."""
        return self.table is None or self.table.answers.probabilities is not None

    @property
    def takes_features(self) -> bool:
        """Whether this is a model of features that another program computed."""
        return self.model is not None and self.model.takes_features

    def check_target(self, images: ScoredImages) -> None:
        """Raise an `InputError` if the images have labels of another kind than the answers."""
        if self.target != images.target:
            mine, theirs = (targets.by_name(name).answers for name in (self.target, images.target))
            raise InputError(
                f"{self.title} returns {mine} an image, but {images.title} has {theirs}; give "
                f"images and models of one kind, or add --target {self.target} if the labels can be"
                " read so"
            )

    def check_costs(self, costs: Path) -> None:
        """Raise an error unless a table of costs fits; predictions gain classes from the labels."""
        classes = None if self.model is None else self.model.classes
        targets.by_name(self.target).part("assessment").check_costs(costs, classes)

    def answers(
        self, images: ScoredImages, workers: int | None, max_failures: float, hooks: Hooks
    ) -> Answers | LabelAnswers:
        """Return the answers for the images.

        Raises:
            UsageError: a model takes features and the other images, or there are no images.
            InputError: more than ``max_failures`` of the images cannot be used.
        """
        if self.table is not None:
            return self.table.matched(images.names, images.title)
        assert self.model is not None
        predictions = self._predictions(self.model, images, workers, max_failures, hooks)
        part = targets.by_name(self.target).part("assessment")
        return cast("Answers | LabelAnswers", part.answers(self.title, self.model, predictions))

    def _predictions(
        self,
        model: Model,
        images: ScoredImages,
        workers: int | None,
        max_failures: float,
        hooks: Hooks,
    ) -> list[Prediction]:
        from headstart.models.predict import predict_images, predict_rows

        if images.features is not None:
            if not self.takes_features:
                raise UsageError(
                    f"{self.title} takes images and the other model features; compare their"
                    " predictions: headstart predict MODEL DATA --out predictions.csv"
                )
            paths = [own for own, *_ in images.names]
            return list(predict_rows(model, paths, images.features, check_training=True))
        if images.sources is None:
            raise UsageError(f"name the labelled images to evaluate {self.title} on")
        if model.backbone.warning:
            hooks.notice(f"WARNING: {one_line(model.backbone.warning)}")
        predictions = []
        for prediction in predict_images(model, images.sources, workers, check_training=True):
            predictions.append(prediction)
            hooks.progress(len(predictions), len(images.sources))
        _check_failures(predictions, max_failures, hooks)
        return predictions


def _check_failures(predictions: Sequence[Prediction], max_failures: float, hooks: Hooks) -> None:
    errors = [f"{one_line(each.path)}: {each.error}" for each in predictions if each.error]
    if not errors:
        return
    line = f"{len(errors):,} of {count(len(predictions), 'image')} could not be used"
    if len(errors) > max_failures * len(predictions):
        raise InputError(
            f"{line}, more than --max-failures {max_failures:g} allows; the first is {errors[0]}"
        )
    hooks.notice(line)


def scored_images(
    data: StrPath | None, contenders: Sequence[Contender], split: str, reading: Options
) -> ScoredImages:
    """Return the images to score the contenders on; without ``data``, those of the first's table.

    Where the user does not say whether images have several labels, the first contender does.

    Raises:
        InputError: the images cannot be read, or none has a label.
        UsageError: there are none.
    """
    if data is None:
        return _predicted_images(*contenders)
    if any(contender.takes_features for contender in contenders):
        return _rows(data, split, reading)
    return _images(data, contenders[0], split, reading)


def _images(data: StrPath, model: Contender, split: str, reading: Options) -> ScoredImages:
    from headstart import datasets
    from headstart.backbones.inference.extract import images_of

    several = model.target if model.target != targets.SINGLE_LABEL else ""
    listing = datasets.open_source(
        data, dataclasses.replace(reading, target=reading.target or several)
    )
    if not listing.classes:
        raise InputError(
            f"no image in {one_line(data)} has a label"
            f"{': ' + listing.hint if listing.hint else ''}; give labelled images, for instance a"
            " folder with one folder per class or a CSV with path,label"
        )
    title, rows = _chosen(data, listing.images, split, "image")
    refs = [listing.images[row] for row in rows]
    sources = images_of(listing, refs)
    names = [(ref.path, source.path) for ref, source in zip(refs, sources, strict=True)]
    truths = targets.by_name(listing.target).part("assessment").truths(listing.classes, refs)
    return ScoredImages(title, names, truths, listing.target, sources)


def _rows(data: StrPath, split: str, reading: Options) -> ScoredImages:
    """Return the labelled rows of a file of features, or of a store of imported ones."""
    rows = feature_rows([data], reading.path_column, reading.label_column, labels=True)
    if not any(image.is_labelled for image in rows.images):
        raise InputError(
            f"no row of {one_line(data)} has a label; import it with its labels first, and evaluate"
            " the store: headstart import-features FILE --labels LABELS.csv --out STORE.h5"
        )
    title, kept = _chosen(data, rows.images, split, "row")
    images = [rows.images[row] for row in kept]
    several = bool(rows.flags) or any(image.labels is not None for image in rows.images)
    target = targets.MULTI_LABEL if several else targets.SINGLE_LABEL
    classes = rows.flags or sorted({name for image in rows.images for name in image.names})
    truths = targets.by_name(target).part("assessment").truths(classes, images)
    names = [(image.path,) for image in images]
    return ScoredImages(title, names, truths, target, features=rows.features[kept])


def _chosen(
    data: StrPath, images: Sequence[ImageRef], split: str, noun: str
) -> tuple[str, list[int]]:
    """Return what the images of a split are called, and their numbers."""
    tested = any(image.split == "test" for image in images)
    chosen = ("test" if tested else "all") if split == choices.SCORED[0] else split
    kept = [row for row, image in enumerate(images) if chosen in ("all", image.split)]
    if not kept:
        raise InputError(f"{one_line(data)} has no {noun} in the split {chosen}")
    return one_line(data) + ("" if chosen == "all" else f" (split {chosen})"), kept


def _predicted_images(model: Contender, *others: Contender) -> ScoredImages:
    """Return the images of a table of predictions, with the labels in its columns."""
    table = model.table
    if table is None:
        raise UsageError(f"name the labelled images to evaluate {model.title} on")
    if table.true is None:
        raise InputError(
            f"{model.title} has no column of true labels; name it with --label-column, or name"
            " the labelled images"
        )
    for other in others:
        if other.table is not None:
            table.check_truths(other.table)
    return ScoredImages(model.title, [(name,) for name in table.paths], table.true, model.target)
