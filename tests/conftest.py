"""What the tests share: a cache of their own, a tiny real backbone, small real images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from headstart.backbones.inference import parity
from headstart.backbones.inference.runner import (
    HEAD_INPUT,
    INPUT,
    LABEL,
    METADATA,
    MODEL_METADATA,
    OUTPUT,
    PROBABILITIES,
    Runner,
)
from headstart.core.records import Backbone, Preprocess
from headstart.models import seal
from headstart.models.bundle.distance import add_distance
from headstart.models.novelty import Reference
from onnx import TensorProto, compose, helper, numpy_helper
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TINY_DIM = 12
TINY_CROP = 32
TINY_REFERENCE = np.eye(1, TINY_DIM, dtype=np.float16)  # the one image it was trained on
TINY_THRESHOLD = 0.5
IMAGE_SUFFIXES = ("jpg", "png", "webp", "bmp", "tif", "gif")
_OPSETS = [helper.make_opsetid("", 18)]
_IR_VERSION = 10


@pytest.fixture(scope="session", autouse=True)
def cache_home(request) -> Iterator[Path]:
    """Keep exported networks from one run to the next, processes that tests start included.

    An export costs 6 to 25 seconds, and its file name holds all that it depends on. Tests of the
    cache itself take `fresh_cache_home`.
    """
    home = Path(os.environ.get("HEADSTART_TEST_CACHE") or request.config.cache.mkdir("headstart"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture
def fresh_cache_home(tmp_path, monkeypatch) -> Path:
    """Give the test an empty cache folder."""
    home = tmp_path / "cache-home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give Chromium; tests that need it are skipped where it or Playwright is missing.

    Not for the session: Playwright keeps an event loop running, and other tests run their own.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Let interrupts through, to processes of tests too: shells keep them off jobs with &."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory) -> Path:
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
    backbone = Backbone(
        name="tiny",
        source="seeded random weights",
        weights_sha256=hashlib.sha256(kernel.tobytes()).hexdigest(),
        licence="Apache-2.0",
        layer="conv",
        pool="avg",
        precision="fp32",
        dim=TINY_DIM,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        preprocess=Preprocess(resize=36, crop=TINY_CROP, interpolation="bicubic"),
    )
    helper.set_model_props(model, {METADATA: json.dumps(dataclasses.asdict(backbone))})
    onnx.checker.check_model(model)
    path = tmp_path_factory.mktemp("backbone") / "tiny.onnx"
    onnx.save(model, path)
    proof = parity.issue(Runner(path).embed, backbone.preprocess)
    metadata = {METADATA: json.dumps(dataclasses.asdict(backbone))}
    helper.set_model_props(model, metadata | {parity.METADATA: proof.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def tiny_classifier(tiny_backbone, tmp_path_factory) -> Path:
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
    path = tmp_path_factory.mktemp("classifier") / "model.onnx"
    onnx.save(model, path)
    seal.seal(path)
    return path


@pytest.fixture(scope="session")
def write_image() -> Callable[..., Path]:
    """Give ``write_image(path, seed, size=(48, 40))``: one image, its format by its suffix."""

    def write(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> Path:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        return path

    return write


@pytest.fixture
def image_folder(tmp_path, write_image) -> Callable[..., Path]:
    """Give ``image_folder(name, classes, splits, per_class)``: images in every format we open.

    No two images are equal, and those of one class are not alike.
    """

    def make(
        name: str | Path = "photos",
        classes: Sequence[str] = ("bark", "cloth"),
        splits: Sequence[str] = ("train", "test"),
        per_class: int = len(IMAGE_SUFFIXES),
    ) -> Path:
        root = tmp_path / name
        seed = 0
        for split in splits:
            for label in classes:
                for index in range(per_class):
                    suffix = IMAGE_SUFFIXES[index % len(IMAGE_SUFFIXES)]
                    write_image(root / split / label / f"{index}.{suffix}", seed)
                    seed += 1
        return root

    return make


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., object]:
    """Give ``fresh_python(script, *arguments)``: run it in a new interpreter.

    The last line that the script prints is a JSON document, which is returned.
    """

    def run(script: str, *arguments: object) -> object:
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def clothing() -> Path:
    """Return the folder of the clothing photos; tests that need them are skipped without it."""
    default = Path(__file__).parents[2] / "shared" / "data" / "clothing"
    folder = Path(os.environ.get("HEADSTART_CLOTHING") or default)
    if not folder.is_dir():
        pytest.skip(f"no clothing photos at {folder}; set HEADSTART_CLOTHING to their folder")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Start one Ray cluster of two processors, which every `RayEngine` of the session then uses."""
    from headstart.core.parallel.ray_engine import RayEngine

    engine = RayEngine(count=2)
    assert engine.workers() == 2
    yield
    engine.close()
