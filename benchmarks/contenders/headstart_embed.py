"""Headstart end to end, and its bound. Opening the model is off the clock on every side."""

from __future__ import annotations

import csv
import tempfile
import time
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
    """Answers ``{"model"}`` first, then ``{"paths", "setting"}`` with images per second."""

    model: Path | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open the network, or embed images."""
        if self.model is None:
            self.model = Path(request["model"])
            self.runner = Runner(self.model)
            return {"settings": [{"name": "headstart"}, {"name": "bound"}]}
        paths = [Path(path) for path in request["paths"]]
        bound = request["setting"]["name"] == "bound"
        return {"speed": len(paths) / (self.bound(paths) if bound else self.embed(paths))}

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
            runner = Runner(self.model, batch=None)  # as `embed` opens it
            parity.check_metadata(runner.metadata, runner.embed, runner.backbone.preprocess)
            opened = time.perf_counter()
            summary = embed(str(manifest), Path(folder) / "store.h5", EmbedConfig(str(self.model)))
            seconds = time.perf_counter() - opened - (opened - started)
        assert summary.embedded + summary.reused == len(paths), summary.failures
        return seconds

    def bound(self, paths: list[Path]) -> float:
        """Return the seconds that images take if every core works as fast as one alone."""
        preprocess = self.runner.backbone.preprocess
        started = time.perf_counter()
        crops = [images.decode(images.read_file(path)[0], preprocess) for path in paths]
        for crop in crops:
            self.runner.embed(crop[np.newaxis])
        return (time.perf_counter() - started) / available_cores()


if __name__ == "__main__":
    alternate.serve(Headstart().answer)
