"""A finished model: predict with it, convert it, serve it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core import artifacts, choices
from headstart.core.errors import InputError, UsageError, count
from headstart.workflows import priors
from headstart.workflows.group_names import GroupNames, check_group_answer, predict_groups
from headstart.workflows.locations import StrPath, output_file
from headstart.workflows.progress import showing

if TYPE_CHECKING:
    from headstart.core.costs import Costs
    from headstart.core.hooks import Hooks
    from headstart.features.imported import Rows
    from headstart.models.bundle import Change
    from headstart.models.classifier import Classifier
    from headstart.models.predict import Model, Prediction


def load_model(path: StrPath, *, device: str = "cpu") -> Model:
    """Open a classifier file that Headstart wrote.

    Args:
        path: ``model.onnx``, or the folder of results that holds it.
        device: one of `core.choices.DEVICES`.

    Returns:
        The model: ``classes``, ``backbone``, ``facts`` about its training, and ``predict`` for
        ``(n, height, width, 3) uint8`` arrays; `predict` takes files.

    Raises:
        BackboneError: the file is missing, damaged, no classifier by Headstart, or gives other
            features on this machine.
        RunnerError: it cannot run on the device.
    """
    from headstart.models.predict import Model

    return Model(model_file(path), device)


def model_file(model: StrPath) -> Path:
    """Return a model file; in a folder of results, the one that `train_heads` writes."""
    path = Path(model)
    return path / artifacts.MODEL if path.is_dir() else path


def predict(
    model: Model | StrPath,
    images: StrPath | Sequence[StrPath],
    *,
    min_confidence: float = 0.0,
    target: str | float | None = None,
    sets: str = "",
    costs: StrPath | None = None,
    correct_priors: bool = False,
    summary: bool = False,
    path_column: str = "",
    explain: StrPath | None = None,
    explain_by: str = "",
    train_store: StrPath | None = None,
    groups: StrPath | Mapping[str, str] | None = None,
    group_answer: str = choices.GROUP_ANSWERS[0],
    on_image: Callable[[Prediction], None] | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Iterator[Prediction]:
    """Yield a prediction for every image, in order, as soon as it is computed.

    A prediction has ``path``, ``label``, ``probabilities`` in the order of the model's classes,
    ``error`` (why the image cannot be used), ``distance`` to the training images, ``unlike``,
    whether that is farther than 99 % of the training images are from one another, and ``unusual``,
    whether distance and doubt together exceed those of 95 % of them.

    Args:
        model: a model file, or what `load_model` returns.
        images: image files, folders, patterns and every source that `extract_features` takes, one
            or several; for a model of imported features, files of features or their store.
        min_confidence: images whose best class is less probable are labelled ``unknown``.
        target: the share of answers that should be right, such as ``99%`` or 0.99: the model's own
            threshold for it is the ``min_confidence``.
        sets: ``adaptive`` or ``by-class`` asks for ``classes``, a conformal set that holds the true
            class of 95 % of the images, or of each class.
        costs: a CSV table with a row for each true class and a column for each predicted one: the
            label is the class of least expected cost.
        correct_priors: whether to correct probabilities and labels for the shares of the classes
            among these images, which are estimated from all of them before the first one is
            yielded.
        summary: whether predictions hold what `headstart.workflows.drift.summarise` needs.
        path_column: the column of tables with the images' paths; empty takes ``path``, ``file`` and
            the like.
        explain: a folder for pictures of what speaks for the answer in each image, with a page.
        explain_by: one of `core.choices.EXPLAIN`; empty takes the first that fits the model.
        train_store: the feature store of the training images; the page then shows the nearest.
        groups: images that get one answer together, such as those of a patient: a CSV of path and
            group, or a mapping. There is then a `headstart.models.groups.GroupPrediction` for each
            group, at the end; ``min_confidence``, ``target``, ``sets`` and ``costs`` decide on
            groups.
        group_answer: how a group gets it, one of `core.choices.GROUP_ANSWERS`: the ``mean`` of the
            log-probabilities, or the ``vote`` of its images, whose answers ``costs`` decide.
        on_image: called with the prediction of each image, before groups are made of them.
        workers: threads; None means one per core.
        device: where a model file runs, one of `core.choices.DEVICES`.

    Raises:
        InputError: a path is missing, a folder has no image, or the groups name none.
        UsageError: arguments contradict each other.
        BackboneError: the model cannot be used.
        RunnerError: inference failed.
    """
    from headstart.datasets.inputs import check
    from headstart.models import predict as predicting

    _check_promises(groups, group_answer, target, sets, correct_priors)
    classifier = load_model(model, device=device) if isinstance(model, str | os.PathLike) else model
    names = [images] if isinstance(images, str | os.PathLike) else list(images)
    paths = [os.fspath(name) for name in names]
    if correct_priors and explain is not None:
        raise UsageError("explain shows answers that are not corrected; leave one of them out")
    if correct_priors:
        priors.check_model(classifier)
    if not classifier.takes_features:
        for path in paths:  # report a typo before the first prediction
            check(path, path_column)
    _check_explanation(classifier, explain, explain_by, train_store)
    own = group_answer if groups is not None else ""
    if target is not None:
        min_confidence = threshold(classifier, target, min_confidence, own)
    table = _decisions(classifier, sets, costs, min_confidence, own)
    classifier.answers.check(classifier, min_confidence, table)
    of_images, image_sets = (min_confidence, sets) if groups is None else (0.0, "")
    if classifier.takes_features:
        rows = feature_rows(paths, path_column)
        predictions = predicting.predict_rows(
            classifier,
            rows.names,
            rows.features,
            of_images,
            summary,
            image_sets,
            table,
            summary,
        )
    elif explain is not None:
        predictions = _explained(
            classifier,
            paths,
            Path(explain),
            explain_by,
            train_store,
            path_column,
            workers=workers,
            min_confidence=of_images,
            check_training=summary,
            sets=image_sets,
            costs=table,
            placed=summary,
        )
    else:
        predictions = predicting.predict(
            classifier, paths, workers, of_images, path_column, image_sets, table, summary
        )
    if correct_priors:
        predictions = priors.correct_priors(classifier, list(predictions), of_images, table)
    watched = predictions if on_image is None else _watched(predictions, on_image)
    if groups is None:
        return watched
    named = GroupNames.of(groups, paths)
    return predict_groups(classifier, watched, named, group_answer, min_confidence, table, sets)


def _watched(
    predictions: Iterator[Prediction], on_image: Callable[[Prediction], None]
) -> Iterator[Prediction]:
    for prediction in predictions:
        on_image(prediction)
        yield prediction


def _check_promises(
    groups: object,
    group_answer: str,
    target: str | float | None,
    sets: str,
    correct_priors: bool,
) -> None:
    """Raise a `UsageError` for promises that do not go together."""
    check_group_answer(groups, group_answer)
    if correct_priors:
        priors.check_correction(target, sets)
    if groups is not None and correct_priors:
        raise UsageError(
            "--correct-priors is about single images; leave it out with --groups, or leave out"
            " --groups"
        )


def _check_explanation(
    classifier: Classifier, explain: StrPath | None, explain_by: str, train_store: StrPath | None
) -> None:
    if explain is None and (explain_by or train_store is not None):
        raise UsageError("explain_by and train_store belong to explain, the folder to write")
    if explain is not None:
        classifier.check_images()


def _decisions(
    classifier: Classifier,
    sets: str,
    costs: StrPath | None,
    min_confidence: float,
    group_answer: str,
) -> Costs | None:
    """Return the table of costs, once what decides is known to fit the model and itself."""
    from headstart.core.costs import read

    table = None if costs is None else read(Path(costs), classifier.classes)
    classifier.check_decisions(sets, min_confidence, table)
    if sets and group_answer:
        classifier.for_groups(group_answer)
    return table


def _explained(
    classifier: Classifier,
    paths: Sequence[str],
    folder: Path,
    method: str,
    train_store: StrPath | None,
    path_column: str,
    **settings: Any,  # noqa: ANN401 - of `predict_images`
) -> Iterator[Prediction]:
    """Return predictions whose pictures are written into a folder as they come."""
    from headstart.datasets import stream
    from headstart.models.explain import Explainer, explained
    from headstart.models.explain.stage import Tee
    from headstart.models.predict import predict_images
    from headstart.models.serve import neighbours

    classifier.answers.check(classifier, settings["min_confidence"], settings["costs"])
    training = None
    if train_store is not None:
        training, reason = neighbours.find(classifier.backbone, [Path(train_store)])
        if training is None:
            raise InputError(f"the nearest training images cannot be shown: {reason}")
    explainer = Explainer(classifier, classifier.path, method)
    images = Tee(stream(paths, path_column))
    return explained(
        explainer, images, predict_images(classifier, images, **settings), folder, training
    )


def feature_rows(
    paths: Sequence[StrPath], path_column: str = "", label_column: str = "", labels: bool = False
) -> Rows:
    """Return the rows of files of features, or of one store of imported features.

    Raises:
        InputError: a path is neither, or its features cannot be used.
    """
    from headstart.datasets import Options
    from headstart.features import imported, store

    first = Path(paths[0])
    if len(paths) == 1 and imported.is_store(first):
        return imported.of_store(store.read(first))
    options = Options(path_column=path_column, label_column=label_column, labels=labels)
    return imported.read_rows([Path(path) for path in paths], options)


def threshold(
    model: Classifier, target: str | float, min_confidence: float = 0.0, group_answer: str = ""
) -> float:
    """Return a model's threshold for a share of right answers, such as ``99%``.

    It is that of single images, or of groups that get their answer in this way.

    Raises:
        UsageError: the target is no share, or a minimum confidence is set, too.
        InputError: the model has no such threshold.
    """
    share = _target(target)
    if min_confidence > 0:
        raise UsageError("give a target of right answers or a minimum confidence, not both")
    return model.threshold_for(share, group_answer)


def check_failures(
    failed: int, total: int, max_failures: float, notice: Callable[[str], None]
) -> None:
    """Report how many images of a prediction could not be used.

    Raises:
        InputError: more than ``max_failures`` of them, a share from 0 to 1.
    """
    line = f"{failed:,} of {count(total, 'image')} could not be used"
    if failed > max_failures * total:
        raise InputError(
            f"{line}, more than --max-failures {max_failures:g} allows; the column error says why"
        )
    notice(line)


def export_model(
    model: StrPath,
    data: StrPath,
    out: StrPath,
    *,
    precision: str,
    max_drift: float = choices.MAX_DRIFT,
    max_accuracy_loss: float = choices.MAX_ACCURACY_LOSS,
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    workers: int | None = None,
) -> Change:
    """Write a model in half precision or 8-bit integers, if labelled images show it is as good.

    Args:
        model: the model file.
        data: labelled images, as for `extract_features`: the test split measures, the other images
            calibrate int8.
        out: the file to write.
        precision: ``fp16``, for GPUs, or ``int8``, for processors with VNNI.
        max_drift: largest allowed mean (1 - cosine) to the features of ``model``.
        max_accuracy_loss: largest allowed loss of accuracy, or of mean average precision, in
            percentage points; without labels, share of changed predictions. A larger one counts
            once it is beyond chance.
        label_column: as for `extract_features`, like ``path_column``.
        path_column: the column with the images' paths.
        label_columns: the 0/1 columns, one for each label, of a model with several.
        target: ``single-label`` or ``multi-label``; empty takes what ``data`` looks like.
        workers: threads; None means one per core.

    Returns:
        How the answers of the two files differ.

    Raises:
        BackboneError: the model cannot be used or converted, or the difference is too large.
        InputError: the images cannot be used.
        OutputError: the file cannot be written.
    """
    from headstart.backbones.inference.precision_choice import Budget
    from headstart.models import bundle
    from headstart.workflows.reading import source_options

    budget = Budget(max_drift, max_accuracy_loss)
    reading = source_options(label_column, path_column, label_columns, target)
    return bundle.write_variant(
        model_file(model), precision, os.fspath(data), output_file(out), budget, workers, reading
    )


def serve(
    model: StrPath,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    stores: Sequence[StrPath] = (),
    nearest: int = 6,
    max_mb: int = 32,
    target: str | float | None = None,
    costs: StrPath | None = None,
    sets: str = "",
    workers: int | None = None,
    device: str = "cpu",
    hooks: Hooks | None = None,
) -> None:
    """Serve a model: a page to drop images on, and ``POST /predict``; until an interrupt.

    Args:
        model: the model file.
        host: address to listen on; the default is reachable from this machine alone.
        port: 0 takes any free one.
        stores: feature stores of the training images; empty takes those that ``results.json``
            beside the model names.
        nearest: training images shown for an answer; 0 disables it.
        max_mb: largest upload, in MiB.
        target: the share of answers that should be right, as for `predict`, like ``costs``.
        costs: a CSV table; the label is the class of least expected cost.
        sets: the kind of the ``set`` in answers, ``adaptive``, the default, or ``by-class``.
        workers: threads; None means one per core.
        device: one of `core.choices.DEVICES`.
        hooks: receives notices.

    Raises:
        HeadstartError: the extra ``serve`` is not installed.
        InputError: the address cannot be listened on.
        BackboneError: the model cannot be used.
    """
    from headstart.models.serve import ServeConfig, serve

    path = model_file(model)
    with showing("serve", hooks) as shown:
        recorded, tested = _training_images(path.parent, shown) if nearest else ([], set())
        config = ServeConfig(
            host=host,
            port=port,
            stores=[Path(path) for path in stores] or recorded,
            tested=tested,
            nearest=nearest,
            max_bytes=max_mb << 20,
            target=None if target is None else _target(target),
            costs=None if costs is None else Path(costs),
            sets=sets,
            workers=workers,
            device=device,
        )
        serve(path, config, shown.notice)


def _target(text: str | float) -> float:
    from headstart.evaluation.operating_points import parse_target  # loads the metrics

    return parse_target(text)


def _training_images(folder: Path, hooks: Hooks) -> tuple[list[Path], set[str]]:
    """Return the stores that the results beside a model name, and the images it was tested on."""
    from headstart.report.tables import read_paths
    from headstart.report.validation import read_origin

    if not (folder / artifacts.RESULTS).is_file():
        return [], set()
    try:
        stores, scored_on = read_origin(folder / artifacts.RESULTS)
        tested = scored_on == "test split"
        return stores, read_paths(folder / artifacts.PREDICTIONS) if tested else set()
    except InputError as error:
        hooks.notice(f"nearest training images are not available: {error}")
        return [], set()
