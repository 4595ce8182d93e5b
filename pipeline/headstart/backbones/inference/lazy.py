"""A backbone whose session opens when the first image needs it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from headstart.backbones.inference import parity
from headstart.backbones.inference.description import read_backbone, read_metadata
from headstart.backbones.inference.runner import Runner, device_name, provider_name


class LazyRunner:
    """What `Runner` is, without a session until `runner` or `drift` is read; threads may share it.

    Attributes:
        backbone: what the file says of itself.
        metadata: everything that the file says of itself, by key.

    Raises:
        BackboneError: see `headstart.backbones.inference.description.describe`.
    """

    def __init__(self, model: Path, device: str = "cpu", batch: int | None = None) -> None:
        self._model, self._device, self._batch = model, device, batch
        self.metadata = read_metadata(model)
        self.backbone = read_backbone(self.metadata, model)

    @cached_property
    def runner(self) -> Runner:
        """The opened backbone.

        Raises:
            RunnerError: it cannot run on the device.
        """
        return Runner(self._model, self._device, batch=self._batch)

    @cached_property
    def drift(self) -> parity.Drift:
        """How far this machine's features are from the exporter's.

        Raises:
            BackboneError: too far; see `headstart.backbones.inference.parity.check_metadata`.
        """
        return parity.check_metadata(self.metadata, self.runner.embed, self.backbone.preprocess)

    @property
    def provider(self) -> str:
        """The onnxruntime provider that runs it, or would."""
        return self.runner.provider if "runner" in vars(self) else provider_name(self._device)

    @property
    def device(self) -> str:
        """The processor's name."""
        return device_name(self._device)

    @property
    def batch(self) -> int:
        """Images in one inference; 0 if that is left to the session and none was opened."""
        return self.runner.batch if "runner" in vars(self) else self._batch or 0
