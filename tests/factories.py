"""Builders that tests share: small real images, a tiny real network, rows of features.

Import them by name (``from factories import backbone, feature_set``). Fixtures in ``conftest.py``
wrap those that need a folder.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from headstart.backbones.inference import parity
from headstart.backbones.inference.description import (
    HEAD_INPUT,
    INPUT,
    LABEL,
    LABELS,
    METADATA,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
)
from headstart.backbones.inference.runner import Runner
from headstart.core import sandbox, training_profile
from headstart.core.errors import HeadstartError
from headstart.core.onnx_format import any_size
from headstart.core.records import Backbone, Extraction, FeatureSet, Preprocess
from headstart.core.remarks import remark
from headstart.core.results import (
    Comparison,
    CurvePoint,
    DuplicateSummary,
    HeadResult,
    Insights,
    LabelErrorSummary,
    LearningCurve,
    Remark,
)
from headstart.core.targets import MULTI_LABEL
from headstart.core.training_profile import TrainingProfile
from headstart.heads.folds import stratified_folds
from headstart.heads.training_set import TrainingSet
from headstart.models import seal, training_images
from headstart.models.bundle.joining import add_distance
from headstart.models.novelty import Reference
from onnx import TensorProto, compose, helper, numpy_helper
from PIL import Image

TINY_DIM = 12
TINY_CROP = 32
TINY_REFERENCE = np.eye(1, TINY_DIM, dtype=np.float16)  # the one image it was trained on
TINY_THRESHOLD = 0.5
CLASSES = ["hat", "pants", "shirt"]
CONFUSION = [[8, 0, 2], [1, 9, 0], [3, 0, 7]]
TITLES = {
    "linear-svm": "linear SVM",
    "rbf-svm": "RBF SVM",
    "knn": "kNN",
    "most-frequent": "most frequent class",
}
_OPSETS = [helper.make_opsetid("", 18)]
_IR_VERSION = 10


def backbone(**changes: Any) -> Backbone:
    """Return the description of a small backbone; keywords replace its fields."""
    described = Backbone(
        name="tiny",
        source="seeded random weights",
        weights_sha256="00" * 32,
        licence="Apache-2.0",
        layer="conv",
        pool="avg",
        precision="fp32",
        dim=TINY_DIM,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        preprocess=Preprocess(resize=36, crop=TINY_CROP, interpolation="bicubic"),
    )
    return dataclasses.replace(described, **changes)


def feature_set(
    labels: Any = None,
    *,
    n: int = 60,
    k: int = 3,
    d: int = 8,
    spread: float = 1.0,
    seed: int = 0,
    split: Any = "",
    **changes: Any,
) -> FeatureSet:
    """Return rows of k Gaussian classes, as a store gives them; keywords replace its fields.

    Args:
        labels: ``(n,)`` codes; by default the classes take turns.
        n: images, when no labels are given.
        k: classes.
        d: features per image.
        spread: standard deviation of a class around its centre; the centres' own is 3.
        seed: of the draw.
        split: one name for all, or n names.
    """
    rng = np.random.default_rng(seed)
    codes = np.arange(n, dtype=np.int32) % k if labels is None else np.asarray(labels, np.int32)
    n = len(codes)
    centres = rng.normal(0, 3, (max(k, 1), d))
    features = (centres[codes] + rng.normal(0, spread, (n, d))).astype(np.float32)
    hashes = [hashlib.sha256(f"{seed}/{row}".encode()).digest() for row in range(n)]
    extraction = Extraction(backbone(dim=d))
    data = FeatureSet(
        features=features,
        path=[f"{row}.jpg" for row in range(n)],
        label=codes,
        split=[split] * n if isinstance(split, str) else list(split),
        sha256=np.frombuffer(b"".join(hashes), np.uint8).reshape(n, 32),
        classes=tuple(f"class {code}" for code in range(k)),
        extraction=extraction.to_json(),
        digest=extraction.digest,
        pixels=None,
        failures=[],
        name="gaussians",
    )
    return dataclasses.replace(data, **changes)


def label_sets(
    labels: Any = None, *, n: int = 120, k: int = 3, d: int = 12, seed: int = 0, **changes: Any
) -> FeatureSet:
    """Return rows of images with several labels, each a direction; keywords replace fields.

    Args:
        labels: ``(n, k)`` of 1, 0 and -1; by default each label is drawn for a third of the images.
        n: images, when no labels are given.
        k: labels.
        d: features per image.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.random((n, k)) < 1 / 3 if labels is None else np.asarray(labels)
    sets = np.asarray(drawn, np.int8)
    n, k = sets.shape
    directions = rng.normal(0, 1, (k, d))
    features = (sets > 0) @ directions + rng.normal(0, 0.4, (n, d)) + 0.3
    names = tuple(f"label {code}" for code in range(k))
    data = feature_set(np.full(n, -1), k=k, d=d, seed=seed)
    facts = {"classes": names, "target": MULTI_LABEL, "label_sets": sets}
    own = dataclasses.replace(data, features=features.astype(np.float32), **facts)
    return dataclasses.replace(own, **changes)


def head_result(
    name: str, confusion: Sequence[Sequence[int]], verdict: str, **params: Any
) -> HeadResult:
    """Return the result of a head with these counts; its other scores are fixed figures.

    Args:
        name: of the head; its title is the same without hyphens.
        confusion: ``(k, k)`` counts, rows true.
        verdict: ``best``, ``tie``, ``worse`` or empty for a baseline.
        params: the chosen hyper-parameters.
    """
    n, k = sum(map(sum, confusion)), len(confusion)
    accuracy = sum(row[i] for i, row in enumerate(confusion)) / n
    against: dict[str, Any] = {}
    if verdict in ("tie", "worse"):
        against = {"difference": -0.012, "difference_ci": (-0.03, 0.004)}
        against |= {"mcnemar_p": 0.07, "p": 0.21, "visible_difference": 0.031}
    return HeadResult(
        name=name,
        title=TITLES.get(name, name.replace("-", " ")),
        params=params,
        cv_accuracy=0.7912,
        cv_std=0.0123,
        test_accuracy=accuracy,
        test_accuracy_ci=(max(accuracy - 0.05, 0.0), min(accuracy + 0.04, 1.0)),
        macro_f1=0.7946,
        log_loss=0.4321,
        seconds=1.26,
        verdict=verdict,
        confusion=[list(row) for row in confusion],
        grid=[
            {"params": params, "cv_accuracy": 0.7912, "cv_std": 0.0123},
            {"params": dict.fromkeys(params, 0.5), "cv_accuracy": 0.55, "cv_std": 0.02},
        ],
        backbone="tiny-net" if verdict else "",
        balanced_accuracy=0.7777,
        roc_auc=0.9111,
        ece=0.0654,
        calibration_error=0.0543,
        calibration_chance=0.0321,
        intervals={
            **dict.fromkeys(("macro_f1", "log_loss")),
            **{"balanced_accuracy": (0.7, 0.84), "roc_auc": (0.88, 0.95)},
            "calibration_error": (0.03, 0.1),
        },
        per_class=dict.fromkeys(("precision", "recall", "f1"), [0.8] * k) | {"support": [1] * k},
        reliability={
            "images": [0, 10, n - 10],
            "confidence": [None, 0.6, 0.9],
            "accuracy": [None, 0.5, 0.95],
        },
        predict_seconds=0.0123,
        **against,
    )


def comparison(
    classes: Sequence[str] = CLASSES,
    confusion: Sequence[Sequence[int]] = CONFUSION,
    **changes: Any,
) -> Comparison:
    """Return a small, consistent comparison: three heads, two baselines, no learning curve."""
    k, n = len(classes), sum(map(sum, confusion))
    constant = [[0] * (k - 1) + [sum(row)] for row in confusion]
    extraction = Extraction(
        backbone(name="tiny-net", dim=8, preprocess=Preprocess(resize=256, crop=224))
    )
    described = Comparison(
        dataset={
            "name": "garments",
            "classes": list(classes),
            "images": {
                "train": dict.fromkeys(classes, 1200),
                "test": {name: sum(row) for name, row in zip(classes, confusion, strict=True)},
            },
            "n_images": 1200 * k + n,
            "failures": 2,
            "failure_reasons": {"truncated": 2},
            "test_split": "predefined",
        },
        extraction={"digest": extraction.digest, "document": extraction.to_json()},
        protocol={
            "folds": 5,
            "repeats": 1,
            "seed": 7,
            "validation": "cross-validation",
            "tuned_on": "5-fold cross-validation on train + validation",
            "n_train": 1200 * k,
            "n_test": n,
            "n_grouped": 0,
            "n_leaked": 0,
            "scored_on": "test split",
            "class_weight": "none",
            "scoring": "accuracy",
            "interval": "95 %, Wilson's",
            "test_split": "The test split came with the data set.",
        },
        heads=[
            head_result("linear-svm", confusion, "best", C=10.0),
            head_result("rbf-svm", confusion, "tie", C=1.0, gamma=0.3),
            head_result("knn", confusion, "worse", n_neighbors=5),
        ],
        baselines=[
            head_result("raw-pixels", constant, ""),
            head_result("most-frequent", constant, ""),
        ],
        best="linear-svm",
        best_backbone="tiny-net",
        backbones=[
            {
                "backbone": "tiny-net",
                "digest": extraction.digest,
                "document": extraction.to_json(),
                "dim": 8,
                "scores": {},
            }
        ],
        insights=insights(),
        warnings=[remark("HS324", "“hat” has few images.")],
        provenance={
            "software": {"numpy": "2.1.0"},
            "created": "2025-03-01T10:20:30+00:00",
            "machine": {"cores": 2},
            "command": "headstart train-heads g.h5 --out run",
            "inputs": "cd" * 32,
        },
    )
    return dataclasses.replace(described, **changes)


def texts(remarks: Iterable[Remark]) -> list[str]:
    """Return what remarks say."""
    return [remark.text for remark in remarks]


def results_document(*args: Any, **changes: Any) -> dict[str, Any]:
    """Return the document of `comparison`, as ``results.json`` holds it."""
    return comparison(*args, **changes).to_json()


def square(k: int, hits: int = 8) -> list[list[int]]:
    """Return counts: each class is recognised ``hits`` times and mistaken for the next twice."""
    return [[hits if i == j else 2 if j == (i + 1) % k else 0 for j in range(k)] for i in range(k)]


def prediction(path: str, true: str, predicted: str, probability: float) -> dict[str, str]:
    """Return a row of ``predictions.csv`` for the classes of `comparison`."""
    rest = (1 - probability) / (len(CLASSES) - 1)
    return {
        "path": path,
        "true": true,
        "predicted": predicted,
        "correct": str(int(true == predicted)),
        **{f"p:{name}": str(probability if name == predicted else rest) for name in CLASSES},
    }


def write_predictions(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write rows of `prediction` as ``predictions.csv``."""
    path = folder / "predictions.csv"
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, list(prediction("", "hat", "hat", 1.0)))
        writer.writeheader()
        writer.writerows(rows)


def insights(curve: LearningCurve | None = None) -> Insights:
    """Return insights that found nothing, and a learning curve or none."""
    return Insights(
        DuplicateSummary(0, 0, 0, 0, "the same bytes", [], []),
        LabelErrorSummary(3600, 0, "confident learning"),
        curve,
    )


def learning_curve(sizes: Sequence[float], head: str = "linear-svm") -> LearningCurve:
    """Return a rising curve through these numbers of images, without a fitted law."""
    points = [
        CurvePoint(images, images / 3, 0.6 + 0.05 * i, (0.5, 0.9)) for i, images in enumerate(sizes)
    ]
    return LearningCurve(head, "tiny-net", points, None, None)


def training_set(
    n: int = 600, d: int = 24, k: int = 5, spread: float = 1.0, folds: int = 5, seed: int = 0
) -> TrainingSet:
    """Return Gaussian classes with folds; a spread above 1 makes them overlap."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    features = rng.normal(size=(k, d))[labels] + spread * rng.normal(size=(n, d))
    return TrainingSet(
        features.astype(np.float32), labels, stratified_folds(labels, folds, seed), seed, workers=2
    )


def call_here(
    function: str,
    path: Path,
    *rest: Path,
    kind: sandbox.Kind = sandbox.STORE,
    options: Any = None,
) -> Any:
    """Do what `sandbox.call` does, in this process and without its limits."""
    module, _, name = function.partition(":")
    further = [] if options is None else [json.loads(json.dumps(options))]
    try:
        result = getattr(import_module(module), name)(path, *rest, *further)
    except HeadstartError as error:
        raise kind.error(str(error)) from None
    return json.loads(json.dumps(result))


def write_image(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
    """Write one image of coarse random colours; its format follows from its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_image(seed, size, path.suffix.lower()))
    return path


@functools.cache
def _image(seed: int, size: tuple[int, int], suffix: str) -> bytes:
    """Return the bytes of an image; a GIF takes milliseconds, and many tests write the same one."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    out = io.BytesIO()
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(out, Image.registered_extensions()[suffix])
    return out.getvalue()


def write_tiny_backbone(path: Path, seed: int = 20, **changes: Any) -> Path:
    """Write an ONNX backbone as `backbones.export` does, small enough to run in microseconds.

    ``seed`` draws its weights; keywords replace fields of its description.
    """
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.2, (TINY_DIM, 3, 5, 5)).astype(np.float32)
    constants = {
        "mean": np.full(3, 127.5, np.float32).reshape(1, 3, 1, 1),
        "std": np.full(3, 127.5, np.float32).reshape(1, 3, 1, 1),
        "kernel": kernel,
        "bias": rng.normal(0, 0.2, TINY_DIM).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
        helper.make_node("Conv", ["normalised", "kernel", "bias"], ["maps"], strides=[3, 3]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], [OUTPUT]),
    ]
    described = backbone(weights_sha256=hashlib.sha256(kernel.tobytes()).hexdigest())
    described = dataclasses.replace(described, **changes)
    shape = ["n", *described.preprocess.size, 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", TINY_DIM])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
    if described.preprocess.fit == "whole":
        any_size(model)
    metadata = {METADATA: json.dumps(dataclasses.asdict(described))}
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    proof = parity.issue(Runner(path).embed, described.preprocess)
    helper.set_model_props(model, metadata | {parity.METADATA: proof.to_json()})
    onnx.save(model, path)
    return path


def write_tiny_classifier(
    path: Path, tiny_backbone: Path, thresholds: Sequence[float] = ()
) -> Path:
    """Write a classifier of three classes on the tiny backbone, as `models.bundle` does.

    With ``thresholds`` an image may have several of them.
    """
    rng = np.random.default_rng(21)
    constants = {
        "weight": rng.normal(0, 9, (TINY_DIM, 3)).astype(np.float32),
        "intercept": np.zeros(3, np.float32),
    }
    nodes = [helper.make_node("Gemm", [HEAD_INPUT, "weight", "intercept"], ["scores"])]
    answer, shape = (LABELS, ["n", 3]) if thresholds else (LABEL, ["n"])
    if thresholds:
        constants["thresholds"] = np.array(thresholds, np.float32)
        nodes += [
            helper.make_node("Sigmoid", ["scores"], [PROBABILITIES]),
            helper.make_node("GreaterOrEqual", [PROBABILITIES, "thresholds"], ["reached"]),
            helper.make_node("Cast", ["reached"], [LABELS], to=TensorProto.INT64),
        ]
    else:
        nodes += [
            helper.make_node("Softmax", ["scores"], [PROBABILITIES], axis=1),
            helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=1, keepdims=0),
        ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(HEAD_INPUT, TensorProto.FLOAT, ["n", TINY_DIM])],
        [
            helper.make_tensor_value_info(answer, TensorProto.INT64, shape),
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    head = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
    trunk = onnx.load(tiny_backbone)
    model = compose.merge_models(trunk, head, io_map=[(OUTPUT, HEAD_INPUT)], name="classifier")
    model.graph.output.append(trunk.graph.output[0])
    add_distance(model, Reference(TINY_REFERENCE, 1, TINY_THRESHOLD, 0.99))
    metadata = {prop.key: prop.value for prop in trunk.metadata_props}
    facts = {"classes": ["bark", "cloth", "drain"], "novelty": {"threshold": TINY_THRESHOLD}}
    if thresholds:
        facts |= {"target": MULTI_LABEL, "thresholds": constants["thresholds"].tolist()}
    metadata[MODEL_METADATA] = json.dumps(facts)
    metadata[seal.KEY] = seal.blank()
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    seal.seal(path)
    return path


def with_facts(
    source: Path,
    out: Path,
    *,
    trained_on: np.ndarray | None = None,
    profile: TrainingProfile | None = None,
    **facts: Any,
) -> Path:
    """Write a copy of a classifier with other facts, and hashes of training images, ``(n, 32)``."""
    model = onnx.load(source)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    metadata[MODEL_METADATA] = json.dumps(json.loads(metadata[MODEL_METADATA]) | facts)
    if trained_on is not None:
        metadata[training_images.KEY] = training_images.encode(trained_on)
    if profile is not None:
        metadata[training_profile.KEY] = profile.to_text()
    helper.set_model_props(model, metadata | {seal.KEY: seal.blank()})
    onnx.save(model, out)
    seal.seal(out)
    return out
