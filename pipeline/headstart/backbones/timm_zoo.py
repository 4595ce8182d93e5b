"""timm's networks: ``timm:ARCHITECTURE[.TAG]``, as timm spells them, and those of `timm_hub`.

Sizes, interpolation, mean and standard deviation come from the transforms that timm makes of the
weights' configuration (``timm/data/transforms_factory.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from headstart.backbones import timm_hub
from headstart.backbones.catalogue import Entry, hash_in
from headstart.backbones.hub import Repository
from headstart.backbones.network import Network
from headstart.backbones.provider import Provider
from headstart.backbones.weights import Weights, fitting
from headstart.core.errors import BackboneError
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import EXTRA, import_timm

if TYPE_CHECKING:
    import torch

NAME = "timm"
_FILE = "model.safetensors"  # in the repositories of timm's authors
# Modules whose attention has five dimensions, which torch exports only step by step.
_FIVE_DIMENSIONS = ("hiera", "nest", "twins", "vision_transformer_sam")
_HARMLESS = {"MaybeToTensor", "ToTensor"}


class TimmProvider(Provider):
    """Everything that ``timm.create_model`` builds."""

    prefix = NAME
    packages = ("timm",)
    extra = EXTRA

    def entries(self) -> Iterator[Entry]:
        """Ask timm for all published weights, and for architectures without any; loads torch."""
        timm = import_timm()
        published = timm.list_models(pretrained=True)
        bare = set(timm.list_models()) - {name.partition(".")[0] for name in published}
        for name in [*published, *sorted(bare)]:
            config = timm.get_pretrained_cfg(name)
            architecture = name.partition(".")[0]
            size = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())["input_size"]
            repo = config.hf_hub_id or "" if name in published else ""
            file, url, sha256 = "", "", ""
            if repo:
                file = config.hf_hub_filename or _FILE
                url = f"https://huggingface.co/{repo}/resolve/main/{file}"
            elif name in published:
                url = config.url
                file = url.rpartition("/")[2]
                sha256 = hash_in(file)
            yield Entry(
                name=f"{NAME}:{name}",
                architecture=architecture,
                size=(int(size[1]), int(size[2])),
                licence=config.license or "",
                url=url,
                file=file,
                repo=repo,
                sha256=sha256,
                default=config.tag == timm.get_pretrained_cfg(architecture).tag,
            )

    def find(self, name: str) -> Entry | None:
        """Return the entry of a name, which may be that of a repository of the hub."""
        in_hub = name.startswith(timm_hub.PREFIX)
        return timm_hub.entry_of(name) if in_hub else super().find(name)

    def recognise(self, repository: Repository) -> str:
        """Return the name of the network of timm's in a repository; empty if there is none."""
        fits = timm_hub.fits(repository.json_or_none(timm_hub.CONFIG) or {})
        return f"{timm_hub.PREFIX}{repository}" if fits else ""

    def entry_in(self, repository: Repository) -> Entry | None:
        """Return the network of timm's in a repository; None if there is none."""
        return timm_hub.entry_in(repository)

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build a network as timm does for its weights."""
        timm = import_timm()
        from_hub = entry.name.startswith(timm_hub.PREFIX)
        with fitting(weights, _classifiers) as tensors:
            # Whatever the file was, timm knows or translates the names of these tensors.
            overlay = {"state_dict": tensors, "custom_load": False} if tensors else {}
            plain = {"model_name": entry.name.partition(":")[2]}
            arguments = timm_hub.arguments(entry, tensors) if from_hub else plain
            network = timm.create_model(
                pretrained=bool(tensors), pretrained_cfg_overlay=overlay, **arguments
            )
        network.pretrained_cfg.pop("state_dict", None)
        if type(network).__module__.rpartition(".")[2] in _FIVE_DIMENSIONS:
            for module in network.modules():
                if hasattr(module, "fused_attn"):
                    module.fused_attn = False
        config = timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg)
        network.eval().reset_classifier(0)
        prepared = preprocess(entry.name, timm.data.create_transform(**config).transforms)
        sizes = [prepared.size]

        def resize(size: tuple[int, int]) -> None:
            _resize(network, size)
            sizes[:] = [size]

        return Network(
            module=network,
            headless=lambda: timm_hub.vector(network, sizes[0]) if from_hub else network,
            preprocess=prepared,
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            resize=resize if hasattr(network, "set_input_size") else None,
        )


def _resize(network: Any, size: tuple[int, int]) -> None:  # noqa: ANN401 - one of timm's classes
    """Make a transformer take another size: its embeddings of positions are interpolated."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))
    if any(side % each for side, each in zip(size, patch, strict=True)):
        raise BackboneError(f"its patches are of {patch[0]} × {patch[1]}; use multiples of these")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the interpolation, about strides
        network.set_input_size(img_size=size)


def _classifiers(network: torch.nn.Module) -> Iterable[str]:
    config: Any = network.pretrained_cfg
    names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def preprocess(name: str, steps: Iterable[Any]) -> Preprocess:
    """Convert timm's own transforms; a `BackboneError` if `Preprocess` cannot express them."""
    by_kind = {type(step).__name__: step for step in steps}
    strange = by_kind.keys() - {"Resize", "CenterCrop", "Normalize", *_HARMLESS}
    if strange or not {"Resize", "CenterCrop"} <= by_kind.keys():
        raise BackboneError(
            f"{name} prepares its images by {', '.join(sorted(strange)) or 'other steps'}, which "
            "Headstart does not know; choose another backbone"
        )
    resize, crop = by_kind["Resize"].size, by_kind["CenterCrop"].size
    height, width = (int(side) for side in crop)
    try:
        return Preprocess(
            resize=int(resize) if isinstance(resize, int) else (int(resize[0]), int(resize[1])),
            crop=height if height == width else (height, width),
            interpolation=by_kind["Resize"].interpolation.value,
        )
    except ValueError as error:
        raise BackboneError(f"{name} prepares its images in an unknown way: {error}") from error
