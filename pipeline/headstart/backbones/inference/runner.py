"""ONNX sessions: images in, features out, on the requested device."""

from __future__ import annotations

import io
import platform
import subprocess
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from headstart.backbones.inference import external_data
from headstart.backbones.inference.description import (
    INPUT,
    OUTPUT,
    output_names,
    read_backbone,
    read_metadata,
)
from headstart.core.cache import cached_file
from headstart.core.errors import RunnerError, one_line

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_FOLDER = "session.model_external_initializers_file_folder_path"
_INTEGER_UNITS = {"avx512_vnni", "avx_vnni", "amx_int8"}
CPU_BATCH = 4  # images in one inference of a core: weights are read once for all of them
GPU_BATCH = 64  # on a GPU: enough to fill it, 10 MB to upload
_GPU_RUNS = 2  # inferences under way at once on a GPU: one computes while another uploads


def open_session(
    model: Path | bytes, device: str = "cpu", threads: int = 1, folder: Path | None = None
) -> ort.InferenceSession:
    """Open an ONNX model, a file or its content, and make sure that it runs on the device.

    ``folder`` is where weights beyond the file's own are, see `external_data`. If several Python
    threads call `run`, one thread inside each inference is fastest.

    Raises:
        RunnerError: the device is unknown or not usable, or the model cannot be loaded.
    """
    provider = provider_name(device)
    if provider not in ort.get_available_providers():
        raise RunnerError(
            f"device {device} needs {provider}, which this onnxruntime lacks; "
            "install onnxruntime-gpu in place of onnxruntime, or use --device cpu"
        )
    if device != "cpu":
        # Load CUDA and cuDNN from their Python packages. What is missing is printed on stdout,
        # which belongs to results; the session reports it again.
        with redirect_stdout(io.StringIO()):
            ort.preload_dlls()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if folder is not None:
        options.add_session_config_entry(_FOLDER, str(folder))
    try:
        # As bytes, because onnxruntime takes only paths in UTF-8.
        content = model if isinstance(model, bytes) else model.read_bytes()
        session = ort.InferenceSession(content, options, providers=_with_options(device))
    except Exception as error:  # onnxruntime has its own exception types
        name = "the graph" if isinstance(model, bytes) else one_line(model)
        raise RunnerError(f"{name} cannot be loaded by onnxruntime: {one_line(error)}") from error
    if session.get_providers()[0] != provider:
        raise RunnerError(
            f"device {device} is not usable: the model would run on {session.get_providers()[0]}; "
            "check the driver and CUDA libraries, or use --device cpu"
        )
    return session


def provider_name(device: str) -> str:
    """Return onnxruntime's provider for a device; an unknown device is a `RunnerError`."""
    if device not in _PROVIDERS:
        raise RunnerError(f"no device {one_line(device)!r}; use one of: {', '.join(_PROVIDERS)}")
    return _PROVIDERS[device]


def _with_options(device: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers of a device with their options, the requested one first."""
    # Convolutions are not chosen by timing, and TF32 (10 bits) is off, so that an image gets the
    # same features in every run. ``--precision fp16`` trades bits for speed openly.
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})
    if device == "cuda":
        return [cuda]
    if device == "tensorrt":
        cache = cached_file("tensorrt", "engines").parent
        options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
        return [("TensorrtExecutionProvider", options), cuda]
    return [("CPUExecutionProvider", {})]


def device_name(device: str) -> str:
    """Return the name of a device's processor, as its maker calls it."""
    if device == "cpu":
        return _cpu_name()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    try:
        process = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return one_line(process.stdout.strip())
    except (OSError, subprocess.SubprocessError):  # not every machine has the driver's tool
        return "GPU 0"


def _cpu_name() -> str:
    return one_line(_cpu_fact("model name") or platform.processor() or platform.machine())


def has_integer_units() -> bool:
    """Say whether the processor has VNNI or AMX, with which int8 pays; False if it is unknown."""
    return not _INTEGER_UNITS.isdisjoint(_cpu_fact("flags").split())


def _cpu_fact(name: str) -> str:
    """Return what Linux says of the first processor; empty elsewhere."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:  # not Linux
        pass
    return ""


class Runner:
    """An exported backbone that embeds images; many threads may share it.

    Without a ``batch``, a GPU takes `GPU_BATCH` images at once, or as many as fit. A CPU takes
    `CPU_BATCH` if that does not change a bit of the features, else 1. Every batch on a GPU, and
    every given batch above 1, is filled up with black images, so that the arithmetic does not
    depend on the number of images.

    Attributes:
        provider: the onnxruntime provider that actually runs the model.
        device: the processor's name.
        metadata: the file's metadata, by key.
    """

    def __init__(
        self, model: Path, device: str = "cpu", threads: int = 1, batch: int | None = 1
    ) -> None:
        self.metadata: dict[str, str] = read_metadata(model)
        folder = external_data.folder_of(model, self.metadata)
        self._session = open_session(model, device, threads, folder)
        self.provider: str = self._session.get_providers()[0]
        self.device = device_name(device)
        self.backbone = read_backbone(self.metadata, model)
        self._features = output_names(self.backbone)
        self._turn = threading.Semaphore(_GPU_RUNS) if device != "cpu" else None
        self._exactly = batch is not None or device != "cpu"
        self._batch = batch
        self._lock = threading.Lock()

    @property
    def batch(self) -> int:
        """Images in one inference; unless given, inferences determine it when it is first read."""
        with self._lock:
            if self._batch is None:
                self._batch = self._cpu_batch() if self._turn is None else self._gpu_batch()
            return self._batch

    def _cpu_batch(self) -> int:
        """Return `CPU_BATCH` if features do not depend on the rest of the batch, else 1."""
        # Matrix products of more rows may add up in another order; convolutions do not.
        shape = (CPU_BATCH, *self.backbone.preprocess.size, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        together = self._run([OUTPUT], images)[0]
        single = np.concatenate([self._run([OUTPUT], image[np.newaxis])[0] for image in images])
        return CPU_BATCH if np.array_equal(together, single) else 1

    def _gpu_batch(self) -> int:
        """Return the largest batch that fits, halving `GPU_BATCH` as often as necessary."""
        # Found by trying: memory depends on the kernels, and others may use the GPU.
        # Images of many shapes rarely fill a large batch.
        batch = GPU_BATCH // 4 if self.backbone.preprocess.fit == "whole" else GPU_BATCH
        while True:
            try:
                self._run([OUTPUT], np.zeros((batch, *self.backbone.preprocess.size, 3), np.uint8))
                return batch
            except RunnerError:
                if batch == 1:
                    raise
                batch //= 2

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the ``(n, d) float32`` features of ``(n, h, w, 3) uint8`` RGB images.

        The features of several layers lie side by side, as `Backbone.parts` describes.
        """
        return self.infer(OUTPUT, images)

    def infer(self, output: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one output of the graph, by name, for ``(n, h, w, 3) uint8`` images.

        Raises:
            RunnerError: inference failed, or there is no such output.
        """
        return self.outputs((output,), images)[0]

    def outputs(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return several outputs of the graph from one inference; see `infer`."""
        alone = len(images) == 1 and not self._exactly
        if alone or not len(images) or self.batch == 1:
            return self._run(names, images)
        parts = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            count = len(part)
            if self._exactly and count < self.batch:
                part = np.pad(part, ((0, self.batch - count), *[(0, 0)] * (part.ndim - 1)))
            parts.append([values[:count] for values in self._run(names, part)])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def _run(self, names: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        several = OUTPUT in names and self._features != [OUTPUT]
        outputs = [n for name in names for n in (self._features if name == OUTPUT else [name])]
        try:
            if self._turn is None:
                values: list[NDArray[np.float32]] = self._session.run(outputs, {INPUT: images})
            else:
                with self._turn:
                    values = self._session.run(outputs, {INPUT: images})
        except Exception as error:  # onnxruntime has its own exception types
            raise RunnerError(f"inference failed: {one_line(error)}") from error
        if not several:
            return values
        by_name = dict(zip(outputs, values, strict=True))
        features = np.hstack([by_name[name] for name in self._features])
        return [features if name == OUTPUT else by_name[name] for name in names]
