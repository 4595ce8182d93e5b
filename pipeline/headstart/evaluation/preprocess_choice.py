"""Stage: choose how images are prepared for an ONNX file that does not say it, by trying.

The file is imported once, and its presets embed the same labelled images, none of the test split.
They run a race (successive halving; Jamieson and Talwalkar, *Non-stochastic Best Arm Identification
and Hyperparameter Optimization*, AISTATS 2016): all get the first images, and those whose answers
are clearly worse get no more. Of those within one standard error of the best (Breiman et al. 1984,
of the paired differences) the first is taken, in the order of `USUAL`. Before that they are tried
with their channels turned, on the first images too, and further if one does better there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones import onnx_file
from headstart.backbones.inference.decoding import fitted
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.onnx_import import recipe
from headstart.backbones.onnx_import.recipe import PRESETS
from headstart.backbones.preset_trial import PreparedNetwork, TrialNetwork
from headstart.core import targets
from headstart.core.choices import AUTO
from headstart.core.errors import BackboneError, InputError, count
from headstart.core.parallel import available_cores
from headstart.core.records import Choice, ImageRef, Listing, Preprocess
from headstart.evaluation.backbone_choice import drawn
from headstart.evaluation.left_out import LeftOut, is_near

STAGES = (24, 36, 48, 72, 96, 120)  # images that presets are tried on, one after another
CLASSES = 10  # the largest ones, so that each has images enough
USUAL = ("imagenet", "inception", "unit", "raw", "caffe")  # the first is the default
_CLEARLY = 2  # standard errors
_TURNED = {"RGB": "BGR", "BGR": "RGB"}
_REMEDY = f"or name one of: --preprocess {', '.join(USUAL)}"


def choose(
    listing: Listing,
    choice: Choice,
    workers: int | None = None,
    notice: Callable[[str], None] = lambda line: None,
) -> Choice:
    """Return a choice of ``onnx:PATH`` with the best preset in place of `AUTO`, and say why.

    Raises:
        InputError: two classes, or a label, have too few images outside of the test split.
        BackboneError: there are several networks, or the file fails with each preset.
    """
    if backbones.is_joint(choice):
        raise BackboneError(
            f"--preprocess {AUTO} is for one network; export each file with it named, and join "
            "the files: --backbone A.onnx+B.onnx"
        )
    refs = _sample(listing)
    notice(f"--preprocess {AUTO}: presets are tried on at most {len(refs)} labelled images")
    with TemporaryDirectory() as folder:  # not the cache, which would keep a trial
        network = _Network(choice, Path(folder))
        trials = _Trials(network, listing, refs, workers or available_cores())
        racing = trials.race(network.presets)
        racing += trials.better([_turned(spec) for spec in trials.near(racing, 1)], racing)
    chosen = trials.near(racing, 1)[0]
    notice(trials.summary(chosen, racing))
    return dataclasses.replace(choice, preprocess=chosen)


def _sample(listing: Listing) -> list[ImageRef]:
    """Draw labelled images of at most `CLASSES` classes, each start of which is in proportion."""
    part = targets.by_name(listing.target).part("backbone choice")
    try:
        strata = sorted(part.strata(listing), key=len, reverse=True)[:CLASSES]
    except InputError as error:
        raise InputError(f"--preprocess {AUTO}: {error}; {_REMEDY}") from None
    placed = [
        ((number + 0.5) / len(refs), stratum, ref)
        for stratum, refs in enumerate(drawn(strata, STAGES[-1], 0))
        for number, ref in enumerate(refs)
    ]
    return [ref for *_, ref in sorted(placed, key=lambda place: place[:2])][: STAGES[-1]]


class _Network:
    """An imported file that takes images as any preset prepares them."""

    def __init__(self, choice: Choice, folder: Path) -> None:
        foreign = onnx_file.unhashed(dataclasses.replace(choice, preprocess="raw"))
        self._choice = choice
        self._imported = TrialNetwork(foreign, folder)
        self.presets = ("raw",) if self._imported.takes_bytes else USUAL

    def rules(self, spec: str) -> Preprocess:
        """Return how images are cut out for a preset."""
        backbone, choice = self._imported.backbone, self._choice
        preset, own = recipe.read(spec), backbone.preprocess
        if own.fit != "whole":
            sized = dataclasses.replace(preset, size=own.input_size).preprocess()
            own = dataclasses.replace(
                own, resize=sized.resize, crop=sized.crop, interpolation=sized.interpolation
            )
        own = dataclasses.replace(own, value_range=choice.value_range, colour=choice.colour)
        mean = preset.red_first(preset.mean)
        return fitted(own, choice.fit, dataclasses.replace(backbone, mean=mean))

    def prepared(self, spec: str) -> PreparedNetwork:
        """Return the network with the values of a preset."""
        return self._imported.prepared(recipe.read(spec))


@dataclass(frozen=True)
class _Trial:
    """What one preset gave for the images so far.

    Attributes:
        rows: numbers of the readable images, ``(n,)``.
        features: of these, ``(n, d)``.
        figure: accuracy or mean average precision of ``answers``.
        early: the error on the first images.
    """

    rows: NDArray[np.intp]
    features: NDArray[np.float32]
    answers: LeftOut
    figure: float
    early: float


class _Trials:
    """Trials of presets on the same images, an equal part of them for each at a time."""

    def __init__(
        self, network: _Network, listing: Listing, refs: Sequence[ImageRef], workers: int
    ) -> None:
        self._network, self._refs, self._workers = network, refs, workers
        self._images = images_of(listing, refs)
        self._target = targets.by_name(listing.target)
        self._kind = self._target.part("backbone choice")
        self._trials: dict[str, _Trial] = {}
        self._end = 0  # of the images that those still racing were tried on

    def race(self, specs: Sequence[str]) -> list[str]:
        """Try presets on more and more images; return those that are not clearly worse.

        Raises:
            InputError: no image can be read, or their labels do not vary.
            BackboneError: the features of all presets are not finite.
        """
        racing = list(specs)
        for end in STAGES:
            racing = self.near(self._try(racing, self._end, end), _CLEARLY)
            self._end = end
            if len(racing) == 1 or end >= len(self._refs):
                break
        return racing

    def better(self, specs: Sequence[str], others: Sequence[str]) -> list[str]:
        """Return presets that do better than others on the first images, tried on all of these."""
        least = min(self._trials[spec].early for spec in others)
        tried = self._try(specs, 0, STAGES[0])
        tried = [spec for spec in tried if self._trials[spec].early < least]
        return self._try(tried, STAGES[0], self._end) if self._end > STAGES[0] else tried

    def _try(self, specs: Sequence[str], start: int, end: int) -> list[str]:
        """Embed images by presets, each read and decoded once for those that cut alike."""
        alike: dict[Preprocess, list[str]] = {}
        for spec in specs:
            alike.setdefault(self._network.rules(spec), []).append(spec)
        finite = []
        for rules, group in alike.items():
            networks = [self._network.prepared(spec) for spec in group]
            embedded = features_of(self._images[start:end], networks, self._workers, rules)
            if not len(embedded.rows) and not start:
                raise InputError(
                    f"no image of the sample can be read: {next(iter(embedded.failures.values()))}"
                )
            for spec, features in zip(group, embedded.features, strict=True):
                if np.isfinite(features).all():
                    self._add(spec, start + embedded.rows, features)
                    finite.append(spec)
        if not finite and not self._trials:
            raise BackboneError("its features are not finite, whatever the preprocessing")
        return [spec for spec in specs if spec in finite]

    def _add(self, spec: str, rows: NDArray[np.intp], features: NDArray[np.float32]) -> None:
        """Score a preset on these images and those that it was tried on before."""
        before = self._trials.get(spec)
        if before:
            rows = np.concatenate([before.rows, rows])
            features = np.concatenate([before.features, features])
        marks = self._kind.marks([self._refs[row] for row in rows])
        answers = LeftOut.of(features, marks)
        figure = self._kind.figure(marks, answers.values)
        early = before.early if before else float(answers.errors.mean())
        self._trials[spec] = _Trial(rows, features, answers, figure, early)

    def best(self, specs: Sequence[str]) -> str:
        """Return the preset with the least error."""
        return min(specs, key=lambda spec: self._trials[spec].answers.errors.mean())

    def near(self, specs: Sequence[str], times: float) -> list[str]:
        """Return those within so many standard errors of the best, in their order."""
        best = self._trials[self.best(specs)].answers.errors
        return [spec for spec in specs if is_near(self._trials[spec].answers.errors, best, times)]

    def summary(self, chosen: str, racing: Sequence[str]) -> str:
        """Say in one line what was tried, what is taken, and why."""
        best = self.best(racing)
        equal = f", as good as {best} within one standard error and usual before it"
        shown: dict[int, list[str]] = {}
        for spec, trial in self._trials.items():
            figure = f"{spec} {100 * trial.figure:.1f}%"
            shown.setdefault(len(trial.rows), []).append(figure)
        most = len(self._trials[chosen].rows)
        figures = ", ".join(shown.pop(most))
        figures += "".join(f"; on {n} of them: {', '.join(each)}" for n, each in shown.items())
        labels = count(self._trials[chosen].answers.values.shape[1], self._target.noun)
        return (
            f"--preprocess {chosen} is taken{'' if best == chosen else equal}; by squared error in "
            f"cross-validation on {most} images of {labels}; {self._kind.FIGURE}: {figures}"
        )


def _turned(spec: str) -> str:
    return f"{spec}:{_TURNED[PRESETS[spec].order]}"
