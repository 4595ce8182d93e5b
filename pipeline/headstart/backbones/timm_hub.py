"""timm's networks in anybody's repository of the hub: ``timm:hf-hub:ORGANISATION/NAME[@REVISION]``.

The repository's ``config.json`` names the architecture, its arguments, the image size and the
normalisation, as timm's ``push_to_hf_hub`` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headstart.backbones import hub, layers
from headstart.backbones.catalogue import Entry
from headstart.core.errors import BackboneError, one_line
from headstart.core.torchvision_import import import_timm

if TYPE_CHECKING:
    import torch

PREFIX = f"timm:{hub.PREFIX}"
CONFIG = "config.json"
_FILES = (  # in timm's order; it takes the image tower out of those of OpenCLIP
    *("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors"),
    *("open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"),
)
_NOT_OF_IMAGES = ("global_pool", "model_args")  # in configurations of one level, as of timm 0.6
_CHANNELS = 3
_SIZE = (_CHANNELS, 224, 224)  # timm's default


def entry_of(name: str) -> Entry:
    """Return the network in a repository, named with its commit; loads no library but the hub's.

    Raises:
        BackboneError: it holds no network of timm's for images in colour, or cannot be fetched.
    """
    repository = hub.open_repository(name.removeprefix(PREFIX), [CONFIG])
    entry = entry_in(repository)
    if entry is None:
        raise BackboneError(
            f"{repository.name} holds no network of timm's: {CONFIG} names no architecture; try "
            f"transformers:{repository.name}"
        )
    return entry


def entry_in(repository: hub.Repository) -> Entry | None:
    """Return the network in a repository; None if it is another library's.

    Raises:
        BackboneError: it takes other images than those in colour, or cannot be fetched.
    """
    config = repository.json_or_none(CONFIG) or {}
    if not fits(config):
        return None
    channels, height, width = _input_size(repository, config)
    if channels != _CHANNELS:
        raise BackboneError(
            f"{repository.name} takes images of {channels} channels, not red, green and blue; "
            "choose another backbone"
        )
    return hub.entry(
        repository,
        _FILES,
        name=f"{PREFIX}{repository}",
        architecture=str(config["architecture"]),
        size=(height, width),
    )


def fits(config: dict[str, Any]) -> bool:
    """Say whether a ``config.json`` is of a network of timm's."""
    return isinstance(config.get("architecture"), str)


def _input_size(repository: hub.Repository, config: dict[str, Any]) -> tuple[int, int, int]:
    preprocessing = config.get("pretrained_cfg", config)
    arguments = config.get("model_args") or {}
    try:
        channels, height, width = map(int, preprocessing.get("input_size") or _SIZE)
        channels = int(arguments.get("in_chans") or channels)
    except (AttributeError, TypeError, ValueError) as error:
        raise BackboneError(
            f"{CONFIG} of {repository.name} is broken: no input_size that timm writes"
        ) from error
    return channels, height, width


def arguments(entry: Entry, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what ``timm.create_model`` needs to build a repository's network.

    Raises:
        BackboneError: this release of timm does not know its architecture.
    """
    from torch import nn

    repository = hub.Repository(entry.repo, entry.revision)
    config, architecture, own = _configuration(repository)
    models, plain = import_timm("models"), architecture.partition(".")[0]
    if not models.is_model(plain):
        from importlib.metadata import version

        raise BackboneError(
            f"{repository.name} holds a network {one_line(architecture)!r}, which timm "
            f"{version('timm')} does not know; update timm, or choose another backbone"
        )
    # A configuration cannot name a class, so repositories leave this block out (UNI2, Virchow2).
    # Networks of other modules (EVA) have gated blocks of their own.
    takes_class = models.model_entrypoint(plain).__module__.endswith(".vision_transformer")
    if takes_class and _is_gated(tensors) and "mlp_layer" not in own:
        own = {**own, "mlp_layer": import_timm("layers").SwiGLUPacked, "act_layer": nn.SiLU}
    config["source"] = ""  # the overlay's tensors, not the folder's
    return {"model_name": architecture, "pretrained_cfg": config, **own}


def _configuration(repository: hub.Repository) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Return preprocessing, architecture and arguments, as timm reads them."""
    path = repository.path(CONFIG)
    assert path is not None  # it made the entry
    config, architecture, own = import_timm("models._hub").load_model_config_from_path(path.parent)
    if "pretrained_cfg" not in repository.json(CONFIG):
        own = {**(config.get("model_args") or {}), **own}
        config = {key: value for key, value in config.items() if key not in _NOT_OF_IMAGES}
    return config, architecture, own


def _is_gated(tensors: dict[str, torch.Tensor]) -> bool:
    """Say whether the first block halves its hidden features, as a gated linear unit does."""
    into, out = (tensors.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    return into is not None and out is not None and into.shape[0] == 2 * out.shape[1]


def vector(network: torch.nn.Module, size: tuple[int, int]) -> torch.nn.Module:
    """Return a module to ``(n, d)``, also if the configuration leaves the pooling to the user.

    Then it is the class token beside the mean of the patches, as the authors of Virchow2 advise, or
    the mean if there is no class token.
    """
    import torch

    with torch.inference_mode():
        shape = tuple(network(torch.zeros(1, _CHANNELS, *size)).shape[1:])
    if len(shape) not in (2, 3):
        return network
    layer = layers.layer_of(network, "", shape, size)
    pooling = layers.pooled(layer, "cls+avg" if layer.classed else "avg")
    return layers.cut(network, [layers.Tap("", pooling)])
