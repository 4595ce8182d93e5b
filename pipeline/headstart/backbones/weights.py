"""Weights: published, from a user's file, or random; read without running code, fitted strictly.

torchvision and timm choose a network's arguments by its weights and translate the names of old
files while they load them, which ends in ``Module.load_state_dict``. `fitting` replaces that call,
so strictness and messages are the same for every library and every source of weights.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.backbones import cache, shards
from headstart.backbones.catalogue import Entry
from headstart.backbones.renaming import by_order, without_prefixes
from headstart.core.errors import BackboneError, count, one_line
from headstart.core.files import sha256_of

if TYPE_CHECKING:
    import torch

_SHOWN = 3  # keys named in a message
_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Weights:
    """The weights that a network gets.

    Attributes:
        path: None for random weights.
        sha256: of the file; empty for random weights, which are hashed once they are made.
        published: whether the file is the one that the library publishes.
        notes: what was done to its names, a sentence each, once it has been loaded.
    """

    path: Path | None
    sha256: str = ""
    seed: int = 0
    published: bool = False
    notes: list[str] = field(default_factory=list, compare=False)

    @property
    def size(self) -> int:
        """Bytes of its files; 0 if there is none."""
        if self.path is None or not self.path.is_file():
            return 0
        index = shards.is_index(self.path.name)
        files = shards.files_of(self.path) if index else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def suffix(self) -> str:
        """What the weights add to the end of the backbone's name."""
        if self.path is None:
            return f"+random:{self.seed}" if self.seed else "+random"
        return "" if self.published else "+file"


def resolve(
    entry: Entry, spec: str, entries: Sequence[Entry], fetch: Callable[[Entry], Path]
) -> Weights:
    """Find the weights that a user means by `headstart.core.records.Choice.weights`.

    ``entries`` are the provider's, because the file may be that of another entry of the
    architecture. ``fetch`` returns the file of the published weights.

    Raises:
        BackboneError: the file cannot be read, or holds the weights of another entry.
    """
    if not spec:
        path = fetch(entry)
        return Weights(path, cache.checked(entry, path), published=True)
    word, _, seed = spec.partition(":")
    if word == "random":  # a file of that name is ./random
        if seed and not (seed.isdecimal() and int(seed) < 2**32):
            raise BackboneError(f"--weights {one_line(spec)}: the seed must be 0 to 4294967295")
        return Weights(None, seed=int(seed or 0))
    path = Path(spec)
    try:
        index = shards.is_index(path.name)
        sha256 = shards.sha256_of(path, sha256_of) if index else sha256_of(path)
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or one_line(error)
        raise BackboneError(
            f"cannot read the weights file {one_line(spec)}: {cause}; give a safetensors file or "
            "a state dict, or: random"
        ) from error
    relatives = (other for other in entries if other.architecture == entry.architecture)
    owner = next((other for other in relatives if cache.is_published(other, path, sha256)), None)
    if owner is not None and owner.file != entry.file:
        raise BackboneError(
            f"{one_line(spec)} holds the weights of {owner.name}, not of {entry.name}, which "
            f"prepares images its own way; use --backbone {owner.name}"
        )
    return Weights(path.resolve(), sha256, published=owner is not None)


def read(path: Path, notes: list[str] | None = None) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file or a state dict, without running code in it.

    An index stands for all files that it names. Names lose the prefixes of wrappers around the
    network, and ``notes`` receives which, if it is a list; without it, only those of torch's own
    wrappers.
    """
    if shards.is_index(path.name):
        return without_prefixes(_read_shards(path), notes)
    return without_prefixes(_read_file(path), notes)


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    owners = shards.map_of(index)
    tensors: dict[str, torch.Tensor] = {}
    for file in shards.files_of(index):
        own = _read_file(file)
        tensors |= {key: value for key, value in own.items() if owners.get(key) == file.name}
    missing = next((key for key in owners if key not in tensors), None)
    if missing is not None:
        raise BackboneError(
            f"{one_line(index.with_name(owners[missing]))} lacks {one_line(missing)}, which "
            f"{index.name} says it has; get the files of one revision"
        )
    return tensors


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.name.endswith(".safetensors"):
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise BackboneError(
            f"cannot read {one_line(path)} ({one_line(error)[:200]}); it is damaged or of "
            "another kind: get it again, or save one with torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # torch's unpickler raises nearly anything on other files
        raise BackboneError(
            f"{one_line(path)} is not a plain state dict of tensors ({_cause(error)}); save "
            "one with torch.save(model.state_dict(), FILE), or a safetensors file"
        ) from error
    return _tensors(state, path)


def _cause(error: Exception) -> str:
    """Return the cause from the long message of torch's unpickler."""
    text = str(error)
    code = re.search(r"\bGLOBAL (\S+)", text)
    if code:
        return f"it holds {one_line(code[1])}, and nothing but tensors is loaded"
    cause = text.rpartition("WeightsUnpickler error: ")[2].partition(". ")[0].strip()
    return one_line((cause.splitlines() or [type(error).__name__])[0])[:120]


@contextmanager
def fitting(
    weights: Weights, heads: Callable[[torch.nn.Module], Iterable[str]]
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the weights' tensors; inside the context, ``load_state_dict`` fits them strictly.

    Random weights leave the network as its library initialises it, with a seed. ``heads`` returns
    the names of a network's classifiers. These are cut off, so their weights may be missing or of
    other classes.
    """
    import torch

    weights.notes.clear()
    tensors = {} if weights.path is None else read(weights.path, weights.notes)
    fitted = []

    def load_state_dict(
        module: torch.nn.Module, state: Mapping[str, Any], *args: object, **kwargs: object
    ) -> object:
        fitted.append(1)
        if weights.path is None:
            return None
        return original(module, _fit(module, state, heads(module), weights))

    with _LOCK, seeded(weights):
        original = torch.nn.Module.load_state_dict
        torch.nn.Module.load_state_dict = load_state_dict  # type: ignore[assignment, method-assign]
        try:
            yield tensors
        finally:
            torch.nn.Module.load_state_dict = original  # type: ignore[method-assign]
    if weights.path is not None and not fitted:
        raise AssertionError("the library loaded nothing")


@contextmanager
def seeded(weights: Weights) -> Iterator[None]:
    """Seed torch's generator for the weights, and restore it afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights.seed)
        yield


def fingerprint(network: torch.nn.Module) -> str:
    """Return the SHA-256 of a network's tensors and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fit(
    module: torch.nn.Module, state: Mapping[str, Any], heads: Iterable[str], weights: Weights
) -> dict[str, torch.Tensor]:
    """Return a state that fits the module exactly; a `BackboneError` names the differences.

    Where no name fits but the order, shapes and kinds of all tensors do, they are renamed.
    """
    own = module.state_dict()
    within = tuple(f"{head}." for head in heads)
    assert weights.path is not None
    named = weights.path.name.removesuffix(shards.SUFFIX).endswith(".safetensors")
    renamed = None if named else by_order(own, state, within)
    if renamed is not None:
        first = next(iter(state))
        weights.notes.append(
            f"the names in {one_line(weights.path.name)} are those of another implementation; its "
            f"{count(len(state), 'tensor')} fit by order and shape, from {one_line(first)} = "
            f"{next(iter(renamed))} on"
        )
        state = renamed
    fit = OrderedDict((key, value) for key, value in state.items() if not key.startswith(within))
    # Old files lack the versions of their modules; some modules refuse a state without one.
    fit._metadata = getattr(state, "_metadata", own._metadata)  # type: ignore[attr-defined]
    for key, value in own.items():
        if key.startswith(within):
            tensor = state.get(key)
            fits = tensor is not None and tensor.shape == value.shape
            fit[key] = tensor if fits else value
        elif key.endswith(".num_batches_tracked"):
            fit.setdefault(key, value)  # used in training only, and missing from old files
    other = [key for key in own if key in fit and fit[key].shape != own[key].shape]
    shapes = [f"{key} {tuple(fit[key].shape)} for {tuple(own[key].shape)}" for key in other]
    problems = {
        "the file lacks {} of its {:,} tensors": [key for key in own if key not in fit],
        "the file has {} that it lacks": [key for key in fit if key not in own],
        "{} of its {:,} have another shape": shapes,
    }
    lines = [
        f"{what.format(f'{len(keys):,}', len(own))}: {', '.join(keys[:_SHOWN])}"
        + (", …" if len(keys) > _SHOWN else "")
        for what, keys in problems.items()
        if keys
    ]
    if lines:
        raise BackboneError(
            f"the weights in {one_line(weights.path)} do not fit this network: "
            f"{one_line('; '.join(lines))}; name the network that they were made for"
        )
    return fit


def _tensors(state: object, path: Path) -> dict[str, torch.Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict) or not state:
        raise BackboneError(f"{one_line(path)} is not a state dict: it holds no named tensors")
    tensors: OrderedDict[str, torch.Tensor] = OrderedDict()
    if hasattr(state, "_metadata"):
        tensors._metadata = state._metadata  # type: ignore[attr-defined]
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise BackboneError(
                f"{one_line(path)} is not a state dict: {one_line(key)} is not a tensor"
            )
        tensors[key] = value
    return tensors
