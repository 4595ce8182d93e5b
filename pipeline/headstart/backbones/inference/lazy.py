"""A backbone whose session opens when the first image needs it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from headstart.backbones.inference import parity
from headstart.backbones.inference.description import read_backbone, read_metadata
from headstart.backbones.inference.runner import Runner, device_name, provider_name


class LazyRunner:
    """A `Runner` that opens its session when `runner` or `drift` is first read.

    The file's description is read at once. Threads may share the object.
    """

    def __init__(self, model: Path, device: str = "cpu", batch: int | None = None) -> None:
        self._model, self._device, self._batch = model, device, batch
        self.metadata = read_metadata(model)
        self.backbone = read_backbone(self.metadata, model)

    @cached_property
    def runner(self) -> Runner:
        """The opened backbone."""
        return Runner(self._model, self._device, batch=self._batch)

    @cached_property
    def drift(self) -> parity.Drift:
        """How far this machine's features are from the exporter's; see `parity.check_metadata`."""
        return parity.check_metadata(self.metadata, self.runner.embed, self.backbone.preprocess)

    @property
    def provider(self) -> str:
        """The onnxruntime provider that runs the backbone, or would run it."""
        return self.runner.provider if "runner" in vars(self) else provider_name(self._device)

    @property
    def device(self) -> str:
        """The processor's name."""
        return device_name(self._device)

    @property
    def batch(self) -> int:
        """Images in one inference; 0 if the session decides that and is not open yet."""
        return self.runner.batch if "runner" in vars(self) else self._batch or 0
