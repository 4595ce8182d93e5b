"""Fine-tuning a backbone, and comparing it with heads on the frozen one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from headstart.core import choices, remarks, targets
from headstart.core.errors import UsageError
from headstart.core.parallel.openmp import wait_asleep
from headstart.workflows import artifacts
from headstart.workflows.features import choice
from headstart.workflows.group_names import check_group_answer, groups_of
from headstart.workflows.locations import StrPath, output_folder
from headstart.workflows.progress import showing
from headstart.workflows.reading import source_options
from headstart.workflows.result import Result

if TYPE_CHECKING:
    from headstart.core.hooks import Hooks
    from headstart.core.records import Choice, FeatureSet
    from headstart.datasets import Options
    from headstart.finetune import FinetuneConfig, FinetuneResult

FROZEN = "frozen.h5"  # features of the frozen backbone
TOP = choices.MODES[1]


def finetune(
    data: StrPath,
    out: StrPath,
    *,
    backbone: str = choices.BACKBONE,
    weights: StrPath = "",
    value_range: str = "",
    colour: str = "",
    mode: str = TOP,
    boundary: str = "",
    views: int | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    lr: float | None = None,
    patience: int = 6,
    class_weight: str | None = None,
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    device: str = "cpu",
    workers: int | None = None,
    ignore: str | Sequence[str] = (),
    seed: int = 0,
    groups: StrPath | Mapping[str, str] | None = None,
    group_answer: str = choices.GROUP_ANSWERS[0],
    hooks: Hooks | None = None,
) -> Result:
    """Fine-tune a backbone on the training images of a source, and compare it with frozen heads.

    An interrupted run continues when it is called again.

    Args:
        data: the source, as for `extract_features`.
        out: folder for backbone, model, results, report and what a resumed run needs.
        backbone: a name from `list_backbones`.
        weights: a weights file in place of the published weights; ``random`` for trials only.
        value_range: as for `extract_features`.
        colour: as for `extract_features`.
        mode: ``head`` trains a new classifier on the frozen base, ``top`` the layers behind a
            boundary as well, ``all`` everything.
        boundary: the last frozen layer of ``top``; empty means the input of the last stage.
        views: augmented views of each training image that are cached; the first is not augmented.
            None means two for three epochs, 8 at most.
        epochs: at most; None means 30 for ``head``, 12 for ``all``, and for ``top`` 12 of up to
            1,500 training images, fewer of more, 6 from 3,000 on.
        batch_size: images a step.
        lr: peak learning rate of the base; None takes the mode's.
        patience: epochs without a better validation before it stops.
        class_weight: ``balanced`` lets every class count the same.
        label_column: as for `extract_features`, like ``path_column``, ``label_columns`` and
            ``target``.
        path_column: the column with the images' paths.
        label_columns: columns of 0 and 1, one for each label.
        target: ``single-label`` or ``multi-label``.
        device: one of `core.choices.TRAINING_DEVICES`.
        workers: threads; None means one per core.
        ignore: codes of remarks to leave out of the results, such as ``HS901``.
        seed: of everything random.
        groups: images that stay on one side of every split, as for `train_heads`, with one answer
            for each group, too.
        group_answer: how a group gets it, one of `core.choices.GROUP_ANSWERS`.
        hooks: receives notices and progress; None shows them in a terminal or a notebook.

    Returns:
        Results and leaderboard with the fine-tuned network among the heads.

    Raises:
        InputError: the images cannot be divided, or an argument cannot be used.
        BackboneError: the backbone cannot be trained, or has no such boundary.
        RunnerError: the device is not available.
        OutputError: ``out`` cannot be written.
    """
    wait_asleep()
    from headstart.core.files import make_folder
    from headstart.finetune import FinetuneConfig, check_trainable
    from headstart.finetune import finetune as train
    from headstart.report.validation import read_results

    check_group_answer(groups, group_answer)
    config = FinetuneConfig(
        mode=mode,
        boundary=boundary,
        views=views,
        epochs=epochs,
        batch=batch_size,
        lr=lr,
        patience=patience,
        class_weight=class_weight,
        device=device,
        workers=workers,
        seed=seed,
    )
    ignored = remarks.parse(ignore)
    reading = source_options(label_column, path_column, label_columns, target)
    network, folder = _network(backbone, weights, value_range, colour), output_folder(out, data)
    check_trainable(network, config)
    make_folder(folder)
    with showing("fine-tuning", hooks) as shown:
        frozen = _embedded(data, network, folder / FROZEN, workers, reading, shown)
        network = _as_embedded(network, frozen)
        named = groups_of(groups, frozen.path)
        tuned = train(os.fspath(data), frozen, network, folder, config, shown, reading, named)
        _compare(data, frozen, tuned, folder, config, ignored, reading, shown, named, group_answer)
    return Result(read_results(folder / artifacts.RESULTS), folder, tuned.history)


def advise_finetuning(
    data: StrPath,
    *,
    out: StrPath | None = None,
    backbone: str = choices.BACKBONE,
    weights: StrPath = "",
    value_range: str = "",
    colour: str = "",
    boundary: str = "",
    views: int | None = None,
    epochs: int | None = None,
    batch_size: int = 32,
    lr: float | None = None,
    patience: int = 6,
    class_weight: str | None = None,
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    device: str = "cpu",
    workers: int | None = None,
    seed: int = 0,
    groups: StrPath | Mapping[str, str] | None = None,
    hooks: Hooks | None = None,
) -> dict[str, Any]:
    """Predict gain, time and risk of every mode of `finetune` on these images and this machine.

    Takes the arguments of `finetune`. With ``out``, the features of the frozen backbone are kept
    there for a later `finetune`.

    Returns:
        ``modes`` (for each ``gain``, ``gain_ci``, ``accuracy``, ``seconds``, ``risk``),
        ``recommended``, ``why``, and the facts behind them.
    """
    wait_asleep()
    from headstart.core.files import make_folder
    from headstart.finetune import FinetuneConfig, advise, check_trainable

    config = FinetuneConfig(
        boundary=boundary,
        views=views,
        epochs=epochs,
        batch=batch_size,
        lr=lr,
        patience=patience,
        class_weight=class_weight,
        device=device,
        workers=workers,
        seed=seed,
    )
    reading = source_options(label_column, path_column, label_columns, target)
    network = _network(backbone, weights, value_range, colour)
    check_trainable(network, config)
    with ExitStack() as stack:
        shown = stack.enter_context(showing("advice", hooks))
        folder = Path(out or stack.enter_context(TemporaryDirectory(prefix="headstart-advice-")))
        make_folder(folder)
        frozen = _embedded(data, network, folder / FROZEN, workers, reading, shown)
        network = _as_embedded(network, frozen)
        named = groups_of(groups, frozen.path)
        return advise(os.fspath(data), frozen, network, config, shown, reading, named)


def _network(backbone: str, weights: StrPath, value_range: str, colour: str) -> Choice:
    from headstart.backbones.layers import PRE_LOGITS
    from headstart.core.torchvision_import import import_torch
    from headstart.features.embed import decoded_by

    network = choice(backbone, weights, PRE_LOGITS)
    if network.fit or network.size or network.views or network.quality:
        raise UsageError(
            "fine-tuning trains on the network's own crops; leave fit, size, views and quality out"
        )
    import_torch()  # an exported backbone can be embedded without it, not trained
    return decoded_by(network, value_range, colour)


def _as_embedded(network: Choice, frozen: FeatureSet) -> Choice:
    """Return the network with the rules of decoding that its features were made with."""
    rules = frozen.extraction["backbone"]["preprocess"]
    return dataclasses.replace(
        network,
        value_range=rules.get("value_range", ""),
        colour=rules.get("colour", ""),
        policy=rules["policy"],
    )


def _embedded(
    data: StrPath,
    network: Choice,
    path: Path,
    workers: int | None,
    reading: Options,
    hooks: Hooks,
) -> FeatureSet:
    """Return the features of a source by a network; compute those that the store lacks."""
    from headstart.features import store
    from headstart.features.embed import EmbedConfig, embed

    config = EmbedConfig(
        network,
        workers=workers,
        reading=reading,
        trainable=True,
        replace=True,
    )
    embed(os.fspath(data), path, config, hooks)
    return store.read(path, stream_above=float("inf"))


def _compare(
    data: StrPath,
    frozen: FeatureSet,
    tuned: FinetuneResult,
    folder: Path,
    config: FinetuneConfig,
    ignored: tuple[str, ...],
    reading: Options,
    hooks: Hooks,
    named_groups: Mapping[str, str],
    group_answer: str,
) -> None:
    """Compare the classifier with heads on the frozen features, and write the results."""
    from headstart.core.records import Choice
    from headstart.core.rows import take
    from headstart.evaluation import compare
    from headstart.finetune.stage import FEATURES
    from headstart.models import bundle

    division, history = tuned.division, tuned.history
    features = _embedded(
        data, Choice(str(tuned.backbone)), folder / FEATURES, config.workers, reading, hooks
    )
    named = division.named(frozen), division.named(features)
    facts = {key: history[key] for key in ("mode", "boundary", "best")}
    comparison, outcome = compare.compare_tuned(
        *named,
        compare.TunedNetwork(
            tuned.weight,
            tuned.bias,
            tuple(frozen.classes[code] for code in division.classes.tolist()),
            facts,
            sum(epoch["seconds"] for epoch in history["epochs"]),
        ),
        compare.CompareConfig(
            seed=config.seed,
            validation=choices.VALIDATION[1],
            ignore=ignored,
            group_answer=group_answer,
        ),
        hooks.notice,
        named_groups,
    )
    about_training = remarks.without(tuned.remarks, ignored)
    warnings = list(dict.fromkeys([*comparison.warnings, *about_training]))
    comparison = artifacts.stamped(
        dataclasses.replace(comparison, warnings=warnings),
        [str(folder / name) for name in (FROZEN, FEATURES)],
    )
    artifacts.write_comparison(folder, comparison, outcome, named, choices.MAPS[0])
    own = targets.by_name(frozen.target).part("training")
    place = [entry.head.name for entry in outcome.entries].index(choices.TUNED)
    entry, head = outcome.entries[place], comparison.heads[place]
    summary = {
        "head": {"name": head.name, "params": facts},
        **own.scores_of(comparison, head),
        **own.rules_of(comparison, entry),
    }
    agreement = bundle.bundle(
        tuned.backbone,
        own.tuned(entry, outcome.protocol, summary),
        take(entry.data.features, outcome.protocol.test),
        folder / artifacts.MODEL,
    )
    hooks.notice(f"{artifacts.MODEL}: {agreement}")
    _write_companions(folder, comparison, entry.data, place)


def _write_companions(folder: Path, comparison: Any, data: FeatureSet, place: int) -> None:  # noqa: ANN401
    """Write the card of the network, wherever it is among the heads: ``model.onnx`` is its own."""
    from headstart.models import bundle

    heads, groups = _moved(comparison.heads, place), comparison.insights.group_answers
    if groups is not None:
        groups = dataclasses.replace(groups, scores=_moved(groups.scores, place))
    extraction = {"digest": data.digest, "document": data.extraction}
    bundle.write_companions(
        folder,
        dataclasses.replace(
            comparison,
            heads=heads,
            extraction=extraction,
            insights=dataclasses.replace(comparison.insights, group_answers=groups),
        ),
    )


def _moved(rows: Sequence[Any], place: int) -> list[Any]:
    """Return the rows with one of them first."""
    return [*rows[place : place + 1], *rows[:place], *rows[place + 1 :]]
