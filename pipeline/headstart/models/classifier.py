"""An open classifier file: pixels in, probabilities out. Needs neither torch nor scikit-learn."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference import parity
from headstart.backbones.inference.description import (
    DISTANCE,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
    describe,
    is_file,
)
from headstart.backbones.inference.feature_runner import FeatureRunner
from headstart.backbones.inference.runner import Runner
from headstart.core import targets, training_profile
from headstart.core.choices import TARGETS
from headstart.core.costs import Costs
from headstart.core.errors import BackboneError, InputError, UsageError, one_line
from headstart.core.names import IMPORTED
from headstart.core.prediction_sets import SetRule
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.core.training_profile import TrainingProfile
from headstart.datasets import images
from headstart.models import seal, training_images
from headstart.models.novelty import QUANTILE, Unusual

UNKNOWN = "unknown"  # the label of an image whose most probable class is below the minimum


@dataclass(frozen=True)
class Answers:
    """The output of a classifier for some images.

    Attributes:
        probabilities: ``(n, k) float32``, in the order of `Classifier.classes`.
        features: ``(n, d) float32``.
        distance: ``(n,) float32`` cosine distance to the training images, or NaN.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    distance: NDArray[np.float32]

    def unusual(self, mark: Unusual | None) -> list[bool] | None:
        """Return which images the second mark is for; None if the model has none."""
        if mark is None:
            return None
        marks: list[bool] = mark.marks(self.distance, self.probabilities).tolist()
        return marks

    def oddness(self, mark: Unusual | None) -> list[float] | None:
        """Return by how much each image is unusual; None if the model has no second mark."""
        if mark is None:
            return None
        values: list[float] = mark.oddness(self.distance, self.probabilities).tolist()
        return values


@dataclass(frozen=True)
class Promises:
    """What is promised of answers: sets that hold the true class, and shares that are right.

    ``answer`` is that of groups, one of `core.choices.GROUP_ANSWERS`; of single images it is empty.
    """

    set_rule: SetRule | None
    thresholds: dict[float, float]
    answer: str = ""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Promises:
        """Read them from the metadata of a model."""
        sets, points = facts.get("prediction_sets"), facts.get("operating_points") or []
        return cls(
            sets and SetRule(sets["level"], sets["mass"], tuple(sets["least"])),
            {float(point["target"]): float(point["threshold"]) for point in points},
            str(facts.get("answer", "")),
        )


class Classifier:
    """A classifier file that Headstart wrote, ready to predict; threads may share an instance.

    ``device`` is one of `headstart.backbones.inference.runner.DEVICES`.

    Attributes:
        path: the file.
        classes: the class names, in the order of the probabilities.
        facts: about the training (JSON).
        target: the name of what is predicted, see `headstart.core.targets`.
        label_thresholds: ``(k,) float32``, from which probability an image has each label; of a
            multi-label model alone.
        threshold: the distance beyond which an image is unlike the training set; None if the file
            has none.
        quantile: the share of training images within the threshold.
        unusual: the second mark; None if the file has none.
        profile: what drift is measured by; None if the file has none.
        trained_on: the training images; None if the file does not list them.
        set_rule: how conformal sets are made; None if the file does not say.
        thresholds: the confidence from which on a share of the answers is right, by that share.
        group_promises: ``set_rule`` and ``thresholds`` for groups of images, and their ``answer``;
            None if the file has none.

    Raises:
        BackboneError: the file is missing, damaged, not a classifier that Headstart wrote or of a
            newer version, or its features on this machine differ from those at export.
    """

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu") -> None:
        path = Path(path)
        if not is_file(path):
            raise BackboneError(
                f"no model at {one_line(path)}; train one with: headstart train-heads"
            )
        seal.check(path)
        self.path = path
        takes_features = describe(path).is_imported
        self._runner = (
            FeatureRunner(path, device) if takes_features else Runner(path, device, batch=None)
        )
        self.backbone = self._runner.backbone
        try:
            self.facts: dict[str, Any] = dict(json.loads(self._runner.metadata[MODEL_METADATA]))
            self.classes = tuple(map(str, self.facts["classes"]))
            self.target = str(self.facts.get("target", SINGLE_LABEL))
            self.label_thresholds = np.array(self.facts.get("thresholds", ()), np.float32)
            if self.target not in TARGETS or (
                self.target == MULTI_LABEL and len(self.label_thresholds) != len(self.classes)
            ):
                raise ValueError
            novelty = self.facts.get("novelty")
            self.threshold = float(novelty["threshold"]) if novelty else None
            second = novelty.get("unusual") if novelty else None
            self.unusual = Unusual(**second) if second else None
            self.trained_on = training_images.read(self._runner.metadata)
            text = self._runner.metadata.get(training_profile.KEY)
            k = len(self.classes)
            self.profile = TrainingProfile.from_text(text, k) if text else None
            self.quantile = float(novelty.get("quantile", QUANTILE)) if novelty else None
            promises = Promises.of(self.facts)
            self.set_rule, self.thresholds = promises.set_rule, promises.thresholds
            groups = self.facts.get("groups")
            self.group_promises = Promises.of(groups) if groups else None
        except (KeyError, TypeError, ValueError):
            raise BackboneError(
                f"{one_line(path)} is not a classifier that Headstart wrote; "
                "train one with: headstart train-heads"
            ) from None
        if isinstance(self._runner, Runner):
            runner = self._runner
            parity.check_metadata(runner.metadata, runner.embed, self.backbone.preprocess)

    @property
    def takes_features(self) -> bool:
        """Whether its input are features that another program computed, and not images."""
        return self.backbone.is_imported

    def check_images(self) -> None:
        """Raise an `InputError` if the model takes features: images cannot be embedded for it."""
        if self.takes_features:
            name = one_line(self.backbone.name.removeprefix(IMPORTED))
            raise InputError(
                f"the model takes features of {name}, which another program computes, not images;"
                " give it files of features: headstart predict MODEL FEATURES.npz"
            )

    def for_groups(self, answer: str) -> Promises:
        """Return what is promised of answers for groups of images, made by ``answer``.

        Raises:
            InputError: the model promises nothing of them.
        """
        own = self.group_promises
        if own is None:
            raise InputError(
                "the model has no thresholds for groups of images; train it again with --groups, or"
                " leave out --at and --sets"
            )
        if own.answer != answer:
            raise InputError(
                f"the model's thresholds for groups are for --group-answer {own.answer}; use it, or"
                " leave out --at and --sets"
            )
        return own

    def threshold_for(self, target: float, group_answer: str = "") -> float:
        """Return the confidence from which on a share ``target`` of the answers is right.

        ``group_answer`` is how groups of images get their answers, empty for single images.

        Raises:
            InputError: the model has no such threshold, or a class named `UNKNOWN`.
        """
        if self.target == MULTI_LABEL:
            raise InputError(
                "the model gives an image several labels, each with a threshold of its own; shares"
                " of right answers are for one class an image"
            )
        thresholds = self.for_groups(group_answer).thresholds if group_answer else self.thresholds
        if not thresholds:
            raise InputError(
                "the model has no thresholds for shares of right answers: no target was reached in"
                " training, or an earlier version trained it; train again with: headstart"
                " train-heads, or set a minimum confidence of your own"
            )
        if target not in thresholds:
            shares = ", ".join(f"{round(100 * share, 4):g}%" for share in sorted(thresholds))
            raise InputError(
                f"the model promises no {round(100 * target, 4):g}% of right answers; it has"
                f" thresholds for {shares}, see the operating points in its report; train with"
                " --targets for others, or set a minimum confidence of your own"
            )
        self.check_unknown()
        return thresholds[target]

    def check_decisions(self, sets: str, min_confidence: float, costs: Costs | None) -> None:
        """Raise an error if the model cannot make sets, or a minimum meets costs.

        Raises:
            InputError: it has no thresholds for sets, or gives an image several labels.
            UsageError: there are both ``costs`` and a minimum confidence.
        """
        if sets:
            self.answers.check_sets(self)
        if costs is not None and min_confidence > 0:
            raise UsageError("give costs, or a minimum confidence or target, not both")

    def sets(
        self, probabilities: NDArray[np.floating], kind: str, group_answer: str = ""
    ) -> list[tuple[str, ...]]:
        """Return the conformal set of each image, most probable class first; empty without one.

        ``kind`` is one of `headstart.core.choices.SETS`, or empty for none; ``group_answer`` as for
        `threshold_for`.
        """
        if not kind:
            return [()] * len(probabilities)
        rule = self.for_groups(group_answer).set_rule if group_answer else self.set_rule
        if rule is None:
            return [()] * len(probabilities)
        masks = rule.sets(probabilities, kind)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return [
            tuple(self.classes[code] for code in ranked if mask[code])
            for ranked, mask in zip(order.tolist(), masks, strict=True)
        ]

    def check_unknown(self) -> None:
        """Raise an `InputError` if a class is named like the answer to an image left open."""
        if UNKNOWN in self.classes:
            raise InputError(
                f"the model has a class named {UNKNOWN}, so a minimum confidence would be"
                " ambiguous; omit it and use the confidence of each row"
            )

    def decode(self, data: bytes, seconds: int | None = None) -> NDArray[np.uint8]:
        """Decode an image file into ``(h, w, 3) uint8``; see `headstart.datasets.images.decode`."""
        self.check_images()
        return images.decode(data, self.backbone.preprocess, seconds)

    def predict(self, crops: NDArray[Any]) -> NDArray[np.float32]:
        """Return the ``(n, k)`` class probabilities of ``(n, h, w, 3) uint8`` images.

        A model that `takes_features` gets ``(n, d) float32`` features.
        """
        return self._runner.infer(PROBABILITIES, crops)

    def answer(self, crops: NDArray[Any]) -> Answers:
        """Return probabilities, features and distances; ``crops`` as for `predict`."""
        if self.threshold is None:
            scores, features = self._runner.outputs((PROBABILITIES, OUTPUT), crops)
            return Answers(scores, features, np.full(len(crops), np.nan, np.float32))
        scores, features, distance = self._runner.outputs((PROBABILITIES, OUTPUT, DISTANCE), crops)
        # Rounding makes the distance to the same image negative; NaN stays.
        return Answers(scores, features, np.maximum(distance, 0))

    @property
    def answers(self) -> Any:  # noqa: ANN401 - a module
        """What probabilities say of an image: a module of `headstart.models.answers`."""
        return targets.by_name(self.target).part("answers")

    @property
    def batch(self) -> int:
        """The batch size on this device."""
        return self._runner.batch
