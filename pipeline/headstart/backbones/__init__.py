"""Pretrained networks by name. One small file a provider; each imports its library when used.

A provider is a module of this package with

- ``NAME``, what stands before the colon in its backbones' names; ``VERSIONED``, the distributions
  whose versions decide what it offers;
- ``entries()``, which asks its library for everything that it offers;
- ``build(entry, weights)``, which makes the `network.Network`;
- if it differs from other providers: ``resolve(entry, spec)`` to find weights, ``at_hand(entry)``
  and ``OWN_LAYER``; if its weights' own classifier can be had: ``classifier()``; if its library is
  optional: ``EXTRA``.

Looking a backbone up loads no library, once its provider was asked (`catalogue`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headstart.backbones import bundled, cache, catalogue, onnx_file, weights
from headstart.backbones.catalogue import Entry
from headstart.backbones.layers import OWN, PRE_LOGITS, Layer
from headstart.backbones.network import Candidate
from headstart.backbones.onnx_file import Foreign
from headstart.backbones.onnx_import import recipe
from headstart.core.errors import (
    BackboneError,
    HeadstartError,
    missing_extra,
    near_matches,
    one_line,
)
from headstart.core.records import RANDOM, Backbone, Choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


DEFAULT = bundled.NAME

_PROVIDERS = {
    "": "bundled",
    "torchvision": "torchvision_zoo",
    "timm": "timm_zoo",
    "keras": "keras_zoo",
}


def available(query: str = "", notice: Callable[[str], None] = lambda line: None) -> list[Entry]:
    """Return every backbone whose name, architecture or licence holds the words of a query.

    Args:
        query: words; empty matches all.
        notice: receives a line for each provider that offers nothing, because its library is not
            installed or cannot be used in this process.
    """
    found: list[Entry] = []
    for prefix in _PROVIDERS:
        try:
            found += _entries(prefix)
        except HeadstartError as error:
            notice(f"without the networks of {prefix}: {error}")
    return catalogue.matching(found, query)


def at_hand(entry: Entry) -> bool:
    """Say whether a backbone's weights are on this machine."""
    provider = _provider(_prefix(entry.name))
    if hasattr(provider, "at_hand"):
        return bool(provider.at_hand(entry))
    return cache.cached(entry) is not None


def find(choice: Choice | str) -> Candidate | Foreign:
    """Return the network that a user means, with its weights fetched but not loaded.

    ``onnx:PATH`` is a `Foreign`, a graph already; everything else is a `Candidate`.

    Raises:
        BackboneError: there is none of that name (near matches are named), or its weights are
            neither here nor to be had, or not what they should be.
        HeadstartError: the provider's library is not installed.
    """
    choice = Choice(choice) if isinstance(choice, str) else choice
    prefix = _prefix(choice.name)
    if prefix == onnx_file.NAME:
        return onnx_file.find(choice)
    if choice.preprocess:
        raise BackboneError(
            f"--preprocess is for ONNX files by others; {one_line(choice.name)} brings its own"
        )
    if prefix not in _PROVIDERS:
        raise _unknown(choice.name)
    provider = _provider(prefix)
    entries = _entries(prefix)
    entry = _pick(choice.name, entries)
    if hasattr(provider, "resolve"):
        found: weights.Weights = provider.resolve(entry, choice.weights)
    else:
        relatives = [one for one in entries if one.architecture == entry.architecture]
        found = weights.resolve(entry, choice.weights, relatives)
    layer, *several = ["" if one == PRE_LOGITS else one for one in (choice.layer, *choice.layers)]
    pool = "" if choice.pool == OWN else choice.pool
    return Candidate(provider, entry, found, layer, pool, tuple(several))


def layers_of(name: str, preprocess: str = "") -> list[Layer]:
    """Return the layers of a backbone, in the order in which it computes them.

    Needs no weights: shapes do not depend on them.

    Args:
        name: of the backbone.
        preprocess: as in `headstart.core.records.Choice`, for the size of an ONNX file's images.

    Raises:
        BackboneError: there is none of that name, or its library cannot build it.
    """
    if _prefix(name) == onnx_file.NAME:
        return onnx_file.list_layers(name, preprocess)
    candidate = find(Choice(name, weights="random", preprocess=preprocess))
    assert isinstance(candidate, Candidate)
    return candidate.build().list_layers()


def choice_of(backbone: Backbone, weights_file: str = "") -> Choice:
    """Return what a user would ask for to get a backbone again.

    Args:
        backbone: its description.
        weights_file: where the user's weights, or ONNX file, were, if it had any.

    Raises:
        BackboneError: its weights were the user's, and nobody knows where they are.
    """
    layer, pool = backbone.layer, backbone.pool
    if _prefix(backbone.name) == onnx_file.NAME:
        if not weights_file:
            raise BackboneError("it was an ONNX file of the user's")
        return Choice(f"onnx:{weights_file}", "", layer, pool, recipe.of(backbone))
    name, plus, given = backbone.name.partition("+")
    if name == bundled.NAME and (layer, pool) == bundled.OWN_LAYER:
        layer, pool = "", ""
    if given and plus + given.partition(":")[0] != RANDOM:
        if not weights_file:
            raise BackboneError(
                f"its weights were a file by the user with SHA-256 {backbone.weights_sha256}"
            )
        given = weights_file
    if backbone.parts:
        # Poolings differ only where none was asked for: each layer has its default then.
        pool = "" if OWN in pool or "," in pool else pool
        return Choice(name, given, pool=pool, layers=tuple(part.layer for part in backbone.parts))
    return Choice(name, given, layer, pool)


def users_file(choice: Choice | str) -> str:
    """Return where the user's own weights or ONNX file is; empty if there is none."""
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
    known = {entry.name for entry in entries} | {entry.base for entry in entries}
    last = name.rpartition(":")[2].lower()  # the same architecture elsewhere is what is nearest
    same = sorted(one for one in known if one.rpartition(":")[2].lower() == last)
    hint = f"did you mean {' or '.join(same)}; " if same else near_matches(name, known)
    return BackboneError(
        f"no backbone {one_line(name)!r}; {hint}all are listed by: headstart backbones; or give "
        "the path of an exported .onnx file"
    )


def classifier(facts: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return the linear layer that a backbone's features went into when it was trained.

    Args:
        facts: the backbone's description in a store's extraction.

    Returns:
        weight ``(m, d)`` and bias ``(m,)`` of the logits of its own ``m`` classes; None where it is
        not at hand: another network than the embedded one, another layer than the last, missing
        weights.
    """
    published = facts.get("name") == bundled.NAME and (
        facts.get("weights_sha256") == bundled.WEIGHTS_SHA256
    )
    own = (facts.get("layer"), facts.get("pool")) == bundled.OWN_LAYER
    if not (published and own and bundled.weights_file()):
        return None
    return bundled.classifier()


def _provider(prefix: str) -> ModuleType:
    return importlib.import_module(f"headstart.backbones.{_PROVIDERS[prefix]}")


def _entries(prefix: str) -> list[Entry]:
    """Return what a provider offers.

    Raises:
        HeadstartError: its library is not installed, or cannot be used in this process.
    """
    provider = _provider(prefix)
    if provider is bundled:
        return [catalogue.with_facts(entry) for entry in bundled.entries()]
    try:
        versions = "-".join(version(name) for name in provider.VERSIONED)
    except PackageNotFoundError as error:
        package = one_line(error.name)
        if hasattr(provider, "EXTRA"):
            raise missing_extra(package, provider.EXTRA) from error
        raise HeadstartError(
            f"{package} is not installed; install it with: pip install {package}"
        ) from error
    return catalogue.kept(prefix, versions, lambda: list(provider.entries()))
