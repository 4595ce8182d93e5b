"""Find pretrained networks by name, list them, and recover one from its description.

Networks come from providers (`headstart.backbones.provider.Provider`); `register` adds one. Once a
provider's list of networks is cached, looking a backbone up loads no library (see `catalogue`).
The functions of this package raise `headstart.core.errors.BackboneError` for a backbone, a file or
weights that they cannot use; the message says what to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from headstart.backbones import (
    bundled,
    catalogue,
    hub,
    joint,
    onnx_file,
    other_formats,
    stored_choice,
)
from headstart.backbones.bundled import BundledProvider
from headstart.backbones.candidate import Candidate
from headstart.backbones.catalogue import Entry
from headstart.backbones.keras_zoo import KerasProvider
from headstart.backbones.layers import OWN, PRE_LOGITS, LayerList, without_emptied, worth_trying
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import import recipe
from headstart.backbones.open_clip_zoo import OpenClipProvider
from headstart.backbones.provider import Provider
from headstart.backbones.stored_choice import choice_of as choice_of
from headstart.backbones.timm_zoo import TimmProvider
from headstart.backbones.torchvision_zoo import TorchvisionProvider
from headstart.backbones.transformers_zoo import TransformersProvider
from headstart.core.choices import AUTO, QUALITIES
from headstart.core.errors import BackboneError, HeadstartError, near_matches, one_line
from headstart.core.names import RANDOM
from headstart.core.records import Backbone, Choice, Preprocess

DEFAULT = bundled.NAME
_SPECIAL = (onnx_file.NAME, hub.PREFIX.rstrip(":"))  # prefixes that are no provider's

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
    if ":" in prefix or prefix in _SPECIAL:
        raise ValueError(f"{prefix!r} cannot be the prefix of a provider; choose another one")
    _PROVIDERS[prefix] = provider


for _provider in (
    BundledProvider(),
    TorchvisionProvider(),
    TimmProvider(),
    KerasProvider(),
    OpenClipProvider(),
    TransformersProvider(),
):
    register(_provider)


def provider_of(name: str) -> Provider:
    """Return the provider that a backbone's name belongs to."""
    provider = _PROVIDERS.get(_prefix(_resolved(name)))
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


def in_hub_cache(query: str = "") -> list[Entry]:
    """Return the networks whose weights are in the hub's cache, except those of `available`.

    Nothing is fetched. A query is as for `available`.
    """
    listed = {entry.repo for entry in available("", lambda line: None) if entry.repo}
    entries: list[Entry] = []
    with contextlib.suppress(HeadstartError):  # without the hub's library there are none
        for name, repository in hub.on_this_machine():
            if repository.name not in listed:
                entries += _entries_in(name, repository)
    return catalogue.matching(entries, query)


def _entries_in(name: str, repository: hub.Repository) -> Iterator[Entry]:
    """Yield the network in a repository of the hub's cache, if there is one and it is whole."""
    for provider in _PROVIDERS.values():
        with contextlib.suppress(HeadstartError):  # broken, or of no images in colour
            entry = provider.entry_in(repository)
            if entry is not None and provider.is_available(entry):
                full = entry.name.removesuffix(str(repository)) + name
                yield dataclasses.replace(entry, name=full)
                return


def is_available(entry: Entry) -> bool:
    """Say whether a backbone's weights are on this machine."""
    return provider_of(entry.name).is_available(entry)


def find(choice: Choice | str) -> Candidate | Foreign:
    """Return the network that a user means, with its weights fetched but not loaded.

    ``onnx:PATH`` gives a `Foreign`, which is a graph already; every other name gives a `Candidate`.

    Raises:
        BackboneError: no backbone has that name, or its weights are missing or not the right ones,
            or there are several, which `export` puts side by side.
    """
    choice = Choice(choice) if isinstance(choice, str) else choice
    if is_joint(choice):
        raise BackboneError(f"{one_line(choice.name)} is several networks; name one of them")
    if _is_foreign(choice):
        return onnx_file.find(choice)
    if choice.quality not in ("", *QUALITIES):
        raise BackboneError(
            f"no quality {one_line(choice.quality)!r}; use one of: {', '.join(QUALITIES)}"
        )
    entry = _pick(choice.name)
    provider = provider_of(entry.name)
    _check_preprocess(choice, bool(choice.weights) and not choice.weights.startswith("random"))
    weights = provider.resolve(entry, choice.weights, provider.list_entries())
    _check_preprocess(choice, not weights.published)
    prepared = recipe.read(choice.preprocess) if choice.preprocess else None
    layer, *several = [
        "" if name == PRE_LOGITS else name for name in (choice.layer, *choice.layers)
    ]
    pool = "" if choice.pool == OWN else choice.pool
    if (layer, pool or stored_choice.POOL) == provider.own_layer:
        layer, pool = "", ""
    rules = choice.value_range, choice.colour, choice.policy, choice.quality
    if choice.quality and choice.fit == "whole":
        raise BackboneError("--quality best shows a square; leave it or --fit whole out")
    fitted = choice.size, choice.fit == "whole"
    return Candidate(
        provider, entry, weights, layer, pool, tuple(several), *rules, *fitted, prepared
    )


def _check_preprocess(choice: Choice, own_weights: bool) -> None:
    """Refuse a preprocessing for weights whose own is known, or one that cannot be tried."""
    if choice.preprocess and not own_weights:
        raise BackboneError(
            "--preprocess is for network files from elsewhere and for --weights FILE; the "
            f"preprocessing of {one_line(choice.name)} is known"
        )
    if choice.preprocess == AUTO:
        raise BackboneError(
            f"--preprocess {AUTO} is for network files from elsewhere; name a preset for --weights"
        )


def is_joint(choice: Choice) -> bool:
    """Say whether a choice is several networks side by side, ``A+B``."""
    return bool(choice.networks or joint.split(choice.name, _is_spelt))


def members_of(choice: Choice) -> tuple[Choice, ...]:
    """Return the networks of a choice that `is_joint`, with what the user said for all of them.

    Raises:
        BackboneError: an option is of one network alone.
    """
    spec = choice.weights
    if spec and f"+{spec.partition(':')[0]}" != RANDOM:
        raise BackboneError(
            "--weights FILE is of one network; export that with its weights, and join the file "
            "with the others: --backbone A.onnx+B"
        )
    if choice.layer or choice.pool or choice.layers:
        raise BackboneError(
            "--layer and --pool are of one network; export each with its own, and join the files: "
            "--backbone A.onnx+B.onnx"
        )
    if choice.fit in ("pad", "whole"):
        raise BackboneError(
            f"--fit {choice.fit} is of one network; several side by side crop or squash"
        )
    names = joint.split(choice.name, _is_spelt)
    networks = choice.networks or tuple(Choice(name) for name in names)
    if choice.preprocess and not any(map(_is_foreign, networks)):
        raise BackboneError(f"--preprocess is for onnx:PATH, none of {one_line(choice.name)}")
    return tuple(
        dataclasses.replace(
            network,
            weights=network.weights or ("" if _is_file(network) else spec),
            preprocess=network.preprocess or (choice.preprocess if _is_foreign(network) else ""),
            value_range="",
            colour="",
            policy=0,
            quality=choice.quality,
            fit=choice.fit or network.fit,
            size=choice.size or network.size,
            views="",
        )
        for network in networks
    )


def layers_of(name: str, preprocess: str = "") -> LayerList:
    """Return the layers of a backbone, in the order in which it computes them.

    It needs no weights, because shapes do not depend on them. ``preprocess`` gives the image size
    of an ONNX file that takes any size; see `headstart.core.records.Choice`.
    """
    if _prefix(name) == onnx_file.NAME:
        return onnx_file.list_layers(name, preprocess)
    candidate = find(Choice(name, weights="random", preprocess=preprocess))
    assert isinstance(candidate, Candidate)
    network = candidate.build()
    layers = without_emptied(network.module, network.list_layers())
    default = candidate.provider.default_layer or PRE_LOGITS
    return LayerList(layers, default, worth_trying(layers))


def settled(choice: Choice, stored: Backbone | None = None) -> Choice:
    """Return a choice with values for the settings that its user left out.

    They are those of ``stored``, the backbone of a store that is continued, or else the network's
    defaults. A network that is a file has its layer already.

    Raises:
        BackboneError: no backbone has that name.
    """
    several = is_joint(choice)
    is_file = _is_file(choice) and not several
    if stored is not None:
        rules = stored.preprocess
        choice = dataclasses.replace(
            choice,
            value_range=choice.value_range or rules.value_range,
            colour=choice.colour or rules.colour,
            policy=choice.policy or (rules.policy if rules.policy != Preprocess.policy else 0),
            quality=choice.quality or ("" if is_file else rules.quality),
            fit=choice.fit or stored_choice.fit_of(stored),
            size=choice.size or (None if is_file else stored_choice.size_of(stored)),
            views=choice.views or rules.views,
        )
    if choice.layer or choice.pool or choice.layers:
        return choice
    if several:
        before = stored.networks if stored is not None else ()
        alone = (dataclasses.replace(network, quality="") for network in members_of(choice))
        networks = tuple(_cut_as_before(network, before) for network in alone)
        return dataclasses.replace(choice, networks=networks)
    return _cut_as_before(choice, () if stored is None else (stored,))


def _cut_as_before(choice: Choice, stored: Sequence[Backbone]) -> Choice:
    """Return one network with the layer that it has in a store, or else its default."""
    if _is_file(choice):
        continued = (_continued(choice, backbone) for backbone in stored)
        return next((each for each in continued if each != choice), choice)
    choice = dataclasses.replace(choice, name=_commit_of(choice.name, stored))
    name = _pick(choice.name).name
    for backbone in stored:
        if backbone.name.partition("+")[0] == name:
            return dataclasses.replace(choice, **stored_choice.cut_of(backbone))
    return dataclasses.replace(choice, layer=provider_of(name).default_layer)


def _commit_of(name: str, stored: Sequence[Backbone]) -> str:
    """Return a name in the hub with the commit that its rows in a store have, unless it has one."""
    if "/" not in name or "@" in name:
        return name
    for backbone in stored:
        pinned = backbone.name.partition("+")[0]
        plain = pinned.partition("@")[0]
        if name in (plain, hub.PREFIX + plain.rpartition(":")[2]):
            return pinned
    return name


def _continued(choice: Choice, stored: Backbone) -> Choice:
    """Return a file with the layer that its rows in a store have, whatever the default is now."""
    prefix, _, path = choice.name.partition(":")
    if prefix != onnx_file.NAME or "#" in Path(path).name:
        return choice
    if stored.name != f"{onnx_file.NAME}:{one_line(Path(path).name)}":
        return choice
    return dataclasses.replace(choice, layer=stored.layer, pool=stored.pool)


def users_file(choice: Choice | str) -> str:
    """Return the path of the user's own weights or ONNX file; empty if there is none.

    Of several networks it is the paths of all, for `choice_of`.
    """
    if isinstance(choice, str):
        choice = Choice(choice)
    if is_joint(choice):
        files = [users_file(network) for network in members_of(choice)]
        return stored_choice.BETWEEN.join(files) if any(files) else ""
    if _is_foreign(choice):
        return str(onnx_file.split(choice.name)[0])
    path = Path(choice.weights)
    return str(path.resolve()) if choice.weights and path.is_file() else ""


def _is_foreign(choice: Choice) -> bool:
    return _prefix(choice.name) == onnx_file.NAME


def _is_file(choice: Choice) -> bool:
    return choice.name.endswith(".onnx") or _is_foreign(choice)


def _is_spelt(name: str) -> bool:
    """Say whether a text without a ``+`` is spelt like a network or a file."""
    if joint.JOIN in name:
        return False
    if ":" in name or name.endswith(".onnx"):
        return _prefix(name) in {*_PROVIDERS, *_SPECIAL, ""}
    return name in [entry.name for entry in _PROVIDERS[""].list_entries()]


def _prefix(name: str) -> str:
    return name.partition(":")[0] if ":" in name else ""


def _pick(name: str) -> Entry:
    name = _resolved(name)
    entry = provider_of(name).find(name)
    if entry is None:
        raise _unknown(name)
    return entry


def _resolved(name: str) -> str:
    """Return a name with the provider whose networks the repository ``hf-hub:…`` holds."""
    if not name.startswith(hub.PREFIX):
        return name
    repository = hub.open_repository(name.removeprefix(hub.PREFIX), hub.CONFIGS)
    problem: BackboneError | None = None
    for provider in _PROVIDERS.values():
        try:
            recognised = provider.recognise(repository)
        except BackboneError as error:  # such as no network to ask for another library's file
            problem = problem or error
            continue
        if recognised:
            return recognised
    raise problem or BackboneError(
        f"{repository.name} holds no network of a library that Headstart knows"
    )


def _unknown(name: str) -> BackboneError:
    if Path(name).suffix in other_formats.WEIGHTS and Path(name).is_file():
        return BackboneError(f"{one_line(name)} {other_formats.weights(Path(name))}")
    repository = hub.repository_in(name)
    if repository:
        return BackboneError(
            f"no backbone {one_line(name)!r}; a repository of the Hugging Face hub is named "
            f"{hub.PREFIX}{repository}"
        )
    entries = available()
    names = {entry.name for entry in entries} | {entry.base for entry in entries}
    last = name.rpartition(":")[2].lower()  # suggest other providers' first
    same = sorted(other for other in names if other.rpartition(":")[2].lower() == last)
    hint = f"did you mean {' or '.join(same)}; " if same else near_matches(name, names)
    return BackboneError(
        f"no backbone {one_line(name)!r}; {hint}all are listed by: headstart backbones; or give "
        "the path of an exported .onnx file"
    )
