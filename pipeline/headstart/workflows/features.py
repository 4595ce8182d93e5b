"""Images become a feature store, and a store becomes a table or is checked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.core import choices
from headstart.core.errors import BackboneError, InputError, UsageError, one_line
from headstart.core.preprocess import canonical_views
from headstart.workflows.locations import StrPath, local, location, output_file
from headstart.workflows.preprocessing import prepared
from headstart.workflows.progress import showing
from headstart.workflows.reading import source_options

if TYPE_CHECKING:
    from headstart.backbones.inference.parity import Drift
    from headstart.core.hooks import Hooks
    from headstart.core.records import Choice
    from headstart.features.embed import EmbedSummary, Sharding
    from headstart.features.store import Origin


def extract_features(
    data: StrPath,
    out: StrPath,
    *,
    backbone: StrPath = choices.BACKBONE,
    weights: StrPath = "",
    layers: str | Sequence[str] = (),
    pool: str = "",
    quality: str = "",
    fit: str = "",
    size: int | str = "",
    views: str = "",
    preprocess: StrPath = "",
    value_range: str = "",
    colour: str = "",
    precision: str = "fp32",
    max_drift: float = choices.MAX_DRIFT,
    max_accuracy_loss: float = choices.MAX_ACCURACY_LOSS,
    device: str = "cpu",
    workers: int | None = None,
    batch_size: int | None = None,
    on_error: str = "skip",
    max_failures: float = choices.MAX_FAILURES,
    rehash: bool = False,
    replace: bool = False,
    labels: bool = True,
    label_column: str = "",
    path_column: str = "",
    label_columns: str | Sequence[str] = (),
    target: str = "",
    engine: str | None = None,
    address: str = "",
    shard_size: int | None = None,
    gpus_per_worker: float = 0.0,
    threads_per_worker: int | None = None,
    hooks: Hooks | None = None,
) -> EmbedSummary:
    """Embed the images of a source into a feature store.

    Runs are incremental: images that the store already has are not embedded again, and an
    interrupted run continues. Layers, pooling, fit, size, views, range and colour that you leave
    out are those of the store, if there is one.

    Args:
        data: a folder of images, a CSV manifest, archives, tables, an HDF5 file, a URL of any of
            these, or ``torchvision:NAME``.
        out: the store: an HDF5 file, here or behind a URL; with ``engine`` a folder.
        backbone: a name from `list_backbones`, or an exported ONNX file;
            ``NAME?fit=whole&size=288`` says what ``weights``, ``pool``, ``quality``, ``fit``,
            ``size``, ``views`` and ``preprocess`` would.
        weights: a weights file in place of the published weights; ``random`` for trials only.
        layers: where to cut the network, one layer or several; empty takes the network's default.
        pool: how a layer's output is pooled, one of `core.choices.POOLS`; empty takes its default.
        quality: ``best`` puts the features of a wider view of each image beside those of the
            network's own crop: more accurate, at 2.4 times the inference and twice the features.
        fit: how images are fitted into the network's input, one of `core.choices.FITS`: ``crop``
            takes the middle; ``pad`` shows the whole image on a border of the mean colour,
            ``squash`` stretches it, and ``whole`` shows it at its own proportions in about as many
            pixels, which convolutional networks allow. Empty takes the network's own.
        size: pixels of a side of the network's input, or ``HEIGHTxWIDTH``; empty takes its own.
        views: several of each image, whose features are averaged: ``flip`` adds the mirror image;
            a sum of ``crop`` with ``flip``, ``whole`` (squashed) and ``pad``, such as
            ``crop+flip+whole``, shows these. Each costs an inference.
        preprocess: how images are prepared for ``onnx:PATH``: a preset, a JSON file, or ``auto``,
            which takes the best preset on 120 labelled images and says so.
        value_range: which values are black and white in all images: ``LOW:HIGH``, ``dtype`` for
            the limits of each type of samples, or ``percentile`` to measure it on the set. Empty
            keeps the high byte of 16 bits, and refuses samples without a range of their own.
        colour: ``srgb`` converts images by their colour profiles; empty ignores these.
        precision: arithmetic of the network, one of `core.choices.PRECISIONS`.
        max_drift: for ``int8`` and ``auto``: largest allowed mean (1 - cosine) to fp32 features.
        max_accuracy_loss: for ``int8`` and ``auto``: largest allowed loss of accuracy, in
            percentage points; a larger one counts once it is beyond chance.
        device: one of `core.choices.DEVICES`.
        workers: threads, or workers of the engine; None means one per core.
        batch_size: images in one inference; None means 4 on a CPU, 64 on a GPU.
        on_error: ``skip`` records a bad image in the store, ``fail`` ends the run.
        max_failures: share of failed images, 0 to 1, above which the run counts as failed; what
            was embedded is saved all the same.
        rehash: read files again although size and modification time are unchanged.
        replace: drop the rows of images that are not in the source, even if they are half of
            the store's or more; without it, such a run is refused.
        labels: False embeds without labels. With them, a source of only one class is refused, and
            one without labels where some seem meant.
        label_column: the column with the labels; empty takes ``label``, ``class`` and the like.
        path_column: the column with the images' paths, likewise.
        label_columns: columns of 0 and 1 (-1 or nothing is unknown), one for each label, if an
            image may have several; names, or one text with commas.
        target: ``single-label`` or ``multi-label``; empty takes what the source looks like.
        engine: ``threads`` or ``ray`` writes a folder of files; None writes one file.
        address: a Ray cluster; empty takes ``RAY_ADDRESS`` or this machine.
        shard_size: images in one file of a folder, about; None means 4096, fewer if there are few.
        gpus_per_worker: GPUs of a worker on Ray; a fraction lets several share one.
        threads_per_worker: threads of a worker; None means 1, with GPUs 4.
        hooks: receives notices and progress; None shows them in a terminal or a notebook.

    Returns:
        What the run did. It can be passed to `train_heads` and `FeatureStore` in place of the path.

    Raises:
        InputError: the source cannot be used, or too many images failed.
        BackboneError: the backbone is unknown or cannot be used.
        StoreError: the store is in use, damaged, or has features of another backbone.
        OutputError: the store cannot be written; what was embedded before is kept.
        UsageError: arguments contradict each other.
    """
    from headstart.backbones.inference.precision_choice import Budget
    from headstart.datasets import mirror
    from headstart.features.embed import EmbedConfig, decoded_by, embed

    store = location(out)
    reading = source_options(label_column, path_column, label_columns, target, labels=labels)
    named = choice(backbone, weights, layers, pool, preprocess, quality, fit, size, views)
    network = decoded_by(named, value_range, colour)
    config = EmbedConfig(
        backbone=network,
        workers=workers,
        on_error=on_error,
        device=device,
        precision=precision,
        batch=batch_size,
        rehash=rehash,
        replace=replace,
        reading=reading,
        trainable=labels,
        max_failures=max_failures,
        budget=Budget(max_drift, max_accuracy_loss),
        sharding=_sharding(store, engine, address, shard_size, threads_per_worker, gpus_per_worker),
    )
    with mirror.written_here(store) as path, showing("embedding", hooks) as shown:
        network = prepared(network, data, reading, workers, shown.notice, Path(path))
        config = dataclasses.replace(config, backbone=network)
        return embed(os.fspath(data), path, config, shown)


def choice(
    backbone: StrPath,
    weights: StrPath = "",
    layers: str | Sequence[str] = (),
    pool: str = "",
    preprocess: StrPath = "",
    quality: str = "",
    fit: str = "",
    size: int | str = "",
    views: str = "",
) -> Choice:
    """Return a backbone as the user specified it.

    Raises:
        InputError: a layer is repeated.
        UsageError: the size is none, or an option is said twice, in the name and beside it.
    """
    from headstart.backbones import onnx_file
    from headstart.core.records import Choice

    name, options = _options(os.fspath(backbone))
    name = onnx_file.spelt(name)
    beside = {
        "weights": os.fspath(weights),
        "pool": pool,
        "preprocess": os.fspath(preprocess),
        "quality": quality,
        "fit": fit,
        "size": str(size),
        "views": views,
    }
    for key, value in beside.items():
        if value and key in options:
            raise UsageError(f"{key} is in the backbone's name and beside it; give it once")
        options.setdefault(key, value)
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    names = tuple(filter(None, names)) or tuple(filter(None, [options.pop("layer", "")]))
    for layer in names:
        if names.count(layer) > 1:
            raise InputError(f"the layer {one_line(layer)} is repeated; name each layer once")
    single, several = ("", names) if len(names) > 1 else ("".join(names), ())
    sides = _sides(options.pop("size"))
    try:
        options["views"] = canonical_views(options["views"])
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    return Choice(name, layer=single, layers=several, size=sides, **options)


_OPTIONS = ("weights", "layer", "pool", "preprocess", "quality", "fit", "size", "views")


def _options(name: str) -> tuple[str, dict[str, Any]]:
    """Split ``NAME?fit=whole&size=288``; a file's name may have a question mark."""
    bare, mark, text = name.rpartition("?")
    if not mark or Path(name.partition(":")[2] or name).exists():
        return name, {}
    options: dict[str, Any] = {}
    for part in text.split("&"):
        key, _, value = part.partition("=")
        if key not in _OPTIONS or not value or key in options:
            raise UsageError(
                f"{one_line(part)!r} in the backbone {one_line(name)} is none of: "
                + ", ".join(f"{option}=…" for option in _OPTIONS)
            )
        options[key] = value
    return bare, options


def _sides(size: str) -> tuple[int, int] | None:
    if not size:
        return None
    sides = size.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise UsageError(f"--size {one_line(size)} is neither PIXELS nor HEIGHTxWIDTH")
    height, width = (min(int(side[:6]), 1 << 20) for side in (sides[0], sides[-1]))
    if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
        raise UsageError(f"--size {one_line(size)}: a side has {_SMALLEST} to {_LARGEST} pixels")
    return height, width


_SMALLEST, _LARGEST = 8, 2048  # pixels of a side of a network's input


def _sharding(
    out: Path | str,
    engine: str | None,
    address: str,
    shard_size: int | None,
    threads: int | None,
    gpus: float,
) -> Sharding | None:
    """Return how to fill a store that is a folder; None for a store of one file."""
    from headstart.features.embed import Sharding
    from headstart.features.store.manifest import is_folder

    if engine != "ray" and (address or gpus):
        raise UsageError("--address and --gpus-per-worker need --engine ray")
    if engine is None and (shard_size or threads):
        raise UsageError("--shard-size and --threads-per-worker need --engine threads or ray")
    if isinstance(out, str) and engine is not None:
        raise UsageError("with --engine the store is a folder on this machine, not a URL")
    if engine is None and (isinstance(out, str) or not is_folder(out)):
        return None
    return Sharding(engine or "threads", address, shard_size, threads, gpus)


def export_features(
    store: StrPath, out: StrPath | None = None, *, to: str, layer: str = ""
) -> list[Path]:
    """Write a store's embeddings, a map in two dimensions, labels and paths as a table.

    Args:
        store: the feature store, a path or a URL.
        out: the file; None means the store's name with the format's ending.
        to: one of `core.choices.TABLE_FORMATS`; ``npy`` puts the other columns into a CSV file
            beside the embeddings.
        layer: the layer of a store with several.

    Returns:
        The files written.

    Raises:
        InputError: the format is unknown.
        StoreError: the store cannot be read, or has no such layer.
        HeadstartError: pyarrow is not installed and ``parquet`` was asked for.
        OutputError: a file cannot be written.
    """
    from headstart.features import export_table

    if isinstance(location(store), str) and out is None:
        raise UsageError("a store behind a URL needs --out")
    target = None if out is None else output_file(out)
    return export_table.export_features(local(store), to, target, layer)


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        sound: whether the file can be used.
        defects: what is wrong, a line each.
        remedy: what to do about it; empty if it is sound.
        certificate: how its features compare with those of this machine, in one line.
        min_cosine: smallest cosine between the two; None if they were not compared.
        repaired: rows ``kept``, ``dropped`` by reason, the ``backup`` and ``notes``; empty if
            nothing was repaired.
    """

    path: str
    sound: bool
    defects: list[str] = field(default_factory=list)
    remedy: str = ""
    certificate: str = ""
    min_cosine: float | None = None
    repaired: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document, without unknown values."""
        document = dataclasses.asdict(self)
        keys = ("remedy", "certificate", "min_cosine", "repaired")
        optional = {key: document.pop(key) for key in keys}
        return document | {key: value for key, value in optional.items() if value}


def verify(path: StrPath, *, repair: bool = False) -> Verification:
    """Check a feature store completely, or an ONNX file that Headstart wrote.

    The probe images of its certificate are embedded again: the features must equal those that this
    machine computes.

    Args:
        path: a store or an ``.onnx`` file, here or behind a URL.
        repair: remove the rows of a store that fail; the original is kept as ``FILE.damaged``.

    Raises:
        StoreError: there is no store, or nothing of it can be saved.
        BackboneError: the model file is damaged, or gives other features on this machine.
        UsageError: ``repair`` for a model, or behind a URL.
    """
    from headstart.features import store

    if repair and isinstance(location(path), str):
        raise UsageError("--repair works on this machine: copy the store, repair it, upload it")
    name, here = os.fspath(path), local(path)
    if here.suffix == ".onnx":
        if repair:
            raise UsageError("--repair is for stores; write the model again instead")
        return _same(Verification(name, True), _model_drift(here))
    repaired: dict[str, Any] = {}
    if repair:
        repair_summary = store.repair(here)
        if repair_summary.backup is not None:
            backup = str(repair_summary.backup)
            repaired = dataclasses.asdict(repair_summary) | {"backup": backup}
    defects = store.verify(here)
    remedy = store.remedy(here, defects[0]) if defects else ""
    state = Verification(name, not defects, defects, remedy, repaired=repaired)
    return state if defects else _recheck(state, store.read_origin(here))


def _model_drift(path: Path) -> Drift:
    from headstart.backbones.inference.description import MODEL_METADATA
    from headstart.backbones.inference.parity import check_metadata
    from headstart.backbones.inference.runner import Runner
    from headstart.models import seal

    runner = Runner(path)
    if MODEL_METADATA in runner.metadata:
        seal.check(path)
    return check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)


def _recheck(state: Verification, origin: Origin) -> Verification:
    """Compare a store's certificate with this machine, if certificate and backbone exist."""
    from headstart.backbones import export
    from headstart.backbones.inference.parity import Certificate, check
    from headstart.backbones.inference.runner import Runner

    if not origin.certificate:
        note = "the store has no certificate, so its features were not compared with this machine's"
        return dataclasses.replace(state, certificate=note)
    try:
        model = export.locate(origin.backbone, origin.model, origin.weights)
    except BackboneError as error:
        note = f"the features were not compared with this machine's: {error}"
        return dataclasses.replace(state, certificate=note)
    runner = Runner(model)
    certificate = Certificate.from_json(origin.certificate)
    return _same(state, check(certificate, runner.embed, runner.backbone.preprocess))


def _same(state: Verification, drift: Drift) -> Verification:
    cosine = drift.min_cosine
    text = f"certificate: this machine computes the same features (cosine {cosine:.7f})"
    return dataclasses.replace(state, certificate=text, min_cosine=cosine)


def write_demo_data(out: StrPath, *, seed: int = 0, per_class: int = 80) -> int:
    """Draw 10 classes of synthetic surfaces into a folder, split into train and test.

    Args:
        out: the folder.
        seed: 0 or more.
        per_class: images of each class, 4 or more.

    Returns:
        Images written; 0 if the same data are already there.

    Raises:
        OutputError: the folder has other files, or cannot be written.
    """
    from headstart.datasets import demo

    return demo.write(Path(out), seed, per_class)
