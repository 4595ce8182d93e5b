"""Find pretrained networks by name, list them, and recover one from its description.

Networks come from providers (`headstart.backbones.provider.Provider`); `register` adds one. Once a
provider's list of networks is cached, looking a backbone up loads no library (see `catalogue`).
The functions of this package raise `headstart.core.errors.BackboneError` for a backbone, a file or
weights that they cannot use; the message says what to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headstart.backbones import bundled, catalogue, onnx_file
from headstart.backbones.bundled import BundledProvider
from headstart.backbones.candidate import Candidate
from headstart.backbones.catalogue import Entry
from headstart.backbones.keras_zoo import KerasProvider
from headstart.backbones.layers import OWN, PRE_LOGITS, Layer
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import import recipe
from headstart.backbones.provider import Provider
from headstart.backbones.timm_zoo import TimmProvider
from headstart.backbones.torchvision_zoo import TorchvisionProvider
from headstart.core.choices import QUALITIES
from headstart.core.errors import BackboneError, HeadstartError, near_matches, one_line
from headstart.core.records import RANDOM, Backbone, Choice, Preprocess

DEFAULT = bundled.NAME
_POOL = "avg"  # the default of every layer that can be pooled

_PROVIDERS: dict[str, Provider] = {}


def register(provider: Provider) -> None:
    """Offer the networks of a provider under its prefix, in this process.

    Raises:
        ValueError: the prefix is not valid, or belongs to a provider of another class.
    """
    prefix = provider.prefix
    existing = _PROVIDERS.get(prefix)
    if existing is not None and type(existing).__qualname__ != type(provider).__qualname__:
        raise ValueError(f"the prefix {prefix!r} belongs to {type(existing).__name__}")
    if ":" in prefix or prefix == onnx_file.NAME:
        raise ValueError(f"{prefix!r} cannot be the prefix of a provider; choose another one")
    _PROVIDERS[prefix] = provider


for _provider in (BundledProvider(), TorchvisionProvider(), TimmProvider(), KerasProvider()):
    register(_provider)


def provider_of(name: str) -> Provider:
    """Return the provider that a backbone's name belongs to."""
    provider = _PROVIDERS.get(_prefix(name))
    if provider is None:
        raise _unknown(name)
    return provider


def available(query: str = "", notice: Callable[[str], None] = lambda line: None) -> list[Entry]:
    """Return every backbone whose name, architecture or licence contains all words of a query.

    An empty query matches every backbone. ``notice`` receives a line for each provider that offers
    nothing because its library is not installed or cannot be used in this process.
    """
    entries: list[Entry] = []
    for prefix, provider in _PROVIDERS.items():
        try:
            entries += provider.list_entries()
        except HeadstartError as error:
            notice(f"without the networks of {prefix}: {error}")
    return catalogue.matching(entries, query)


def is_available(entry: Entry) -> bool:
    """Say whether a backbone's weights are on this machine."""
    return provider_of(entry.name).is_available(entry)


def find(choice: Choice | str) -> Candidate | Foreign:
    """Return the network that a user means, with its weights fetched but not loaded.

    ``onnx:PATH`` gives a `Foreign`, which is a graph already; every other name gives a `Candidate`.

    Raises:
        BackboneError: no backbone has that name, or its weights are missing or not the right ones.
    """
    choice = Choice(choice) if isinstance(choice, str) else choice
    if _prefix(choice.name) == onnx_file.NAME:
        if choice.quality:
            raise BackboneError(
                "--quality is for networks by name; give the size of images for an ONNX file with "
                "--preprocess PRESET:SIZE"
            )
        return onnx_file.find(choice)
    if choice.preprocess:
        raise BackboneError(
            "--preprocess is for ONNX files from elsewhere; the preprocessing of "
            f"{one_line(choice.name)} is known"
        )
    if choice.quality not in ("", *QUALITIES):
        raise BackboneError(
            f"no quality {one_line(choice.quality)!r}; use one of: {', '.join(QUALITIES)}"
        )
    provider = provider_of(choice.name)
    entries = provider.list_entries()
    entry = _pick(choice.name, entries)
    weights = provider.resolve(entry, choice.weights, entries)
    layer, *several = [
        "" if name == PRE_LOGITS else name for name in (choice.layer, *choice.layers)
    ]
    pool = "" if choice.pool == OWN else choice.pool
    if (layer, pool or _POOL) == provider.own_layer:
        layer, pool = "", ""
    rules = choice.value_range, choice.colour, choice.policy, choice.quality
    return Candidate(provider, entry, weights, layer, pool, tuple(several), *rules)


def layers_of(name: str, preprocess: str = "") -> list[Layer]:
    """Return the layers of a backbone, in the order in which it computes them.

    It needs no weights, because shapes do not depend on them. ``preprocess`` gives the image size
    of an ONNX file that takes any size; see `headstart.core.records.Choice`.
    """
    if _prefix(name) == onnx_file.NAME:
        return onnx_file.list_layers(name, preprocess)
    candidate = find(Choice(name, weights="random", preprocess=preprocess))
    assert isinstance(candidate, Candidate)
    return candidate.build().list_layers()


def choice_of(backbone: Backbone, weights_file: str = "") -> Choice:
    """Return the choice that gives a backbone again.

    ``weights_file`` is where the user's own weights or ONNX file were, if there were any.

    Raises:
        BackboneError: the weights or the file were the user's, and their location is unknown.
    """
    choice = _network_of(backbone, weights_file)
    rules = backbone.preprocess
    return dataclasses.replace(
        choice,
        value_range=rules.value_range,
        colour=rules.colour,
        policy=rules.policy,
        quality=rules.quality,
    )


def settled(choice: Choice, stored: Backbone | None = None) -> Choice:
    """Return a choice with values for the settings that its user left out.

    They are those of ``stored``, the backbone of a store that is continued, or else the network's
    defaults. A network that is a file has its layer already.

    Raises:
        BackboneError: no backbone has that name.
    """
    is_file = choice.name.endswith(".onnx") or _prefix(choice.name) == onnx_file.NAME
    if stored is not None:
        rules = stored.preprocess
        choice = dataclasses.replace(
            choice,
            value_range=choice.value_range or rules.value_range,
            colour=choice.colour or rules.colour,
            policy=choice.policy or (rules.policy if rules.policy != Preprocess.policy else 0),
            quality=choice.quality or ("" if is_file else rules.quality),
        )
    if choice.layer or choice.pool or choice.layers:
        return choice
    if is_file:
        return _continued(choice, stored)
    provider = provider_of(choice.name)
    name = _pick(choice.name, provider.list_entries()).name
    if stored is not None and stored.name.partition("+")[0] == name:
        return dataclasses.replace(choice, **_cut_of(stored))
    return dataclasses.replace(choice, layer=provider.default_layer)


def _continued(choice: Choice, stored: Backbone | None) -> Choice:
    """Return a file with the layer that its rows in a store have, whatever the default is now."""
    prefix, _, path = choice.name.partition(":")
    if stored is None or prefix != onnx_file.NAME or "#" in Path(path).name:
        return choice
    if stored.name != f"{onnx_file.NAME}:{one_line(Path(path).name)}":
        return choice
    return dataclasses.replace(choice, layer=stored.layer, pool=stored.pool)


def _network_of(backbone: Backbone, weights_file: str) -> Choice:
    if _prefix(backbone.name) == onnx_file.NAME:
        if not weights_file:
            raise BackboneError("it was made from an ONNX file of yours")
        name, layer, pool = f"onnx:{weights_file}", backbone.layer, backbone.pool
        return Choice(name, "", layer, pool, recipe.of(backbone))
    name, plus, weights = backbone.name.partition("+")
    if weights and plus + weights.partition(":")[0] != RANDOM:
        if not weights_file:
            raise BackboneError(
                f"its weights were a file by the user with SHA-256 {backbone.weights_sha256}"
            )
        weights = weights_file
    return Choice(name, weights, **_cut_of(backbone))


def _cut_of(backbone: Backbone) -> dict[str, Any]:
    """Return where a backbone is cut, as the fields of a `Choice`."""
    # Poolings differ only if the user chose none, which gave each layer its default.
    default = OWN in backbone.pool or "," in backbone.pool or backbone.pool == _POOL
    layers = tuple(part.layer for part in backbone.parts)
    layer = "" if layers else backbone.layer
    return {"layer": layer, "layers": layers, "pool": "" if default else backbone.pool}


def users_file(choice: Choice | str) -> str:
    """Return the path of the user's own weights or ONNX file; empty if there is none."""
    if isinstance(choice, str):
        choice = Choice(choice)
    if _prefix(choice.name) == onnx_file.NAME:
        return str(onnx_file.split(choice.name)[0])
    path = Path(choice.weights)
    return str(path.resolve()) if choice.weights and path.is_file() else ""


def _prefix(name: str) -> str:
    return name.partition(":")[0] if ":" in name else ""


def _pick(name: str, entries: list[Entry]) -> Entry:
    for entry in entries:
        if name == entry.name or (entry.default and name == entry.base):
            return entry
    raise _unknown(name)


def _unknown(name: str) -> BackboneError:
    entries = available()
    names = {entry.name for entry in entries} | {entry.base for entry in entries}
    last = name.rpartition(":")[2].lower()  # suggest other providers' first
    same = sorted(other for other in names if other.rpartition(":")[2].lower() == last)
    hint = f"did you mean {' or '.join(same)}; " if same else near_matches(name, names)
    return BackboneError(
        f"no backbone {one_line(name)!r}; {hint}all are listed by: headstart backbones; or give "
        "the path of an exported .onnx file"
    )
