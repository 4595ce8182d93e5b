"""Image towers of OpenCLIP (BioCLIP, SigLIP 2, …): ``open_clip:ORGANISATION/NAME[@REVISION]``.

The features are the tower's output, before it is normalised: what ``encode_image`` returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstart.backbones.catalogue import Entry
from headstart.backbones.hub import Repository
from headstart.backbones.hub_provider import HubProvider
from headstart.backbones.network import Network
from headstart.backbones.weights import Weights, fitting
from headstart.core.errors import BackboneError, missing_extra
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import import_timm

if TYPE_CHECKING:
    import torch

NAME = "open_clip"
EXTRA = "open-clip"
_TOWER = "visual."  # before the names of its tensors


class OpenClipProvider(HubProvider):
    """Everything with an ``open_clip_config.json``."""

    prefix = NAME
    packages = ("open_clip_torch",)
    extra = EXTRA
    config = "open_clip_config.json"
    files = (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin",
    )

    def architecture(self, config: dict[str, Any]) -> str:
        """Return a short name of the image tower."""
        tower = _tower(config)
        patch = f"ViT, patches of {tower.get('patch_size', 16)}"
        kind = "ResNet" if isinstance(tower.get("layers"), list) else patch
        return str(tower.get("timm_model_name") or kind) if tower else ""

    def input_size(self, repository: Repository, config: dict[str, Any]) -> tuple[int, int]:
        """Return the height and the width of the images that the tower takes."""
        size = _tower(config).get("image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        return int(height), int(width)

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build the image tower alone, as OpenCLIP does for a whole network."""
        model, transform = _import_open_clip()
        config = Repository(entry.repo, entry.revision).json(self.config)
        whole = config.get("model_cfg", config)
        vision = {**_tower(config), "timm_model_pretrained": False, "output_tokens": False}
        with fitting(weights, lambda network: ()) as tensors:
            tower = model._build_vision_tower(
                whole["embed_dim"], vision, whole.get("quick_gelu", False)
            ).eval()
            tower.load_state_dict(_of_tower(tensors))
        _mark_tokens(tower)
        base = dataclasses.asdict(transform.PreprocessCfg(size=tower.image_size))
        rules = transform.merge_preprocess_dict(base, config.get("preprocess_cfg") or {})
        return Network(
            module=tower,
            headless=lambda: tower,
            preprocess=preprocess(entry.name, rules),
            mean=_three(rules["mean"]),
            std=_three(rules["std"]),
        )


def _tower(config: dict[str, Any]) -> dict[str, Any]:
    whole = config.get("model_cfg", config)
    tower = whole.get("vision_cfg") if isinstance(whole, dict) else None
    return tower if isinstance(tower, dict) else {}


def _of_tower(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of the image tower, by their names within it."""
    tower = {
        key.removeprefix(_TOWER): value for key, value in tensors.items() if key.startswith(_TOWER)
    }
    return tower or dict(tensors)


def _mark_tokens(tower: Any) -> None:  # noqa: ANN401 - one of open_clip's classes
    """Say which tokens are no patches, as timm's networks do, for pooling at a layer."""
    inner = getattr(tower, "trunk", None)
    own = getattr(tower, "class_embedding", None) is not None
    tower.class_token = True if own or getattr(inner, "cls_token", None) is not None else None
    tower.num_prefix_tokens = getattr(inner, "num_prefix_tokens", int(own))


def preprocess(name: str, rules: dict[str, Any]) -> Preprocess:
    """Convert OpenCLIP's ``preprocess_cfg``; see ``image_transform`` there."""
    size = rules["size"]
    height, width = (size, size) if isinstance(size, int) else size
    crop = height if height == width else (height, width)
    squashed = rules["resize_mode"] == "squash"
    if not squashed and (rules["resize_mode"] != "shortest" or height != width):
        raise BackboneError(
            f"{name} fits images by {rules['resize_mode']!r} to {height} × {width}, which "
            "Headstart does not know; choose another backbone"
        )
    interpolation = "bilinear" if rules["interpolation"] == "bilinear" else "bicubic"
    return Preprocess(
        resize=(height, width) if squashed else height, crop=crop, interpolation=interpolation
    )


def _three(value: Any) -> tuple[float, float, float]:  # noqa: ANN401
    red, green, blue = value if isinstance(value, list | tuple) else (value,) * 3
    return float(red), float(green), float(blue)


def _import_open_clip() -> tuple[Any, Any]:
    import_timm()
    try:
        from open_clip import model, transform
    except ModuleNotFoundError as error:
        raise missing_extra("open_clip_torch", EXTRA) from error
    return model, transform
