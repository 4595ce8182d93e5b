"""torchvision's classification networks: ``torchvision:ARCHITECTURE[@WEIGHTS]``.

Sizes, interpolation, mean and standard deviation come from the weights' own transforms
(``torchvision/models/_api.py``). Weights that name no licence have torchvision's, BSD-3-Clause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headstart.backbones.catalogue import Entry, hash_in
from headstart.backbones.layers import before, classifier_of
from headstart.backbones.network import Network
from headstart.backbones.provider import Provider
from headstart.backbones.weights import Weights, fitting
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import EXTRA, import_torchvision

if TYPE_CHECKING:
    import torch

NAME = "torchvision"
_AUXILIARY = ("aux1", "aux2", "AuxLogits")  # classifiers that only training uses


class TorchvisionProvider(Provider):
    """Everything in ``torchvision.models`` for classification."""

    prefix = NAME
    packages = ("torchvision",)
    extra = EXTRA

    def entries(self) -> Iterator[Entry]:
        """Ask torchvision for everything that it publishes; loads torch."""
        models = import_torchvision().models
        for name in models.list_models(module=models):
            published = models.get_model_weights(name)
            for weights in published:
                transform, file = weights.transforms(), weights.url.rpartition("/")[2]
                accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
                yield Entry(
                    name=f"{NAME}:{name}@{weights.name}",
                    architecture=name,
                    size=(int(transform.crop_size[0]), int(transform.crop_size[-1])),
                    licence=weights.meta.get("license", "BSD-3-Clause"),
                    url=weights.url,
                    file=file,
                    sha256=hash_in(file),
                    accuracy=accuracy,
                    default=weights is published.DEFAULT,
                    parameters=weights.meta.get("num_params"),
                    gmacs=weights.meta.get("_ops"),
                )

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build a network as torchvision does for its weights."""
        models = import_torchvision().models
        enum = models.get_model_weights(entry.architecture)[entry.name.rpartition("@")[2]]
        classes = len(enum.meta["categories"])

        def heads(network: torch.nn.Module) -> list[str]:
            return [classifier_of(network, classes), *_AUXILIARY]

        with fitting(weights, heads) as tensors, _handing_out(models, tensors):
            network = models.get_model(entry.architecture, weights=enum).eval()
        transform = enum.transforms()
        return Network(
            module=network,
            headless=lambda: before(network, classifier_of(network, classes)),
            preprocess=preprocess(transform),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        )


def preprocess(transform: Any) -> Preprocess:  # noqa: ANN401 - ImageClassification
    """Convert the weights' own transforms to a `Preprocess`."""
    return Preprocess(
        resize=_size(transform.resize_size),
        crop=_size(transform.crop_size),
        interpolation=transform.interpolation.value,
    )


@contextmanager
def _handing_out(models: Any, tensors: dict[str, torch.Tensor]) -> Iterator[None]:  # noqa: ANN401
    """Give torchvision's builders these tensors in place of the published ones."""
    # Only a builder that is given weights uses their classes, image size and input transform, and
    # translates the names of old files.
    base = models._api.WeightsEnum
    original = base.get_state_dict
    base.get_state_dict = lambda *_, **__: tensors
    try:
        yield
    finally:
        base.get_state_dict = original


def _size(size: Sequence[int]) -> int | tuple[int, int]:
    """Read one number, or height and width, as ``Resize`` and ``CenterCrop`` do."""
    return int(size[0]) if len(size) == 1 else (int(size[0]), int(size[1]))
