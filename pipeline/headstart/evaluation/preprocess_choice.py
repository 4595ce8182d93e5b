"""Stage: choose how images are prepared for an ONNX file that does not say it, by trying.

Each preset embeds the same labelled images, none of the test split, and cross-validated logistic
regression scores it. Those within one standard error of the best (Breiman et al. 1984, of the
paired differences) are tried with their channels turned, and of those then so near the first is
taken, in the order of `USUAL`, as the presets are before turned.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from headstart import backbones
from headstart.backbones import export
from headstart.backbones.inference.decoding import fitted
from headstart.backbones.inference.extract import features_of, images_of
from headstart.backbones.inference.runner import Runner
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import.recipe import PRESETS
from headstart.core import targets
from headstart.core.choices import AUTO
from headstart.core.errors import BackboneError, HeadstartError, InputError, one_line
from headstart.core.parallel import available_cores
from headstart.core.records import Choice, ImageRef, Listing
from headstart.evaluation.backbone_choice import sample
from headstart.evaluation.backbone_scores import FOLDS, usable_rows
from headstart.heads.folds import divisions
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.training_set import TrainingSet

IMAGES = 200  # at most
CLASSES = 20  # the largest ones, so that each has images enough
USUAL = ("imagenet", "inception", "unit", "raw", "caffe")  # the first is the default
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
    trial = _Trials(listing, refs, choice, workers or available_cores())
    notice(f"--preprocess {AUTO}: presets are tried on {len(refs)} labelled images")
    for spec in USUAL:
        trial.attempt(spec)
    if not trial.right:
        raise BackboneError(trial.failed.get("raw", "") or next(iter(trial.failed.values())))
    for spec in trial.best():
        trial.attempt(f"{spec}:{_TURNED[PRESETS[spec].order]}")
    chosen = trial.best()[0]
    notice(trial.summary(chosen))
    return dataclasses.replace(choice, preprocess=chosen)


def _sample(listing: Listing) -> list[ImageRef]:
    """Draw at most `IMAGES` labelled images of at most `CLASSES` classes, in proportion."""
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
    return [ref for refs in by_class.values() for ref in refs]


class _Trials:
    """Presets that were tried on the same images: which answers were right, or why none were."""

    def __init__(
        self, listing: Listing, refs: Sequence[ImageRef], choice: Choice, workers: int
    ) -> None:
        self.right: dict[str, NDArray[np.bool_]] = {}
        self.failed: dict[str, str] = {}
        self._images = images_of(listing, refs)
        self._refs = refs
        self._choice = choice
        self._workers = workers
        self._kept: list[int] = []

    def attempt(self, spec: str) -> None:
        """Score a preset; one that the network cannot take is noted and left out."""
        try:
            rows, features = self._embed(spec)
            kept = usable_rows(rows.tolist(), self._refs)
        except (HeadstartError, MemoryError) as error:
            self.failed[spec] = str(error) or "not enough memory"
            return
        labels = np.unique([str(self._refs[row].label) for row in kept], return_inverse=True)[1]
        fold = divisions(labels, FOLDS, 0)
        features = features[np.searchsorted(rows, kept)]
        training = TrainingSet(features, labels.astype(np.int64), fold, 0, self._workers)
        answers = LogisticRegressionHead().search(training).out_of_fold.argmax(axis=1)
        self.right[spec], self._kept = answers == labels, kept

    def _embed(self, spec: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the numbers of the readable images, and their features."""
        choice = dataclasses.replace(self._choice, preprocess=spec)
        network = backbones.find(choice)
        assert isinstance(network, Foreign)
        with TemporaryDirectory() as folder:  # not the cache, which would keep every trial
            model = Path(folder) / "network.onnx"
            export.export_foreign(network, model)
            runner = Runner(model, batch=None)
            rules = dataclasses.replace(
                runner.backbone.preprocess,
                value_range=choice.value_range,
                colour=choice.colour,
            )
            rules = fitted(rules, choice.fit, runner.backbone)
            embedded = features_of(self._images, [runner], self._workers, rules)
        if not len(embedded.rows):
            raise InputError(
                f"no image of the sample can be read: {next(iter(embedded.failures.values()))}"
            )
        if not np.isfinite(embedded.features[0]).all():
            raise BackboneError("its features are not finite")
        return embedded.rows, embedded.features[0]

    def best(self) -> list[str]:
        """Return those within one standard error of the best, in the order of their trials."""
        best = max(self.right.values(), key=np.mean).astype(float)
        lost = {spec: best - right for spec, right in self.right.items()}
        return [
            spec
            for spec, each in lost.items()
            if each.mean() <= each.std(ddof=1) / len(each) ** 0.5  # 0 for the best itself
        ]

    def summary(self, chosen: str) -> str:
        """Say in one line what was tried, what is taken, and why."""
        figures = ", ".join(f"{spec} {100 * r.mean():.1f}%" for spec, r in self.right.items())
        best = max(self.right, key=lambda spec: self.right[spec].mean())
        if self.right[chosen].mean() == self.right[best].mean():
            best = chosen
        equal = f", as good as {best} within one standard error and usual before it"
        classes = len({self._refs[row].label for row in self._kept})
        return (
            f"--preprocess {chosen} is taken{'' if best == chosen else equal}; cross-validated on "
            f"{len(self._kept)} images of {classes} classes: {figures}"
        )
