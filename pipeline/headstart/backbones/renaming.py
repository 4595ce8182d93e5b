"""Other names for the same tensors: prefixes of wrappers, and other implementations."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from headstart.core.errors import count

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("module.", "_orig_mod.")  # of torch's data-parallel and compile wrappers
_OWNERS = ("state_dict.", "model.", "backbone.")  # of what trained the network
_SHARE = 0.5  # of the tensors that a prefix must be of; the rest are of other parts


def without_prefixes(
    tensors: Mapping[str, torch.Tensor], notes: list[str] | None
) -> dict[str, torch.Tensor]:
    """Return tensors by the names that they have inside the network.

    No network of torchvision or timm has a part that is called like one of the prefixes. What
    stands beside a network, such as the head of another task, is left out. ``notes`` receives what
    was removed; without it only the prefixes of torch's wrappers are.
    """
    named: OrderedDict[str, Any] = OrderedDict()
    if hasattr(tensors, "_metadata"):
        named._metadata = tensors._metadata  # type: ignore[attr-defined]
    removed = []
    for name, tensor in tensors.items():
        for prefix in _WRAPPERS:
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                removed.append(prefix)
        named[name] = tensor
    if notes is None:
        return named
    lines = [f"the prefix {prefix} of names removed" for prefix in dict.fromkeys(removed)]
    while owner := _owner(named):
        inside = [name for name in named if name.startswith(owner)]
        others = len(named) - len(inside)
        for name in [*named]:
            tensor = named.pop(name)
            if name.startswith(owner):
                named[name.removeprefix(owner)] = tensor
        left = f", {count(others, 'tensor')} without it left out" if others else ""
        lines.append(f"the prefix {owner} of names removed{left}")
    notes += lines
    return named


def by_order(
    own: Mapping[str, torch.Tensor], state: Mapping[str, Any], heads: tuple[str, ...]
) -> dict[str, torch.Tensor] | None:
    """Return a state by a network's own names, if order and shapes leave no doubt; else None.

    ``heads`` are prefixes of the classifiers, whose shapes may differ. Beside the shapes, the kinds
    of tensors (``weight``, ``running_mean``) must be the same, each module must correspond to one,
    and numbers in the names must ascend, as they do in files that were not sorted by name.
    """
    if own.keys() & state.keys() or len(own) != len(state) or not _ascending(state):
        return None
    modules: dict[str, str] = {}
    for (name, tensor), (other, value) in zip(own.items(), state.items(), strict=True):
        module, _, kind = name.rpartition(".")
        owner, _, other_kind = other.rpartition(".")
        same = getattr(value, "shape", None) == tensor.shape or name.startswith(heads)
        if not same or kind != other_kind or modules.setdefault(module, owner) != owner:
            return None
    if len(set(modules.values())) < len(modules):
        return None
    renamed: OrderedDict[str, torch.Tensor] = OrderedDict(zip(own, state.values(), strict=True))
    return renamed


def _owner(names: Iterable[str]) -> str:
    """Return the prefix of most names; empty if there is none."""
    listed = list(names)
    for prefix in (*_OWNERS, *_WRAPPERS):
        if sum(name.startswith(prefix) for name in listed) > _SHARE * len(listed):
            return prefix
    return ""


def _ascending(names: Iterable[str]) -> bool:
    """Say whether the numbers of modules beside each other only grow."""
    last: dict[str, int] = {}
    for name in names:
        for match in re.finditer(r"(?<=\.)\d+(?=\.)", f".{name}"):
            before, number = f".{name}"[: match.start()], int(match[0])
            if number < last.get(before, 0):
                return False
            last[before] = number
    return True
