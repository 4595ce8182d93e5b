"""A classifier that takes features instead of images: those that another program computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.backbones.inference.description import OUTPUT, read_backbone, read_metadata
from headstart.backbones.inference.runner import device_name, open_session
from headstart.core.errors import RunnerError, one_line


class FeatureRunner:
    """An open classifier of ``(n, d) float32`` features; many threads may share it.

    Its attributes and methods are those of `headstart.backbones.inference.runner.Runner`, with
    features in place of images.
    """

    batch = 1024

    def __init__(self, model: Path, device: str = "cpu") -> None:
        self.metadata: dict[str, str] = read_metadata(model)
        self._session = open_session(model, device)
        self.provider: str = self._session.get_providers()[0]
        self.device = device_name(device)
        self.backbone = read_backbone(self.metadata, model)

    def infer(self, output: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one output of the graph, by name, for ``(n, d) float32`` features.

        Raises:
            RunnerError: inference failed, or there is no such output.
        """
        return self.outputs((output,), rows)[0]

    def outputs(self, names: Sequence[str], rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return several outputs of the graph; the features themselves are one; see `infer`."""
        asked = [name for name in names if name != OUTPUT]
        parts: list[list[NDArray[np.float32]]] = []
        try:
            for start in range(0, max(1, len(rows)), self.batch):
                block = rows[start : start + self.batch]
                parts.append(self._session.run(asked, {OUTPUT: block}))
        except Exception as error:  # onnxruntime has its own exception types
            raise RunnerError(f"inference failed: {one_line(error)}") from error
        values = dict(zip(asked, map(np.concatenate, zip(*parts, strict=True)), strict=True))
        return [rows if name == OUTPUT else values[name] for name in names]
