"""Image networks of transformers, ``transformers:ORGANISATION/NAME[@REVISION]`` (DINOv2, DINOv3).

The library builds the network and translates the names of old weights; code from a repository is
never run. Of a network of images and text, the image tower is taken.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from headstart.backbones.catalogue import Entry
from headstart.backbones.hub import Repository
from headstart.backbones.hub_provider import CHANNELS, HubProvider
from headstart.backbones.network import Network
from headstart.backbones.weights import Weights, read, seeded
from headstart.core.errors import BackboneError, missing_extra, one_line
from headstart.core.records import Preprocess
from headstart.core.torchvision_import import import_torchvision

if TYPE_CHECKING:
    import torch

NAME = "transformers"
EXTRA = "transformers"
_PROCESSOR, _PREPROCESSOR = "processor_config.json", "preprocessor_config.json"
_POOLER = ("pooler.", "head.")  # what checkpoints of pretraining leave out
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic", 1: "lanczos"}  # of Pillow, by number
_MISSING = 3  # names in a message


class TransformersProvider(HubProvider):
    """Networks of transformers that turn an image into tokens or maps."""

    prefix = NAME
    packages = ("transformers",)
    extra = EXTRA
    config = "config.json"
    files = ("model.safetensors", "pytorch_model.bin")

    def architecture(self, config: dict[str, Any]) -> str:
        """Return transformers' name of the kind of network; empty without a preprocessor."""
        kind = config.get("model_type")
        image = {"image_size", "patch_size", "vision_config", "depths"} & config.keys()
        return kind if isinstance(kind, str) and image else ""

    def input_size(self, repository: Repository, config: dict[str, Any]) -> tuple[int, int]:
        """Return the height and the width that the repository's preprocessor makes."""
        rules = _rules(repository)
        crop = rules.get("crop_size") if rules.get("do_center_crop") else None
        return _sides(crop or rules["size"])

    def build(self, entry: Entry, weights: Weights) -> Network:
        """Build a network as transformers does, with every tensor that the features need."""
        library = _import_transformers()
        repository = Repository(entry.repo, entry.revision)
        own = repository.json(self.config)
        _check_kind(library, repository, own)
        documents = {self.config: own, _PREPROCESSOR: _rules(repository)}
        with _quiet(), _folder(documents) as folder:
            config = library.AutoConfig.from_pretrained(folder, trust_remote_code=False)
            model, pooled = _load(library, config, weights)
            processor = library.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        rules = processor.to_dict()
        tower = _tower(model, pooled)
        return Network(
            module=tower,
            headless=lambda: tower,
            preprocess=preprocess(entry.name, rules, entry.size),
            mean=_three(rules["image_mean"], 0.0) if rules.get("do_normalize") else (0.0,) * 3,
            std=_three(rules["image_std"], 1.0) if rules.get("do_normalize") else (1.0,) * 3,
        )


def _rules(repository: Repository) -> dict[str, Any]:
    """Return what a repository says of how images are prepared, in the file that counts."""
    nested = (repository.optional(_PROCESSOR) or {}).get("image_processor")
    rules = nested if isinstance(nested, dict) else repository.json_or_none(_PREPROCESSOR)
    if rules is None:
        raise BackboneError(
            f"{repository.name} has no {_PREPROCESSOR}, so how it prepares images is not known; "
            "choose a repository of this network that has one"
        )
    return rules


def _check_kind(library: Any, repository: Repository, config: dict[str, Any]) -> None:  # noqa: ANN401
    """Refuse a kind of network that the library does not have, before it reads the weights."""
    kind = config["model_type"]
    if kind not in library.CONFIG_MAPPING:
        advice = "it may be newer, so update transformers"
        if "auto_map" in config:
            advice = "it comes with code of its own, which Headstart never runs"
        raise BackboneError(
            f"{repository.name} holds a network of the kind {one_line(kind)!r}, which transformers "
            f"{library.__version__} does not know; {advice}, or choose another backbone"
        )


@contextmanager
def _folder(documents: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a folder with these documents alone, whatever else is in the hub's cache: no code."""
    with TemporaryDirectory() as folder:
        for name, document in documents.items():
            plain = {key: value for key, value in document.items() if key != "auto_map"}
            Path(folder, name).write_text(json.dumps(plain), encoding="utf-8")
        yield folder


def _load(library: Any, config: Any, weights: Weights) -> tuple[torch.nn.Module, bool]:  # noqa: ANN401
    """Return the image network, and whether its own pooling has weights."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    if type(config) not in MODEL_MAPPING:
        raise BackboneError(f"transformers has no plain network of the kind {config.model_type!r}")
    kind: Any = MODEL_MAPPING[type(config)]
    missing: set[str] = set()
    if weights.path is None:
        with seeded(weights):
            model = kind(config)
    else:
        import torch

        tensors = read(weights.path)
        # The library's own choice is the type that the configuration names, which may be shorter.
        model, report = kind.from_pretrained(
            None, config=config, state_dict=tensors, output_loading_info=True, dtype=torch.float32
        )
        missing = {*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])}
    if hasattr(config, "vision_config"):
        model = model.vision_model
        missing = {key.partition("vision_model.")[2] for key in missing if "vision_model." in key}
    own = {key for key in missing if not key.startswith(_POOLER)}
    if own:
        shown = ", ".join(sorted(own)[:_MISSING])
        raise BackboneError(
            f"the weights in {one_line(weights.path)} do not fit this network: "
            f"{len(own):,} of its tensors are missing or of another shape: {one_line(shown)}"
        )
    return model.float().eval(), own == missing


def _tower(model: Any, pooled: bool) -> torch.nn.Module:  # noqa: ANN401
    """Return a module to features: the network's own pooling, or the class token, or the mean."""
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            out = self.model(pixel_values=image)
            own = getattr(out, "pooler_output", None) if pooled else None
            if own is not None:
                return own.flatten(1)  # type: ignore[no-any-return]
            tokens = out.last_hidden_state
            if tokens.dim() == 4:
                return tokens.mean((2, 3))  # type: ignore[no-any-return]
            return tokens[:, 0] if self.class_token else tokens.mean(1)  # type: ignore[no-any-return]

    tower = Tower().eval()
    embeddings = getattr(model, "embeddings", None)
    classed = any(
        getattr(embeddings, token, None) is not None for token in ("cls_token", "class_embedding")
    )
    registers = int(getattr(model.config, "num_register_tokens", 0) or 0)
    tower.class_token = True if classed else None  # type: ignore[assignment]
    tower.num_prefix_tokens = registers + 1 if classed else 0  # type: ignore[assignment]
    return tower


def preprocess(name: str, rules: dict[str, Any], crop: tuple[int, int]) -> Preprocess:
    """Convert what an image processor of transformers says of itself."""
    factor = rules.get("rescale_factor", 1 / 255)
    unknown = [
        key for key in ("do_pad", "do_flip_channel_order", "do_reduce_labels") if rules.get(key)
    ]
    if rules.get("do_rescale") and abs(factor * 255 - 1) > 1e-3:
        unknown.append("rescale_factor")
    if not rules.get("do_rescale", True) or unknown or not rules.get("do_resize", True):
        raise BackboneError(
            f"{name} prepares its images by {', '.join(unknown) or 'other steps'}, which Headstart "
            "does not know; choose another backbone"
        )
    size, share = rules["size"], rules.get("crop_pct")
    height, width = crop
    resize: int | tuple[int, int]
    if "shortest_edge" in size:
        side = int(size["shortest_edge"])
        resize = side
        if share and not rules.get("do_center_crop"):  # ConvNeXt's, which crops small sizes
            resize = int(side / share) if side < 384 else (height, width)
        elif not rules.get("do_center_crop"):
            raise BackboneError(f"{name} keeps the shape of each image; choose another backbone")
    else:
        resize = _sides(size)
    return Preprocess(
        resize=resize,
        crop=height if height == width else (height, width),
        interpolation=_RESAMPLING[int(rules.get("resample", 2))],
    )


def _sides(size: Any) -> tuple[int, int]:  # noqa: ANN401 - a number or a dictionary
    if not isinstance(size, dict):
        return int(size), int(size)
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _three(value: Any, default: float) -> tuple[float, float, float]:  # noqa: ANN401
    red, green, blue = value if value else (default,) * CHANNELS
    return float(red), float(green), float(blue)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the library's reports and bars of what it loads; what matters is an error here."""
    from transformers.utils import logging as library_logging

    bars: Any = library_logging  # its functions have no types
    logger = logging.getLogger(NAME)
    before, shows = logger.level, bars.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    bars.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)
        if shows:
            bars.enable_progress_bar()


def _import_transformers() -> Any:  # noqa: ANN401
    import_torchvision()
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise missing_extra("transformers", EXTRA) from error
    return transformers
