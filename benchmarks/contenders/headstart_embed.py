"""Headstart end to end, and its bound. Opening the model is off the clock on every side."""

from __future__ import annotations

import csv
import math
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import alternate
import numpy as np
from headstart.backbones.inference import parity
from headstart.backbones.inference.runner import Runner
from headstart.core.parallel import available_cores
from headstart.datasets import images
from headstart.features.embed import EmbedConfig, embed


class Headstart:
    """Answers ``{"model", "device"}`` first, then ``{"paths", "setting"}`` with images per second.

    The setting ``bound`` is one core alone, of which several are as fast as they are many;
    ``apart`` is the same without that promise: a core's own speed. ``decoding`` and ``inference``
    are all cores, or the GPU, at nothing else.
    """

    model: Path | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the network, or embed images."""
        if self.model is None:
            self.model = Path(request["model"])
            self.device = request.get("device", "cpu")
            self.runner = Runner(self.model, self.device)
            return {"settings": [{"name": name} for name in ("headstart", "bound", "apart")]}
        paths = [Path(path) for path in request["paths"]]
        measure = {
            "headstart": self.embed,
            "bound": lambda paths: self.bound(paths) / available_cores(),
            "apart": self.bound,
            "decoding": self.decoding,
            "inference": self.inference,
        }[request["setting"]["name"]]
        return {"speed": len(paths) / measure(paths)}

    def embed(self, paths: list[Path]) -> float:
        """Return the seconds to list, embed and store images, less those to open the model."""
        assert self.model is not None
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "images.csv"
            with manifest.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["path", "label"])
                writer.writerows([path, ""] for path in paths)
            started = time.perf_counter()
            runner = Runner(self.model, self.device, batch=None)  # as `embed` opens it
            parity.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
            opened = time.perf_counter()
            config = EmbedConfig(str(self.model), device=self.device)
            summary = embed(str(manifest), Path(folder) / "store.h5", config)
            seconds = time.perf_counter() - opened - (opened - started)
        assert summary.embedded + summary.reused == len(paths), summary.failures
        return seconds

    def bound(self, paths: list[Path]) -> float:
        """Return the seconds that one thread takes to read, decode and infer images one by one."""
        preprocess = self.runner.backbone.preprocess
        started = time.perf_counter()
        crops = [images.decode(images.read_file(path)[0], preprocess) for path in paths]
        for crop in crops:
            self.runner.embed(crop[np.newaxis])
        return time.perf_counter() - started

    def decoding(self, paths: list[Path]) -> float:
        """Return the seconds of all cores to read, decode and resize images."""
        preprocess, started = self.runner.backbone.preprocess, time.perf_counter()
        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(lambda path: images.decode(images.read_file(path)[0], preprocess), paths))
        return time.perf_counter() - started

    def inference(self, paths: list[Path]) -> float:
        """Return the seconds of inference alone, as many batches at once as `embed` has."""
        runner = Runner(self.model, self.device, batch=None)
        crops = np.zeros((runner.batch, *runner.backbone.preprocess.size, 3), np.uint8)
        runner.embed(crops)
        share = len(paths) / runner.batch
        started = time.perf_counter()
        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(runner.embed, [crops] * math.ceil(share)))
        return (time.perf_counter() - started) * share / math.ceil(share)


if __name__ == "__main__":
    alternate.serve(Headstart().answer)
