"""Listing backbones, ranking them on the images, and exporting one as a file."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core.errors import BackboneError, InputError, UsageError, near_matches, one_line
from headstart.workflows.features import choice
from headstart.workflows.locations import StrPath, output_file
from headstart.workflows.preprocessing import prepared
from headstart.workflows.progress import showing
from headstart.workflows.reading import source_options

if TYPE_CHECKING:
    from headstart.backbones.layers import Layer, LayerList
    from headstart.core.hooks import Hooks
    from headstart.evaluation.backbone_choice import Chosen as Chosen


def list_backbones(
    query: str = "", *, downloaded: bool = False, hooks: Hooks | None = None
) -> list[dict[str, Any]]:
    """Return the pretrained networks whose name, architecture or licence has all words of a query.

    Networks of the Hugging Face hub are listed once they are in its cache.

    Args:
        query: words; empty lists all.
        downloaded: only those whose weights are on this machine.
        hooks: receives a notice for each provider whose library is not installed.

    Returns:
        A row for each: ``name``, ``parameters``, ``gmacs``, ``features``, ``size`` (height, width),
        ``accuracy`` (ImageNet top-1 in percent), ``licence``, ``at_hand`` (weights on this
        machine) and others; None where unknown.

    Raises:
        InputError: nothing matches.
        BackboneError: the query is the path of a file that holds no backbone.
    """
    from headstart import backbones
    from headstart.backbones.inference import description

    with showing("backbones", hooks) as shown:
        entries = [*backbones.available(query, shown.notice), *backbones.in_hub_cache(query)]
    rows = [
        dataclasses.asdict(entry) | {"at_hand": backbones.is_available(entry)} for entry in entries
    ]
    rows = [row for row in rows if row["at_hand"] or not downloaded]
    if not rows and description.is_file(Path(query)):
        backbone = description.describe(Path(query))
        raise InputError(
            f"{one_line(query)} is a file that Headstart wrote, of {one_line(backbone.name)} "
            f"({backbone.dim:,} features); give it as it is: --backbone {shlex.quote(query)}"
        )
    if not rows and not downloaded:
        names = {entry.base for entry in backbones.available()}
        hint = near_matches(query, names) or "try a shorter word, or see all: headstart backbones"
        raise InputError(f"nothing matches {one_line(query)!r}; {hint.rstrip('; ')}")
    return rows


def list_layers(backbone: StrPath, *, preprocess: StrPath = "") -> list[Layer]:
    """Return the layers of a backbone in the order in which they are computed, with their shapes.

    Raises:
        BackboneError: there is no such backbone.
    """
    return layer_list(backbone, preprocess=preprocess).layers


def layer_list(backbone: StrPath, *, preprocess: StrPath = "") -> LayerList:
    """Return the layers of `list_layers`, with the default and those worth trying."""
    from headstart import backbones
    from headstart.backbones import onnx_file

    return backbones.layers_of(onnx_file.spelt(os.fspath(backbone)), os.fspath(preprocess))


def describe_file(backbone: StrPath, *, preprocess: StrPath = "") -> dict[str, Any]:
    """Say what an ONNX file from elsewhere, ``onnx:PATH``, is, and how to begin with it.

    Returns:
        ``written_by``, ``opset``, ``inputs``, ``outputs``, ``licence`` and ``classes`` of its
        metadata, ``layer`` (where it is cut) with ``default`` (why), ``preprocess`` with
        ``reasons``, ``guess`` (whether the file does not say it), and ``layers`` worth trying
        first.

    Raises:
        BackboneError: the file is broken, hostile, or no network of images.
    """
    from headstart.backbones import onnx_file

    return onnx_file.survey(onnx_file.spelt(os.fspath(backbone)), os.fspath(preprocess))


def is_network_file(name: StrPath) -> bool:
    """Say whether a name is that of a file from elsewhere, for `describe_file`."""
    from headstart.backbones import onnx_file

    return onnx_file.spelt(os.fspath(name)).startswith(f"{onnx_file.NAME}:")


def suggest_backbones(kind: str) -> list[dict[str, Any]]:
    """Return networks worth trying first for a kind of images; nothing is fetched.

    Args:
        kind: one of `headstart.core.choices.SHORTLISTS`.

    Returns:
        A row for each: ``name``, ``licence``, ``commercial`` (whether the licence allows commercial
        use), ``trained_on``, ``parameters`` (millions), ``download_mb``, ``access``, ``at_hand``
        (weights on this machine) and ``commands`` that fetch it.

    Raises:
        UsageError: there is no shortlist for that kind.
    """
    from headstart.backbones import shortlist
    from headstart.core.choices import SHORTLISTS

    if kind not in SHORTLISTS:
        raise UsageError(f"no shortlist {one_line(kind)!r}; use one of: {', '.join(SHORTLISTS)}")
    return [
        dataclasses.asdict(each) | {"at_hand": each.is_here, "commands": each.commands}
        for each in shortlist.of(kind)
    ]


def fetch_shortlist(kind: str, *, hooks: Hooks | None = None) -> list[str]:
    """Download the networks of a shortlist, and return the names of those that are here now.

    ``hooks`` receives a notice for each that cannot be fetched, such as a gated one.

    Raises:
        UsageError: there is no shortlist for that kind.
        BackboneError: none of them could be fetched.
    """
    from headstart.backbones import shortlist

    suggest_backbones(kind)
    names = []
    with showing("shortlist", hooks) as shown:
        for each in shortlist.of(kind):
            problem = shortlist.fetch(each)
            if problem:
                shown.notice(f"without {each.name}: {problem}")
            else:
                names.append(each.name)
    if not names:
        raise BackboneError(f"none of the networks for {kind} could be fetched; see the notices")
    return names


def choose_backbone(
    data: StrPath,
    out: StrPath | None = None,
    *,
    query: str = "",
    candidates: Sequence[str] = (),
    downloaded: bool = True,
    weights: StrPath = "",
    preprocess: StrPath = "",
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    images: int = 500,
    seed: int = 0,
    workers: int | None = None,
    hooks: Hooks | None = None,
) -> Chosen:
    """Rank backbones on a sample of a source: accuracy of logistic regression against the cost.

    With several labels on an image, it is mean average precision. The test split is left alone. A
    backbone that fails is reported and does not end the run. The best one is tried with a second
    fit of the images too, see ``fit`` of `extract_features`, unless ``downloaded`` is False.

    Args:
        data: the source, as for `extract_features`.
        out: folder for ``choice.json`` and a plot; None writes nothing.
        query: words that the names of the downloaded ones must have.
        candidates: backbones to try in addition; their weights are downloaded if necessary.
        downloaded: try those whose weights are on this machine.
        weights: for ``candidates``: a weights file, or ``random``.
        preprocess: for ``candidates`` that are files from elsewhere, as for `extract_features`; of
            each its own with ``onnx:PATH?preprocess=caffe``.
        label_column: as for `extract_features`, like ``path_column``.
        path_column: the column with the images' paths.
        label_columns: as for `extract_features`, like ``target``.
        target: one of `core.choices.TARGETS`.
        images: size of the sample, 20 or more.
        seed: of the sample, the folds and the intervals.
        workers: threads; None means one per core.
        hooks: receives notices.

    Raises:
        InputError: there are too few labelled images outside the test split.
        BackboneError: there is no backbone to try, or all failed.
        UsageError: ``weights`` or ``downloaded=False`` without ``candidates``.
    """
    from headstart.evaluation.backbone_choice import ChooseConfig, choose

    if (weights or not downloaded) and not candidates:
        raise UsageError("--weights and --only-named need --backbone NAME")
    named = [
        choice(name, weights, preprocess=_unless_there(preprocess, name, weights))
        for name in candidates
    ]
    reading = source_options(label_column, path_column, label_columns, target)
    folder = None if out is None else Path(out)
    with showing("backbones", hooks) as shown:
        tried, failed = [], {}
        for each in named:
            try:
                which = partial(_notice_of, each.name, shown.notice)
                tried.append(prepared(each, data, reading, workers, which))
            except BackboneError as error:  # the others are tried all the same
                if len(named) == 1 and not downloaded:
                    raise
                failed[each.name] = str(error)
                shown.notice(f"{one_line(each.name)}: not tried ({one_line(error)})")
        config = ChooseConfig(
            tuple(tried),
            query,
            downloaded,
            images,
            seed,
            workers,
            reading,
            fits=downloaded,
            failed=failed,
        )
        return choose(os.fspath(data), config, folder, shown.notice)


def _unless_there(preprocess: StrPath, name: str, weights: StrPath) -> StrPath:
    """Return the preprocessing for a network whose name does not say it and that needs one."""
    foreign = "onnx:" in name or is_network_file(name.partition("?")[0])
    return preprocess if (foreign or weights) and "preprocess=" not in name else ""


def _notice_of(name: str, notice: Callable[[str], None], line: str) -> None:
    notice(f"{one_line(name)}: {line}")


def export_backbone(
    backbone: StrPath,
    out: StrPath,
    *,
    weights: StrPath = "",
    layers: str | Sequence[str] = (),
    pool: str = "",
    quality: str = "",
    fit: str = "",
    size: int | str = "",
    views: str = "",
    preprocess: StrPath = "",
    hooks: Hooks | None = None,
) -> str:
    """Write a backbone as one ONNX file that carries its preprocessing and a certificate.

    Args:
        backbone: a name from `list_backbones`.
        out: the file.
        weights: as for `extract_features`, like ``layers``, ``pool`` and ``preprocess``.
        layers: where to cut.
        pool: how the layer's output is pooled.
        quality: as for `extract_features`, like ``fit``, ``size`` and ``views``.
        fit: how images are fitted into the network's input.
        size: of the network's input.
        views: of each image.
        preprocess: for ``onnx:PATH``.
        hooks: receives warnings, if there are any.

    Returns:
        How closely the file's features match the original network's, in one line.

    Raises:
        BackboneError: the backbone is unknown, or its export fails a check.
        OutputError: the file cannot be written.
    """
    from headstart import backbones
    from headstart.backbones import export
    from headstart.backbones.inference import external_data
    from headstart.backbones.inference.description import describe

    path = output_file(out)
    network = choice(backbone, weights, layers, pool, preprocess, quality, fit, size, views)
    network = backbones.settled(network)
    with showing("export", hooks) as shown:
        model, parity = export.model_file(network, notice=shown.notice)
        external_data.copy(model, path)
        warning = describe(path).warning
        if warning:
            shown.notice(f"WARNING: {one_line(warning)}")
    return str(parity or export.read_parity(model))
