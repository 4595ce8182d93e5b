"""Builders that tests share: small real images, a tiny real network, rows of features.

Import them by name (``from factories import backbone, feature_set``). Fixtures in ``conftest.py``
wrap those that need a folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from headstart.backbones.inference import parity
from headstart.backbones.inference.description import (
    HEAD_INPUT,
    INPUT,
    LABEL,
    METADATA,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
)
from headstart.backbones.inference.runner import Runner
from headstart.core.records import Backbone, Extraction, FeatureSet, Preprocess
from headstart.models import seal
from headstart.models.bundle.distance import add_distance
from headstart.models.novelty import Reference
from onnx import TensorProto, compose, helper, numpy_helper
from PIL import Image

TINY_DIM = 12
TINY_CROP = 32
TINY_REFERENCE = np.eye(1, TINY_DIM, dtype=np.float16)  # the one image it was trained on
TINY_THRESHOLD = 0.5
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


def write_image(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
    """Write one image of coarse random colours; its format follows from its suffix."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def write_tiny_backbone(path: Path) -> Path:
    """Write an ONNX backbone as `backbones.export` does, small enough to run in microseconds."""
    rng = np.random.default_rng(20)
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
    shape = ["n", TINY_CROP, TINY_CROP, 3]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", TINY_DIM])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
    described = backbone(weights_sha256=hashlib.sha256(kernel.tobytes()).hexdigest())
    metadata = {METADATA: json.dumps(dataclasses.asdict(described))}
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    proof = parity.issue(Runner(path).embed, described.preprocess)
    helper.set_model_props(model, metadata | {parity.METADATA: proof.to_json()})
    onnx.save(model, path)
    return path


def write_tiny_classifier(path: Path, tiny_backbone: Path) -> Path:
    """Write a classifier of three classes on the tiny backbone, as `models.bundle` does."""
    rng = np.random.default_rng(21)
    constants = {
        "weight": rng.normal(0, 9, (TINY_DIM, 3)).astype(np.float32),
        "intercept": np.zeros(3, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", [HEAD_INPUT, "weight", "intercept"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [PROBABILITIES], axis=1),
        helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(HEAD_INPUT, TensorProto.FLOAT, ["n", TINY_DIM])],
        [
            helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["n"]),
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
    metadata[MODEL_METADATA] = json.dumps(facts)
    metadata[seal.KEY] = seal.blank()
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    seal.seal(path)
    return path
