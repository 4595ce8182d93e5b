"""Is a batch of images like those that a model was trained on?"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headstart.core import choices, remarks
from headstart.core.errors import InputError, count, one_line
from headstart.workflows.artifacts import COMMAND
from headstart.workflows.group_names import GroupNames
from headstart.workflows.locations import StrPath, output_file
from headstart.workflows.models import check_failures, feature_rows, load_model
from headstart.workflows.progress import showing
from headstart.workflows.scored_images import thumbnail_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headstart.core.drift import Drift
    from headstart.core.hooks import Hooks
    from headstart.core.results import Remark
    from headstart.datasets import SourceImage
    from headstart.evaluation.drift import Batch
    from headstart.models.classifier import Classifier
    from headstart.models.predict import Model, Prediction

FEW = 30  # images, below which only a large shift shows
ALIKE = 0.1  # squared distance of two images of a burst, in that of any two
BURST = 0.05  # share of images like the one before that is worth a remark


def drift(
    model: Model | StrPath,
    images: StrPath | Sequence[StrPath],
    *,
    groups: StrPath | Mapping[str, str] | None = None,
    fail_on_drift: bool = False,
    report: StrPath | None = None,
    max_failures: float = choices.MAX_FAILURES,
    path_column: str = "",
    workers: int | None = None,
    device: str = "cpu",
    ignore: str | Sequence[str] = (),
    hooks: Hooks | None = None,
) -> Drift:
    """Compare a batch of images with the images that a model was trained on. It needs no labels.

    Args:
        model: a model file, what `load_model` returns, or a folder of results.
        images: as for `predict`.
        groups: images that belong together, such as bursts, which count as one: a CSV of path and
            group, or a mapping.
        fail_on_drift: whether ``passed`` asks that no test finds a difference.
        report: an HTML page to write.
        max_failures: largest allowed share of images that cannot be used.
        path_column: as for `predict`.
        workers: threads; None means one per core.
        device: one of `core.choices.DEVICES`.
        ignore: codes of remarks to leave out, such as ``HS701``.
        hooks: receives notices and progress.

    Returns:
        ``differs``, the ``tests`` behind it, the share marked as ``unlike``, the ``classes`` with
        their estimated shares, and the most ``unusual`` images; ``to_json`` gives the document.

    Raises:
        InputError: no image can be used, or the model cannot be tested but ``fail_on_drift`` is
            set.
        BackboneError: the model cannot be used.
    """
    from headstart.datasets.inputs import check, stream
    from headstart.models.predict import predict_images, predict_rows

    ignored = remarks.parse(ignore)
    page = None if report is None else output_file(report)
    names = [images] if isinstance(images, str | os.PathLike) else list(images)
    paths = [os.fspath(name) for name in names]
    title = one_line(model) if isinstance(model, str | os.PathLike) else "the model"
    opened = load_model(model, device=device) if isinstance(model, str | os.PathLike) else model
    if fail_on_drift and opened.profile is None:
        raise InputError(f"{title} cannot be tested for drift: it {_no_profile()}")
    sources: dict[str, SourceImage] = {}
    with showing("drift", hooks) as shown:
        if opened.backbone.warning:
            shown.notice(f"WARNING: {one_line(opened.backbone.warning)}")
        if opened.takes_features:
            rows = feature_rows(paths, path_column)
            answers = predict_rows(opened, rows.names, rows.features, 0, True, placed=True)
        else:
            for path in paths:
                check(path, path_column)
            listed = _remembered(stream(paths, path_column), sources)
            answers = predict_images(opened, listed, workers, check_training=True, placed=True)
        predictions = list(answers)
        failed = [prediction for prediction in predictions if prediction.error]
        if failed:
            check_failures(len(failed), len(predictions), max_failures, shown.notice)
    result = summarise(opened, predictions, title, ", ".join(map(one_line, paths)), groups, paths)
    result = dataclasses.replace(result, remarks=remarks.without(result.remarks, ignored))
    if fail_on_drift:
        from headstart.core.assessment import Gate

        result = dataclasses.replace(
            result, gates=[Gate("drift", not result.differs, result.verdict)]
        )
    if page is not None:
        from headstart.report.drift_page import write_page

        def picture(path: str) -> NDArray[np.uint8] | None:
            return thumbnail_of(sources[path]) if path in sources else None

        write_page(result, page, picture)
    return result


def _remembered(
    images: Iterable[SourceImage | None], sources: dict[str, SourceImage]
) -> Iterator[SourceImage | None]:
    for image in images:
        if image is not None:
            sources[image.path] = image
        yield image


def summarise(
    model: Classifier,
    predictions: Sequence[Prediction],
    title: str,
    data: str,
    groups: StrPath | Mapping[str, str] | None = None,
    roots: Sequence[str] = (),
) -> Drift:
    """Compare predictions with a model's training images; errors as for `drift`.

    The predictions are those of `headstart.models.predict.predict_images` with ``placed``; paths
    of ``groups`` may be relative to one of the ``roots``.
    """
    from headstart import __version__
    from headstart.evaluation import drift as compared

    usable = [prediction for prediction in predictions if not prediction.error]
    if not usable:
        raise InputError(
            f"no image of {data} could be used"
            + (f"; the first: {predictions[0].error}" if predictions else ": there is none")
        )
    group = None
    if groups is not None:
        group = GroupNames.of(groups, roots).partition([p.path for p in usable])
    batch = _batch(model, usable, group)
    result = compared.compare(
        batch,
        model.profile,
        model.classes,
        model.quantile,
        model=title,
        data=data,
        failed=len(predictions) - len(usable),
    )
    facts = {
        "headstart": __version__,
        "command": COMMAND.get(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return dataclasses.replace(result, provenance=facts, remarks=[*_about(model, batch)])


def _batch(
    model: Classifier, predictions: Sequence[Prediction], group: NDArray[np.intp] | None
) -> Batch:
    import numpy as np

    from headstart.core.targets import SINGLE_LABEL
    from headstart.evaluation.drift import Batch

    probabilities = np.array([p.probabilities for p in predictions], np.float32)
    measured = model.threshold is not None
    distance = np.array([p.distance if measured else np.nan for p in predictions], np.float64)
    oddness = [p.oddness for p in predictions]
    if oddness[0] is None:
        oddness = (distance if measured else 1 - probabilities.max(axis=1)).tolist()
    places = [p.place for p in predictions]
    return Batch(
        paths=[p.path for p in predictions],
        probabilities=probabilities,
        distance=distance,
        unlike=np.array([bool(p.unlike) for p in predictions]) if measured else None,
        oddness=np.array(oddness, np.float64),
        labels=[p.label for p in predictions],
        chosen=model.answers.chosen(model, probabilities),
        places=None if places[0] is None else np.array(places),
        group=group,
        single=model.target == SINGLE_LABEL,
        seen=None if model.trained_on is None else sum(bool(p.trained_on) for p in predictions),
    )


def _about(model: Classifier, batch: Batch) -> Iterator[Remark]:
    """Yield what a reader of the comparison should know."""
    alike = 0 if batch.group is not None else _bursts(batch)
    if alike > BURST * len(batch):
        yield remarks.remark(
            "HS701",
            f"{count(alike, 'image')} of {len(batch):,} nearly equal the one before. If they are of"
            " one burst, video or patient, name the groups with --groups: the tests take images"
            " for independent and are too sure.",
        )
    if batch.independent < FEW:
        images = "independent images say" if len(batch) > batch.independent else "images say"
        if len(batch) == 1:
            images = "image says"
        yield remarks.remark(
            "HS702",
            f"{batch.independent:.0f} {images} little: only a large difference shows.",
        )
    if model.profile is None:
        yield remarks.remark("HS703", f"No test was made: the model {_no_profile()}.")
    if batch.seen:
        yield remarks.remark(
            "HS704",
            f"The model was trained on {batch.seen:,} of the {count(len(batch), 'image')}, to which"
            " its distance is 0 and of which it is too sure. Leave them out.",
        )


def _no_profile() -> str:
    return (
        "does not say what its training images look like, as models of earlier versions,"
        " fine-tuned networks and int8 variants do not; train heads with: headstart train-heads"
    )


def _bursts(batch: Batch) -> int:
    """Return how many images nearly equal the one before, on the model's axes."""
    import numpy as np

    if batch.places is None or not batch.places.shape[1] or len(batch) < 2:
        return 0
    apart = ((batch.places[1:] - batch.places[:-1]) ** 2).sum(axis=1)
    return int(np.sum(apart < ALIKE * 2 * batch.places.shape[1]))
