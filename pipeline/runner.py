"""ONNX sessions: images in, features out, on the device asked for. Sole user of onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.errors import BackboneError, RunnerError, one_line
from pipeline.images import POLICY
from pipeline.records import Backbone

INPUT = "image"
OUTPUT = "features"
METADATA = "headstart.backbone"
HEAD_INPUT = "head_X"
LABEL = "label"
PROBABILITIES = "probabilities"
MODEL_METADATA = "headstart.model"

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def is_file(path: Path) -> bool:
    """Say whether a path is a file; one that cannot be looked up is none."""
    try:
        return path.is_file()
    except OSError:  # no permission, or a name that is too long
        return False


def open_session(model: Path, device: str = "cpu", threads: int = 1) -> ort.InferenceSession:
    """Open an ONNX model and make sure that it runs where it should.

    Args:
        model: the file.
        device: ``cpu`` or ``cuda``.
        threads: threads inside one inference; with several sessions' worth of Python threads
            calling `run`, 1 is fastest.

    Raises:
        RunnerError: the device is unknown or not active, or the model cannot be loaded.
    """
    if device not in _PROVIDERS:
        raise RunnerError(f"no device {one_line(device)!r}; use one of: {', '.join(_PROVIDERS)}")
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise RunnerError(
            f"device {device} was asked for, but this onnxruntime has no {provider}; "
            "install onnxruntime-gpu or use --device cpu"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # As bytes, because onnxruntime takes no path that is not UTF-8.
        session = ort.InferenceSession(model.read_bytes(), options, providers=[provider])
    except Exception as error:  # onnxruntime raises its own, unrelated, exception types
        raise RunnerError(
            f"{one_line(model)} cannot be loaded by onnxruntime: {one_line(error)}"
        ) from error
    if session.get_providers()[0] != provider:
        raise RunnerError(
            f"device {device} was asked for, but the model runs on {session.get_providers()[0]}; "
            "check the driver and CUDA libraries, or use --device cpu"
        )
    return session


def read_backbone(metadata: Mapping[str, str], model: Path) -> Backbone:
    """Return the backbone that an ONNX file describes.

    Args:
        metadata: the file's metadata.
        model: the file, for messages.

    Raises:
        BackboneError: it describes none, or one made for other rules of decoding than this
            version's.
    """
    try:
        backbone = Backbone.from_json(json.loads(metadata[METADATA]))
    except (KeyError, TypeError, ValueError):
        raise BackboneError(
            f"{one_line(model)} is no file that Headstart wrote (its metadata lack {METADATA}); "
            "see: headstart export, headstart train-heads"
        ) from None
    if backbone.preprocess.policy != POLICY:
        raise BackboneError(
            f"{one_line(model)} was made for version {backbone.preprocess.policy} of the decoding "
            f"rules, and this Headstart has version {POLICY}; export it again"
        )
    return backbone


class Runner:
    """A backbone ready to embed; many threads may share one.

    Args:
        model: an ONNX file that `pipeline.export` wrote.
        device: ``cpu`` or ``cuda``.
        threads: threads inside one inference.

    Attributes:
        backbone: what the file says of itself.
        provider: the onnxruntime provider that really runs it.
        metadata: everything that the file says of itself, by key.

    Raises:
        BackboneError: the file is missing, carries no description by Headstart, or was made for
            other rules of decoding.
        RunnerError: it cannot run on the device.
    """

    def __init__(self, model: Path, device: str = "cpu", threads: int = 1) -> None:
        if not is_file(model):
            raise BackboneError(f"no backbone file at {one_line(model)}; see: headstart export")
        self._session = open_session(model, device, threads)
        self.provider: str = self._session.get_providers()[0]
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.backbone = read_backbone(self.metadata, model)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, d) float32`` features of ``(n, crop, crop, 3) uint8`` RGB images.

        Raises:
            RunnerError: inference failed.
        """
        return self.infer(OUTPUT, images)

    def infer(self, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one output of the graph, by name, for ``(n, crop, crop, 3) uint8`` images.

        Raises:
            RunnerError: inference failed, or there is no such output.
        """
        try:
            values: NDArray[np.float32] = self._session.run([output], {INPUT: images})[0]
        except Exception as error:  # onnxruntime raises its own, unrelated, exception types
            raise RunnerError(f"inference failed: {one_line(error)}") from error
        return values
