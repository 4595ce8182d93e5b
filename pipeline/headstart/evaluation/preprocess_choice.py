"""Stage: choose how images are prepared for an ONNX file that does not say it, by trying.

The file is imported once; presets differ in constants of that graph and in how images are cut out.
Each embeds the same labelled images, none of the test split, and cross-validated logistic
regression scores it. Presets that are clearly worse after the first images get no more. Those
within one standard error of the best (Breiman et al. 1984, of the paired differences) are tried
with their channels turned, and of those then so near the first is taken, in the order of `USUAL`,
as the presets are before turned.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.decoding import fitted
from headstart.backbones.inference.extract import Features, features_of, images_of
from headstart.backbones.inference.runner import Runner
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import import recipe
from headstart.backbones.onnx_import.recipe import PRESETS
from headstart.backbones.onnx_import.wrap import renormalise
from headstart.core import targets
from headstart.core.choices import AUTO
from headstart.core.errors import BackboneError, InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import Choice, ImageRef, Listing, Preprocess
from headstart.evaluation.backbone_choice import sample
from headstart.evaluation.backbone_scores import FOLDS, usable_rows
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

IMAGES = 200  # at most
CLASSES = 20  # the largest ones, so that each has images enough
USUAL = ("imagenet", "inception", "unit", "raw", "caffe")  # the first is the default
_FIRST = 60  # images, on which clearly worse presets are left behind
_CLEARLY = 2  # standard errors
_TURNED = {"RGB": "BGR", "BGR": "RGB"}
_REMEDY = f"name one of: --preprocess {', '.join(USUAL)}"


def choose(
    listing: Listing,
    choice: Choice,
    workers: int | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Return a choice of ``onnx:PATH`` with the best preset in place of `AUTO`, and say why.

    Raises:
        InputError: two classes have too few labelled images outside of the test split.
        BackboneError: there are several networks, or the file fails with each preset.
    """
    if backbones.is_joint(choice):
        raise BackboneError(
            f"--preprocess {AUTO} is for one network; export each file with it named, and join "
            "the files: --backbone A.onnx+B.onnx"
        )
    refs = _sample(listing)
    count = sum(map(len, refs))
    notice(f"--preprocess {AUTO}: presets are tried on at most {count} labelled images")
    with TemporaryDirectory() as folder:  # not the cache, which would keep a trial
        trials = _Trials(listing, refs, choice, workers or available_cores(), Path(folder))
        trials.attempt(trials.presets)
        trials.attempt([f"{spec}:{_TURNED[PRESETS[spec].order]}" for spec in trials.best()])
    chosen = trials.best()[0]
    notice(trials.summary(chosen))
    return dataclasses.replace(choice, preprocess=chosen)


def _sample(listing: Listing) -> tuple[list[ImageRef], list[ImageRef]]:
    """Draw at most `IMAGES` labelled images of at most `CLASSES` classes, in proportion.

    The first ones are about `_FIRST`, in proportion too, and at least one a fold of each class.
    """
    what = f"--preprocess {AUTO}"
    targets.refuse(listing.target, what, _REMEDY)
    training = [ref for ref in listing.images if ref.label is not None and ref.split != "test"]
    counts = Counter(ref.label for ref in training)
    largest = sorted(counts, key=lambda label: (-counts[label], str(label)))[:CLASSES]
    usable = [label for label in largest if counts[label] >= FOLDS]
    if len(usable) < 2:
        raise InputError(
            f"{one_line(listing.name)}: {what} takes two classes with {FOLDS} labelled images each "
            f"outside of the test split, and {len(usable)} has that; {_REMEDY}"
        )
    images = [ref for ref in training if ref.label in usable]
    by_class: dict[str | None, list[ImageRef]] = {}
    for ref in sample(dataclasses.replace(listing, images=images), IMAGES, 0):
        by_class.setdefault(ref.label, []).append(ref)
    while sum(map(len, by_class.values())) > IMAGES:  # small classes keep images enough for folds
        max(by_class.values(), key=len).pop()
    share = _FIRST / sum(map(len, by_class.values()))
    first, rest = [], []
    for refs in by_class.values():
        enough = max(FOLDS, math.ceil(share * len(refs)))
        first += refs[:enough]
        rest += refs[enough:]
    return first, rest


class _Trials:
    """Presets that were tried on the same images: which answers of each were right.

    Attributes:
        presets: those that the network can take.
        right: by preset, for the images that it was tried on: the first ones, or all.
    """

    def __init__(
        self,
        listing: Listing,
        refs: tuple[list[ImageRef], list[ImageRef]],
        choice: Choice,
        workers: int,
        folder: Path,
    ) -> None:
        self.right: dict[str, NDArray[np.bool_]] = {}
        self.presets, self._network = _imported(choice, folder)
        self._parts = [images_of(listing, part) for part in refs]
        self._refs = [*refs[0], *refs[1]]
        self._choice = choice
        self._workers = workers
        self._features: dict[str, list[Features]] = {}
        self._classes = 0

    def attempt(self, specs: Sequence[str]) -> None:
        """Score presets on the first images, and those that are not clearly worse on all.

        Raises:
            InputError: no image can be read.
            BackboneError: the features of all presets are not finite.
        """
        self._embed(specs, 0)
        part = {spec: self._score(spec, 1) for spec in self._features if self._is_finite(spec)}
        if not part:
            raise BackboneError("its features are not finite, whatever the preprocessing")
        best = max(part.values(), key=np.mean)
        near = [spec for spec, right in part.items() if _is_near(right, best, _CLEARLY)]
        self.right |= {spec: right for spec, right in part.items() if spec in specs}
        several = len({spec.partition(":")[0] for spec in near}) > 1  # not by channels alone
        if self._parts[1] and (several or any(len(self._features[spec]) > 1 for spec in near)):
            missing = [spec for spec in near if len(self._features[spec]) == 1]
            self._embed(missing, 1)
            self.right |= {spec: self._score(spec, 2) for spec in missing}

    def _is_finite(self, spec: str) -> bool:
        return all(np.isfinite(part.features[0]).all() for part in self._features[spec])

    def _embed(self, specs: Sequence[str], part: int) -> None:
        """Embed a part of the images, each read and decoded once for presets that cut alike."""
        alike: dict[Preprocess, list[str]] = {}
        for spec in specs:
            alike.setdefault(self._network.rules(spec, self._choice), []).append(spec)
        for rules, group in alike.items():
            networks = [self._network.runner(spec) for spec in group]
            embedded = features_of(self._parts[part], networks, self._workers, rules)
            if not len(embedded.rows) and not part:
                raise InputError(
                    f"no image of the sample can be read: {next(iter(embedded.failures.values()))}"
                )
            for spec, features in zip(group, embedded.features, strict=True):
                each = dataclasses.replace(embedded, features=[features])
                self._features.setdefault(spec, []).append(each)

    def _score(self, spec: str, parts: int) -> NDArray[np.bool_]:
        """Return whether the answers to the images of the first parts were right."""
        embedded = self._features[spec][:parts]
        starts = (0, len(self._parts[0]))
        rows = np.concatenate(
            [start + part.rows for start, part in zip(starts, embedded, strict=False)]
        )
        features = np.concatenate([part.features[0] for part in embedded])
        kept = usable_rows(rows.tolist(), self._refs)
        labels = np.unique([str(self._refs[row].label) for row in kept], return_inverse=True)[1]
        fold = divisions(labels, FOLDS, 0)
        features = features[np.searchsorted(rows, kept)]
        training = TrainingSet(features, labels.astype(np.int64), fold, 0, self._workers)
        answers = LogisticRegressionHead().search(training).out_of_fold.argmax(axis=1)
        self._classes = int(labels.max()) + 1
        right: NDArray[np.bool_] = answers == labels
        return right

    def best(self) -> list[str]:
        """Return those within one standard error of the best, in the order of their trials."""
        most = max(map(len, self.right.values()))
        right = {spec: each for spec, each in self.right.items() if len(each) == most}
        best = max(right.values(), key=np.mean)
        return [spec for spec, each in right.items() if _is_near(each, best, 1)]

    def summary(self, chosen: str) -> str:
        """Say in one line what was tried, what is taken, and why."""
        most = len(self.right[chosen])
        shown: dict[int, list[str]] = {}
        for spec, each in self.right.items():
            shown.setdefault(len(each), []).append(f"{spec} {100 * each.mean():.1f}%")
        figures = ", ".join(shown.pop(most))
        figures += "".join(f"; on {n} of them: {', '.join(each)}" for n, each in shown.items())
        full = {spec: each for spec, each in self.right.items() if len(each) == most}
        best = max(full, key=lambda spec: full[spec].mean())
        if full[chosen].mean() == full[best].mean():
            best = chosen
        equal = f", as good as {best} within one standard error and usual before it"
        return (
            f"--preprocess {chosen} is taken{'' if best == chosen else equal}; cross-validated on "
            f"{most} images of {self._classes} classes: {figures}"
        )


def _is_near(right: NDArray[np.bool_], best: NDArray[np.bool_], errors: float) -> bool:
    """Say whether a loss is within so many standard errors of the paired differences."""
    lost = best.astype(float) - right
    return bool(lost.mean() <= errors * lost.std(ddof=1) / len(lost) ** 0.5)  # 0 for the best


def _imported(choice: Choice, folder: Path) -> tuple[tuple[str, ...], _Network]:
    """Import a file once, and return the presets that can be tried with it.

    Raises:
        BackboneError: the file fails.
    """
    failures = []
    for specs in (USUAL, ("raw",)):  # a network of whole numbers takes these alone
        foreign = backbones.find(dataclasses.replace(choice, preprocess=specs[0]))
        assert isinstance(foreign, Foreign)
        path = folder / f"{specs[0]}.onnx"
        try:
            export.export_foreign(foreign, path)
        except BackboneError as error:
            failures.append(error)
            continue
        return specs, _Network(path, specs[0])
    raise failures[-1]


class _Network:
    """An imported file, exported for one preset, that stands for all."""

    def __init__(self, path: Path, spec: str) -> None:
        self._path, self._spec = path, spec
        self._exported = Runner(path, batch=None)
        self._runners: dict[str, Runner] = {}

    def rules(self, spec: str, choice: Choice) -> Preprocess:
        """Return how images are cut out for a preset."""
        backbone = self._exported.backbone
        preset, own = recipe.read(spec), backbone.preprocess
        if own.fit != "whole":
            sized = dataclasses.replace(preset, size=own.input_size).preprocess()
            own = dataclasses.replace(
                own, resize=sized.resize, crop=sized.crop, interpolation=sized.interpolation
            )
        own = dataclasses.replace(own, value_range=choice.value_range, colour=choice.colour)
        mean = preset.red_first(preset.mean)
        return fitted(own, choice.fit, dataclasses.replace(backbone, mean=mean))

    def runner(self, spec: str) -> Runner:
        """Return the network with the values of a preset, opened once."""
        if spec == self._spec:
            return self._exported
        if spec not in self._runners:
            path = self._path.with_name(f"{spec.replace(':', '-')}.onnx")
            renormalise(self._path, path, recipe.read(self._spec), recipe.read(spec))
            self._runners[spec] = Runner(path, batch=self._exported.batch)
        return self._runners[spec]
