"""Stage: compare backbones on a sample of a source's images, by their scores, speed and size.

Every backbone embeds the same sample, and the best one does so once more with another fit of the
images. The sample leaves the test split out, because choosing by the test split would bias the
test. Accuracy, or of several labels mean average precision, is that of cross-validated logistic
regression; LogME (`headstart.evaluation.transferability`) stands beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import backbones, datasets
from headstart.backbones import export
from headstart.backbones.inference import external_data
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.runner import Runner
from headstart.backbones.onnx_import import recipe
from headstart.core import files, targets
from headstart.core.errors import (
    BackboneError,
    HeadstartError,
    InputError,
    one_line,
)
from headstart.core.parallel import available_cores
from headstart.core.records import Backbone, Choice, ImageRef, Listing
from headstart.datasets import DEFAULTS, Options
from headstart.evaluation.backbone_scores import FOLDS
from headstart.evaluation.metrics import PairedComparison
from headstart.report import costs

_OTHER_FITS = ("whole", "pad", "squash")  # in this order; not every network takes all
TABLE, PLOT = "choice.json", "accuracy_cost.svg"


@dataclass(frozen=True)
class ChooseConfig:
    """What to try.

    Attributes:
        named: backbones to try in any case; their weights are downloaded if necessary.
        query: words in the names of the others; see `headstart.backbones.available`.
        at_hand: whether to try the others whose weights are on this machine.
        fits: whether to try a second fit of images into the best backbone's input.
        images: size of the sample.
        seed: of the sample and the folds.
        reading: how the source is read.
        failed: why other backbones cannot be tried, by name.
    """

    named: tuple[Choice | str, ...] = ()
    query: str = ""
    at_hand: bool = True
    images: int = 500
    seed: int = 0
    workers: int | None = None
    reading: Options = DEFAULTS
    fits: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """How one backbone did.

    Attributes:
        name: with ``+random`` or ``+file`` if the weights are not the published ones, and with
            ``?fit=…`` and the like for other than the network's own ways.
        accuracy: of cross-validated logistic regression, 0 to 1; of several labels it is mean
            average precision, which `Chosen.to_json` calls ``map``.
        interval: 95 % interval of the accuracy.
        difference_interval: of the difference to the best on the same images; None for the best.
        verdict: ``best``; ``worse`` if ``difference_interval`` lies below 0; else ``tie``. Test
            and interval are adjusted for all pairs, since the best is chosen on the same images.
        logme: log evidence per image and class; larger is better.
        images_per_second: read, decoded and embedded by all workers.
        megabytes: size of the exported file, 10⁶ bytes.
        efficient: whether no other backbone is at least as fast and as accurate, and better in one.
        preprocessing: how images are prepared for it, and whether that is known.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    difference_interval: tuple[float, float] | None
    verdict: str
    logme: float
    images_per_second: float
    megabytes: float
    features: int
    licence: str
    efficient: bool
    warning: str
    preprocessing: str


@dataclass(frozen=True)
class Chosen:
    """The result of `choose`.

    Attributes:
        tried: the most accurate backbone first.
        failed: why backbones could not be tried, by name.
        not_tried: names of backbones whose weights are not on this machine.
        suggested: name of the fastest backbone that is not worse than the best.
        metric: what the accuracies are: ``accuracy``, or ``map`` of several labels, whose number is
            ``classes``.
    """

    source: str
    images: int
    classes: int
    tried: list[Tried]
    failed: dict[str, str]
    not_tried: list[str]
    suggested: str
    metric: str = "accuracy"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document, where accuracies have the name of the metric."""
        document = dataclasses.asdict(self)
        document["tried"] = [
            {self.metric if key == "accuracy" else key: value for key, value in each.items()}
            for each in document["tried"]
        ]
        return document


@dataclass(frozen=True)
class _Embedded:
    """A backbone's features of the sample; ``rows`` are the numbers of the readable images."""

    backbone: Backbone
    megabytes: float
    rows: NDArray[np.intp]
    features: NDArray[np.float32]
    images_per_second: float
    preprocessing: str


def choose(
    data: str,
    config: ChooseConfig,
    out: Path | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> Chosen:
    """Compare backbones on a sample of a source.

    A backbone that fails is reported and does not end the run. ``out`` is the folder for
    ``choice.json`` and ``accuracy_cost.svg``; without it nothing is written. ``notice`` receives
    one line at a time.

    Raises:
        BackboneError: no weights are on this machine, or every backbone failed.
    """
    listing = datasets.open_source(data, config.reading)
    refs = sample(listing, config.images, config.seed)
    choices, not_tried = _candidates(config, notice)
    if out is not None:
        files.make_folder(out)
    workers = config.workers or available_cores()
    results: dict[str, _Embedded] = {}
    by_name: dict[str, Choice] = {}
    failed = dict(config.failed)
    for number, choice in enumerate(choices, 1):
        name = choice.name
        notice(f"{number} of {len(choices)}: {one_line(name)}")
        try:
            embedded = _embed(listing, refs, choice, workers, notice)
            name = _unique(_named(embedded.backbone.name, choice), results)
            results[name], by_name[name] = embedded, choice
        except (HeadstartError, MemoryError) as error:
            failed[_unique(name, failed)] = str(error) or "not enough memory"
            notice(f"{one_line(name)}: not tried further ({one_line(error)})")
    if not results:
        raise BackboneError(f"every backbone failed, {next(iter(failed.items()))[0]} because: "
                            f"{next(iter(failed.values()))}")  # fmt: skip
    compared = partial(_compare, listing, refs, results, failed, not_tried, config.seed, workers)
    chosen = compared()
    if config.fits:
        best = next((tried.name for tried in chosen.tried if not tried.warning), "")
        if best and _try_fit(listing, refs, best, by_name[best], results, workers, notice):
            chosen = compared()
    if out is not None:
        files.write_text(out / TABLE, json.dumps(chosen.to_json(), indent=2))
        files.write_text(out / PLOT, costs.draw(chosen.to_json()))
    return chosen


def _try_fit(
    listing: Listing,
    refs: Sequence[ImageRef],
    name: str,
    choice: Choice,
    results: dict[str, _Embedded],
    workers: int,
    notice: Callable[[str], None],
) -> bool:
    """Embed the sample with the first other fit that a network allows; say whether there is one.

    A network whose user said how images are fitted is left as it is.
    """
    if choice.fit or choice.size or choice.views or choice.quality:
        return False
    for fit in _OTHER_FITS:
        fitted = dataclasses.replace(choice, fit=fit)
        try:
            embedded = _embed(listing, refs, fitted, workers, lambda line: None)
        except (HeadstartError, MemoryError):
            continue  # a network of one size, or several that share a picture
        if embedded.backbone == results[name].backbone:
            continue  # its own fit
        label = _unique(_named(embedded.backbone.name, fitted), results)
        notice(f"the best with another fit: {one_line(label)}")
        results[label] = embedded
        return True
    return False


def _named(name: str, choice: Choice) -> str:
    """Return a backbone's name with what its user said of images, as ``--backbone`` takes it.

    A file is named by its path, since its own name would mean another network or none.
    """
    settings = {}
    if choice.name.startswith("onnx:"):
        settings = {"layer": choice.layer, "pool": choice.pool}
    if ".onnx" in choice.name or choice.name.startswith("onnx:"):  # also one of several
        name = choice.name
    settings |= {
        "fit": choice.fit,
        "size": "x".join(map(str, choice.size or ())),
        "views": choice.views,
        "quality": choice.quality,
        "preprocess": "" if choice.preprocess.lstrip().startswith("{") else choice.preprocess,
    }
    text = "&".join(f"{key}={value}" for key, value in settings.items() if value)
    return f"{name}?{text}" if text else name


def sample(listing: Listing, count: int, seed: int) -> list[ImageRef]:
    """Draw labelled images outside of the test split, with every class in proportion.

    A class with fewer than `FOLDS` images is left out. The others keep that many at least, so the
    sample may be a little larger than ``count``. With several labels, images are drawn by their
    rarest label.

    Raises:
        InputError: too few classes or labels have enough images.
    """
    return [ref for refs in drawn(_part(listing).strata(listing), count, seed) for ref in refs]


def drawn(strata: Sequence[list[ImageRef]], count: int, seed: int) -> list[list[ImageRef]]:
    """Draw images of every stratum in proportion, and `FOLDS` at least; ``count`` in all, about."""
    share = count / sum(map(len, strata))
    parts = []
    for refs in strata:
        size = min(len(refs), max(FOLDS, round(share * len(refs))))
        parts.append(sorted(refs, key=lambda ref: _hash(f"{seed}\0{ref.path}"))[:size])
    return parts


def _part(listing: Listing) -> Any:  # noqa: ANN401 - a module
    return targets.by_name(listing.target).part("backbone choice")


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _candidates(
    config: ChooseConfig, notice: Callable[[str], None]
) -> tuple[list[Choice], list[str]]:
    """Return what to try, and the names of backbones whose weights are not on this machine."""
    choices = [Choice(name) if isinstance(name, str) else name for name in config.named]
    named = {choice.name for choice in choices if not choice.weights}
    entries = backbones.available(config.query, notice) if config.at_hand else []
    here = [entry for entry in entries if backbones.is_available(entry)]
    choices += [Choice(entry.name) for entry in here if not {entry.name, entry.base} & named]
    if config.at_hand:
        others = {entry.name for entry in backbones.in_hub_cache(config.query)} - named
        if others:  # any size, and fetched for any purpose
            names = ", ".join(map(one_line, sorted(others)))
            notice(f"not tried unless --backbone names them: {names}")
    absent = {entry.name for entry in entries} - {entry.name for entry in here}
    if not choices and not config.failed:
        raise BackboneError(
            f"no backbone that matches {one_line(config.query)!r} has its weights on this machine; "
            "name those to be fetched with --backbone, or see: headstart backbones --at-hand"
        )
    return choices, sorted(absent - named)


def _embed(
    listing: Listing,
    refs: Sequence[ImageRef],
    choice: Choice,
    workers: int,
    notice: Callable[[str], None],
) -> _Embedded:
    """Embed the sample and time it, reading and decoding included."""
    model, _ = export.model_file(backbones.settled(choice), notice=notice)
    if choice.name.startswith("onnx:"):  # what was assumed of it may decide how it does
        for note in export.read_parity(model).notes:
            notice(f"{one_line(choice.name)}: {one_line(note)}")
    runner = Runner(model, batch=None)
    images = images_of(listing, refs)
    started = time.perf_counter()
    sampled = features_of(images, [runner], workers)
    seconds = time.perf_counter() - started
    if not len(sampled.rows):
        raise InputError(
            f"no image of the sample can be read: {next(iter(sampled.failures.values()))}"
        )
    if not np.isfinite(sampled.features[0]).all():
        raise BackboneError("its features are not finite")
    origin = _origin(choice, runner.backbone, model)
    return _Embedded(
        backbone=runner.backbone,
        megabytes=round(external_data.size_of(model) / 1e6, 2),
        rows=sampled.rows,
        features=sampled.features[0],
        images_per_second=round(len(sampled.rows) / seconds, 1),
        preprocessing=f"{recipe.shown(runner.backbone)} ({origin})",
    )


def _origin(choice: Choice, backbone: Backbone, model: Path) -> str:
    """Say where the preprocessing of a backbone comes from."""
    if choice.preprocess:
        return "as you said"
    networks = backbone.networks or (backbone,)
    if any(network.name.startswith("onnx:") for network in networks):
        notes = export.read_parity(model).notes
        return "assumed" if any("assumed, because" in note for note in notes) else "as exported"
    return "known"


def _compare(
    listing: Listing,
    refs: Sequence[ImageRef],
    embedded: dict[str, _Embedded],
    failed: dict[str, str],
    not_tried: list[str],
    seed: int,
    workers: int,
) -> Chosen:
    """Score every backbone on the images that all of them could read."""
    common = set(range(len(refs)))
    for sampled in embedded.values():
        common &= set(sampled.rows.tolist())
    task = _part(listing).Task.of(sorted(common), refs, seed)
    answers, log_me = {}, {}
    for name, sampled in embedded.items():
        features = sampled.features[np.searchsorted(sampled.rows, task.rows)]
        answers[name], log_me[name] = task.answers(features, workers), task.log_me(features)
    scores = {name: task.score(each) for name, each in answers.items()}
    order = sorted(embedded, key=lambda name: (-scores[name][0], -log_me[name], name))
    best, *rivals = (answers[name] for name in order)
    compared = [None, *task.compare(best, rivals)]
    tried = [
        _tried(name, embedded, scores, log_me[name], against)
        for name, against in zip(order, compared, strict=True)
    ]
    usable = [entry for entry in tried if entry.verdict != "worse" and not entry.warning] or tried
    fastest = max(usable, key=lambda entry: entry.images_per_second)
    return Chosen(
        source=one_line(listing.name),
        images=len(task.rows),
        classes=task.classes,
        tried=tried,
        failed=failed,
        not_tried=not_tried,
        suggested=fastest.name,
        metric=task.METRIC,
    )


def _tried(
    name: str,
    embedded: dict[str, _Embedded],
    scores: dict[str, tuple[float, tuple[float, float]]],
    logme: float,
    against: PairedComparison | None,
) -> Tried:
    own, backbone = embedded[name], embedded[name].backbone
    verdict = "best" if against is None else "worse" if against.decided else "tie"
    (accuracy, interval), speed = scores[name], own.images_per_second
    beaten = any(
        scores[other][0] >= accuracy
        and embedded[other].images_per_second >= speed
        and (scores[other][0] > accuracy or embedded[other].images_per_second > speed)
        for other in embedded
    )
    return Tried(
        name=name,
        accuracy=accuracy,
        interval=interval,
        difference_interval=None if against is None else against.interval,
        verdict=verdict,
        logme=logme,
        images_per_second=speed,
        megabytes=own.megabytes,
        features=backbone.dim,
        licence=backbone.licence,
        efficient=not beaten,
        warning=backbone.warning,
        preprocessing=own.preprocessing,
    )


def _unique(name: str, taken: dict[str, Any]) -> str:
    """Number the second of two equal names, such as a network with two layers."""
    number = 2
    unique = name
    while unique in taken:
        unique = f"{name} ({number})"
        number += 1
    return unique
