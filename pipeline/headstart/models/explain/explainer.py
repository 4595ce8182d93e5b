"""Maps of what speaks for a class, over the picture that a model sees.

`class-map` is the class activation map of Zhou, Khosla, Lapedriza, Oliva and Torralba, *Learning
Deep Features for Discriminative Localization* (CVPR 2016): the head's weights on the values
whose means are the features. Its mean and the bias add up to the class's evidence exactly. Scaling
rows to norm 1, and square roots, are in the weights, as they are for this image.

`ablation` asks any head what it would say if one place did not count in the means (after Desai and
Ramaswamy, *Ablation-CAM*, WACV 2020, by place instead of channel). `occlusion` covers parts of the
picture and asks the whole network (Zeiler and Fergus, *Visualizing and Understanding Convolutional
Networks*, ECCV 2014).

Evidence for one class of several is its log-probability minus the mean of all; for a label that an
image may have beside others, its log-odds. A linear SVM decides between pairs of classes: the
evidence of its exact map is the mean decision for a class against the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import INPUT, OUTPUT, PROBABILITIES
from headstart.backbones.inference.runner import open_session
from headstart.core.choices import EXPLAIN
from headstart.core.errors import InputError
from headstart.models.classifier import Classifier
from headstart.models.explain import graphs
from headstart.models.explain.pooling import Array, Part, Places, Window, fitting, places_of

CLASS_MAP, ABLATION, OCCLUSION = EXPLAIN
_CLOSE = 1e-3  # of evidence, relative to its size
_LEAST = 1e-30  # probability
_PROBES = 8  # rows that a linear head is checked on
_COVERED = 4  # a covered square has this part of the picture's side
_STEPS = 2  # by which it moves for its own side
_BATCH = 8


class Grid(NamedTuple):
    """Evidence by place, ``(h, w)``, over a window of the model's picture."""

    values: Array
    window: Window


@dataclass(frozen=True)
class Explanation:
    """What speaks for a class in a picture.

    Attributes:
        code: of the class.
        grids: maps whose means add up, with the ``bias``, to the ``evidence`` if they are exact.
        exact: whether they do.
        method: one of `core.choices.EXPLAIN`.
        side: height and width of the model's picture.
    """

    code: int
    grids: tuple[Grid, ...]
    bias: float
    evidence: float
    exact: bool
    method: str
    side: tuple[int, int]

    def heat(self) -> Array:
        """Return the map by pixel of the model's picture, ``(h, w)``."""
        height, width = self.side
        total = np.zeros(self.side)
        for values, (left, top, right, bottom) in self.grids:
            share = (right - left) * (bottom - top) / (height * width)
            rows, columns = (
                _spread(bottom - top, len(values)),
                _spread(right - left, values.shape[1]),
            )
            total[top:bottom, left:right] += rows @ values @ columns.T / share
        return total


def _spread(length: int, cells: int) -> Array:
    """Return ``(length, cells)`` weights that interpolate linearly between centres of cells."""
    places = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    weights: Array = np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(cells)))
    return weights


class Explainer:
    """Explains the answers of an open model.

    Attributes:
        method: one of `core.choices.EXPLAIN`.

    Raises:
        InputError: the model takes features, or the method does not fit it.
    """

    def __init__(self, model: Classifier, path: Path, method: str = "") -> None:
        model.check_images()
        self.model = model
        self._graphs = graphs.opened(path)
        self._whole = open_session(self._graphs.whole)
        self._head = open_session(self._graphs.head)
        averaged = self._graphs.features != OUTPUT
        self._pictures = len(model.backbone.preprocess.each_view) if averaged else 1
        self._parts = self._pooled_parts()
        self._linear = self._checked_linear()
        fitting = [CLASS_MAP] if self._parts and self._linear else []
        fitting += [ABLATION] if self._parts else []
        self.method = method or [*fitting, OCCLUSION][0]
        if self.method not in (*fitting, OCCLUSION):
            what = "its features are not means over places"
            if self._parts:
                what = "its head is not linear"
            raise InputError(
                f"{self.method} does not fit this model: {what}; leave out --explain-by, or "
                f"choose {[*fitting, OCCLUSION][0]}"
            )

    @property
    def pairwise(self) -> bool:
        """Whether evidence is the mean decision against the other classes."""
        return self.method == CLASS_MAP and bool(self._linear and self._linear.pairs)

    def explain(self, crop: NDArray[np.uint8], codes: list[int]) -> list[Explanation]:
        """Return a map for each class of an image, ``(h, w, 3) uint8``."""
        if self.method == OCCLUSION:
            return self._occluded(crop, codes)
        tensors = self._tensors(crop[np.newaxis])
        features = tensors[OUTPUT][0].astype(np.float64)
        places = list(
            places_of(self._parts, tensors, tensors[self._graphs.features], self._pictures)
        )
        evidence = self._evidence(tensors[PROBABILITIES])[0]
        if self.method == CLASS_MAP:
            weights, bias = self._effective(features)
            if self.pairwise:
                evidence = weights @ features + bias
            maps = [each.values @ weights[:, each.columns].T for each in places]
        else:
            bias = np.zeros(len(evidence))
            maps = [self._ablated(features, evidence, each) for each in places]
        side = crop.shape[0], crop.shape[1]
        windows = [each.window for each in places]
        if side != self.model.backbone.preprocess.size:  # it is the whole image
            windows = [(0, 0, side[1], side[0])] * len(places)
        exact = self.method == CLASS_MAP
        return [
            Explanation(
                code,
                tuple(
                    Grid(each[:, :, code], window)
                    for each, window in zip(maps, windows, strict=True)
                ),
                float(bias[code]),
                float(evidence[code]),
                exact,
                self.method,
                side,
            )
            for code in codes
        ]

    def _tensors(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return the tensors that maps are made of, by name."""
        own = (part.tensor for part in self._parts)
        names = list(dict.fromkeys([PROBABILITIES, OUTPUT, self._graphs.features, *own]))
        return dict(zip(names, self._whole.run(names, {INPUT: crops}), strict=True))

    def _effective(self, features: Array) -> tuple[Array, Array]:
        """Return weights ``(k, d)`` of the features of one image, and the bias ``(k,)``."""
        assert self._linear is not None
        (rows,) = self._head.run([self._linear.rows], {OUTPUT: features[np.newaxis].astype("f4")})
        row = rows[0].astype(np.float64)
        used = features != 0
        ratio = np.divide(row, features, out=np.zeros_like(features), where=used)
        return self._linear.weight * ratio, self._linear.bias

    def _ablated(self, features: Array, evidence: Array, own: Places) -> Array:
        """Return ``(h, w, k)`` evidence lost if a place did not count, times the places but one."""
        height, width, channels = own.values.shape
        flat, others = own.values.reshape(-1, channels), height * width - 1
        if not others:
            return np.zeros((1, 1, len(evidence)))
        rows = np.repeat(features[np.newaxis], len(flat), axis=0)
        rows[:, own.columns] += (flat.sum(axis=0) - flat) / others - flat.mean(axis=0)
        (answers,) = self._head.run([PROBABILITIES], {OUTPUT: rows.astype(np.float32)})
        lost: Array = (evidence - self._evidence(answers)) * others
        return lost.reshape(height, width, -1)

    def _occluded(self, crop: NDArray[np.uint8], codes: list[int]) -> list[Explanation]:
        height, width = crop.shape[:2]
        colour = crop.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
        boxes = [
            (top, bottom, left, right)
            for top, bottom in _windows(height)
            for left, right in _windows(width)
        ]
        pictures = np.repeat(crop[np.newaxis], len(boxes) + 1, axis=0)
        for picture, (top, bottom, left, right) in zip(pictures[1:], boxes, strict=True):
            picture[top:bottom, left:right] = colour
        answers = [
            self._whole.run([PROBABILITIES], {INPUT: pictures[start : start + _BATCH]})[0]
            for start in range(0, len(pictures), _BATCH)
        ]
        evidence = self._evidence(np.concatenate(answers))
        total, times = np.zeros((height, width, evidence.shape[1])), np.zeros((height, width, 1))
        for lost, (top, bottom, left, right) in zip(evidence[0] - evidence[1:], boxes, strict=True):
            total[top:bottom, left:right] += lost
            times[top:bottom, left:right] += 1
        heat, window = total / times, (0, 0, width, height)
        return [
            Explanation(
                code,
                (Grid(heat[:, :, code], window),),
                0.0,
                float(evidence[0, code]),
                False,
                self.method,
                (height, width),
            )
            for code in codes
        ]

    def _evidence(self, probabilities: NDArray[Any]) -> Array:
        """Return the evidence for each class, ``(n, k)``."""
        evidence: Array = self.model.answers.evidence(probabilities, _LEAST)
        return evidence

    def _pooled_parts(self) -> list[Part]:
        """Return the parts of the features that are means; none if they are not all."""
        names, side = self._graphs.pooled, self.model.backbone.preprocess.size
        if not names:
            return []
        crop = np.random.default_rng(0).integers(0, 256, (1, *side, 3), np.uint8)
        outputs = list(dict.fromkeys([self._graphs.features, *names]))
        values = dict(zip(outputs, self._whole.run(outputs, {INPUT: crop}), strict=True))
        features = values[self._graphs.features][0].astype(np.float64)
        start, height, parts = 0, side[0] // self._pictures, []
        for name in names:
            part = fitting(name, values[name], features, start)
            if part is None:
                return []
            parts.append(part._replace(window=(0, 0, side[1], height), height=height))
            start = part.columns.stop
        if start != len(features):
            return []
        if not (self.model.backbone.networks or self.model.backbone.preprocess.quality):
            return parts
        return [part._replace(window=self._window(part, crop)) for part in parts]

    def _window(self, part: Part, crop: NDArray[np.uint8]) -> tuple[int, int, int, int]:
        """Return the middle of the picture that a part looks at: changes outside it have no effect.

        The windows of networks that share a picture all lie in its middle.
        """
        (before,) = self._whole.run([part.tensor], {INPUT: crop})
        margins = []
        for axis in (1, 2):
            low, high = 0, crop.shape[axis] // 2
            while high - low > 1:
                margin = (low + high) // 2
                changed = np.moveaxis(crop.copy(), axis, 0)
                changed[:margin] = 255 - changed[:margin]
                changed[-margin:] = 255 - changed[-margin:]
                (after,) = self._whole.run([part.tensor], {INPUT: np.moveaxis(changed, 0, axis)})
                low, high = (margin, high) if np.array_equal(before, after) else (low, margin)
            margins.append(low)
        top, left = margins
        return left, top, crop.shape[2] - left, crop.shape[1] - top

    def _checked_linear(self) -> graphs.Linear | None:
        """Return the head's weights on the scale of evidence, if it is what they say."""
        linear = self._graphs.linear
        if linear is None:
            return None
        if linear.pairs:
            return linear if _decides(linear) else None
        dim = self.model.backbone.dim
        features = np.abs(np.random.default_rng(0).normal(size=(_PROBES, dim))).astype(np.float32)
        features *= np.logspace(-3, 0, _PROBES, dtype=np.float32)[:, np.newaxis]
        outputs = [PROBABILITIES, linear.rows]
        answers, rows = self._head.run(outputs, {OUTPUT: features})
        likely = answers.min(axis=1) > _LEAST  # others are rounded to nothing
        answers, rows = answers[likely], rows[likely]
        if not len(rows):
            return None
        relative = self.model.answers.relative
        weight, bias = relative(linear.weight), relative(linear.bias)
        evidence, values = self._evidence(answers), rows.astype(np.float64) @ weight.T + bias
        if evidence.shape != values.shape:
            return None
        for factor in (1.0, 0.5):  # of two classes, both rows may have the whole difference
            if np.abs(factor * values - evidence).max() <= _CLOSE * max(1, np.abs(evidence).max()):
                return graphs.Linear(linear.rows, factor * weight, factor * bias)
        return None


def _decides(linear: graphs.Linear) -> bool:
    """Return whether each class is the answer if all of its pairs are decided for it."""
    signs = 10 * graphs.pair_signs(len(linear.bias)).T.astype(np.float32)
    try:
        tail = open_session(linear.pairs)
        (answers,) = tail.run([PROBABILITIES], {tail.get_inputs()[0].name: signs})
    except Exception:  # of any kind: the probabilities come from other tensors, too
        return False
    wins: bool = (np.argmax(answers, axis=1) == np.arange(len(signs))).all()
    return answers.shape == (len(signs), len(signs)) and bool(wins)


def _windows(side: int) -> list[tuple[int, int]]:
    """Return the starts and ends of overlapping windows of a side."""
    size = max(1, side // _COVERED)
    step = max(1, size // _STEPS)
    starts = sorted({*range(0, side - size + 1, step), side - size})
    return [(start, start + size) for start in starts]
